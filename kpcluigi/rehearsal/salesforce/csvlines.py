"""The rows of a query as lines of a query job's CSV, made by DuckDB: every value in quotes.

Values are as recorded of orgs: null is empty, checkboxes are true and false, dates 2024-01-31,
datetimes 2024-01-31T10:20:30.000Z, and numbers what Java prints of a double: 12.0, 0.1, and with an
exponent from ten million on and below a thousandth: 1.23456789E7, 1.0E-4.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from kpcluigi.rehearsal.salesforce.schema import Field, literal

EXACT_DIGITS = 15
"""Digits of a number that a double has whatever they are."""

MACROS = (
    # '25' -> '2.5', '2' -> '2.0'
    "point(digits) AS digits[1] || '.' || coalesce(nullif(digits[2:], ''), '0')",
    # DuckDB's text of a positive double: '12345678.9', '0.00012', '1e-05', '1.5e+17'
    """exponential(shown) AS CASE
        WHEN contains(shown, 'e') THEN
            split_part(shown, 'e', 1) || CASE WHEN contains(shown, '.') THEN '' ELSE '.0' END
            || 'E' || CAST(split_part(shown, 'e', 2) AS INTEGER)
        WHEN starts_with(shown, '0.') THEN
            point(ltrim(shown[3:], '0'))
            || 'E-' || (length(shown) - 1 - length(ltrim(shown[3:], '0')))
        ELSE
            point(rtrim(replace(shown, '.', ''), '0'))
            || 'E' || (length(split_part(shown, '.', 1)) - 1)
        END""",
    """java_double(number) AS CASE
        WHEN number = 0 THEN '0.0'
        WHEN abs(number) >= 1e-3 AND abs(number) < 1e7 THEN CAST(number AS VARCHAR)
        ELSE CASE WHEN number < 0 THEN '-' ELSE '' END || exponential(CAST(abs(number) AS VARCHAR))
        END""",
)


def create_macros(con: duckdb.DuckDBPyConnection) -> None:
    """Give the connection what `line_sql` calls."""
    for macro in MACROS:
        con.execute(f"CREATE OR REPLACE TEMP MACRO {macro}")


def line_sql(fields: Sequence[Field], names: Sequence[str], delimiter: str) -> str:
    """An expression for the line, without its ending, of columns called `names`."""
    between = literal(f'"{delimiter}"')
    values = f" || {between} || ".join(
        f"coalesce({_text_sql(field, name)}, '')" for field, name in zip(fields, names, strict=True)
    )
    return f"""'"' || {values} || '"'"""


def header(names: Sequence[str], delimiter: str) -> str:
    """The line of the columns' names; no API name has a quote in it."""
    return delimiter.join(f'"{name}"' for name in names)


def _text_sql(field: Field, name: str) -> str:
    match field.type:
        case "double":
            # DuckDB's own cast of more digits may be the neighbour of the nearest double.
            fits = f"abs({name}) < 1e{EXACT_DIGITS - field.scale}"
            exact = f"CAST(CAST({name} AS VARCHAR) AS DOUBLE)"
            near = f"CAST({name} AS DOUBLE)"
            if field.precision <= EXACT_DIGITS:
                return f"java_double({near})"
            return f"java_double(CASE WHEN {fits} THEN {near} ELSE {exact} END)"
        case "boolean" | "date":
            return f"CAST({name} AS VARCHAR)"
        case "datetime":
            return f"strftime({name}, '%Y-%m-%dT%H:%M:%S.000Z')"
        case _:
            return f"replace({name}, '\"', '\"\"')"
