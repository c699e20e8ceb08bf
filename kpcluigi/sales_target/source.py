"""Oracle's side: the table, its totals and its rows in one read-only snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

import oracledb
import polars as pl
import pyarrow as pa

from kpcluigi.errors import OracleError
from kpcluigi.oracle.frames import to_frame
from kpcluigi.oracle.source import number_as_text
from kpcluigi.sales_target.content import COLUMNS, EXACT, ColumnSum, Content, Tally

ORACLE_DIGITS = 38
"""Digits that Oracle's own arithmetic surely keeps."""

_HALF = 19
_NOT_THERE = (942, 980)
"""No such table or view (for this user); a synonym that leads nowhere."""

Show = Callable[[str], None]


@dataclass(frozen=True)
class OracleTable:
    """The source, by owner and name."""

    owner: str
    name: str

    def __str__(self) -> str:
        return f"{self.owner}.{self.name}"


@contextmanager
def snapshot(connection: oracledb.Connection, show: Show) -> Iterator[None]:
    """A read-only transaction: all statements in the block see the table as it is now.

    It needs no privilege, and Oracle keeps it until ORA-01555.
    """
    _execute(connection, "SET TRANSACTION READ ONLY", show)
    yield
    connection.rollback()


def check_source(connection: oracledb.Connection, table: OracleTable, show: Show) -> list[str]:
    """See that the table is there, and its five columns are NUMBERs.

    Returns:
        Further columns that it has; they are not copied.
    Raises:
        OracleError: it is not so; the text says what to ask the DBA for.
    """
    sql = f"SELECT * FROM {table} t WHERE 1 = 0"
    show(sql)
    with connection.cursor() as cursor:
        try:
            cursor.execute(sql)
        except oracledb.DatabaseError as error:
            if getattr(error.args[0], "code", 0) not in _NOT_THERE:
                raise
            raise OracleError(_why_not_there(connection, table, show, error)) from error
        described: list[Any] = list(cursor.description or ())
    types = {info.name.lower(): info.type_code for info in described}
    if missing := [name.upper() for name in COLUMNS if name not in types]:
        raise OracleError(
            f"{table} has no column {', '.join(missing)}; it has "
            f"{', '.join(name.upper() for name in types)}. Is it the right table? See "
            f"source_owner and source_table under [sales_target]"
        )
    if others := [n for n in COLUMNS if types[n] is not oracledb.DB_TYPE_NUMBER]:
        listed = ", ".join(f"{name.upper()} is {types[name].name}" for name in others)
        raise OracleError(f"{table}: {listed}; all of its columns are to be NUMBER")
    return [name.upper() for name in types if name not in COLUMNS]


def _why_not_there(
    connection: oracledb.Connection, table: OracleTable, show: Show, error: Exception
) -> str:
    """What the data dictionary tells this user of a table that he cannot read."""
    user = connection.username
    binds = {"name": table.name}
    synonyms = _rows(
        connection,
        "SELECT owner, table_owner, table_name FROM all_synonyms WHERE synonym_name = :name "
        "ORDER BY owner",
        show,
        binds,
    )
    for owner, base_owner, base_name in synonyms:
        if owner in (table.owner, "PUBLIC", user):
            return (
                f"{table} cannot be read by {user} ({error}): the synonym {owner}.{table.name} "
                f"leads to {base_owner}.{base_name}. Ask its owner for: "
                f"GRANT SELECT ON {base_owner}.{base_name} TO {user}"
            )
    elsewhere = _rows(
        connection,
        "SELECT owner, object_type FROM all_objects WHERE object_name = :name "
        "AND object_type IN ('TABLE', 'VIEW', 'MATERIALIZED VIEW', 'SYNONYM') ORDER BY owner",
        show,
        binds,
    )
    if elsewhere:
        found = ", ".join(f"{owner}.{table.name} ({kind.lower()})" for owner, kind in elsewhere)
        return (
            f"{table} is not there for {user} ({error}), but there is {found}: set source_owner "
            f"under [sales_target] if that is the one"
        )
    if not _rows(
        connection,
        "SELECT username FROM all_users WHERE username = :owner",
        show,
        {"owner": table.owner},
    ):
        return (
            f"{table} is not there ({error}): the database has no user {table.owner}. Correct "
            f"source_owner under [sales_target], or KPC_ORACLE_DSN"
        )
    return (
        f"{table} does not exist, or {user} has no privilege on it; Oracle does not say which "
        f"({error}). Correct source_table under [sales_target], or ask the owner for: "
        f"GRANT SELECT ON {table} TO {user} (where it is a synonym: on the table that it leads to)"
    )


def read_totals(connection: oracledb.Connection, table: OracleTable, show: Show) -> Content:
    """Count and sums by Oracle itself. A sum of many digits may be rounded: see `settle_sums`."""
    asked = ", ".join(f"COUNT(t.{c}), {number_as_text(f'SUM(t.{c})')}" for c in COLUMNS)
    ((rows, *found),) = _rows(connection, f"SELECT COUNT(*), {asked} FROM {table} t", show)
    pairs = zip(found[::2], found[1::2], strict=True)
    columns = tuple(ColumnSum(int(n), Decimal(total or 0)) for n, total in pairs)
    return Content(int(rows), columns)


def settle_sums(
    connection: oracledb.Connection, table: OracleTable, totals: Content, tally: Tally, show: Show
) -> Content:
    """Oracle's totals, with exact sums also where its arithmetic of 38 digits is too short.

    Such a column is summed in four parts that are short enough. Values of more than 38 digits
    before the point, or behind it, remain: there Oracle's sum is taken as equal when it differs by
    no more than Oracle's own rounding.
    """
    columns = list(totals.columns)
    for i, name in enumerate(COLUMNS):
        whole, places = tally.whole_digits(i), tally.places(i)
        if whole + places + len(str(totals.rows)) <= ORACLE_DIGITS:
            continue
        parts = [
            f"TRUNC(t.{name}, -{_HALF})",
            f"TRUNC(t.{name}) - TRUNC(t.{name}, -{_HALF})",
            f"TRUNC(t.{name}, {_HALF}) - TRUNC(t.{name})",
            f"t.{name} - TRUNC(t.{name}, {_HALF})",
        ]
        asked = ", ".join(number_as_text(f"SUM({part})") for part in parts)
        (found,) = _rows(connection, f"SELECT {asked} FROM {table} t", show)
        with localcontext(EXACT):
            total = sum((Decimal(part or 0) for part in found), Decimal(0))
            if whole > ORACLE_DIGITS or places > ORACLE_DIGITS:
                read = tally.content.columns[i].sum
                rounding = Decimal(10) ** (whole - ORACLE_DIGITS) * totals.rows**2
                total = read if abs(total - read) <= rounding else total
        columns[i] = ColumnSum(columns[i].non_null, total)
    return Content(totals.rows, tuple(columns))


def read_rows(
    connection: oracledb.Connection, table: OracleTable, *, batch_rows: int, show: Show
) -> Iterator[pl.DataFrame]:
    """The rows in batches of text, every digit kept. Memory holds one batch."""
    asked = ", ".join(f"{number_as_text(f't.{name}')} AS {name}" for name in COLUMNS)
    sql = f"SELECT {asked} FROM {table} t"
    show(sql)
    schema = pa.schema([(name.upper(), pa.string()) for name in COLUMNS])
    for batch in connection.fetch_df_batches(sql, size=batch_rows, requested_schema=schema):
        frame = to_frame(pa.RecordBatchReader.from_stream(batch).read_all())
        if frame.height:
            yield frame.select(frame.columns[: len(COLUMNS)])


def _execute(connection: oracledb.Connection, sql: str, show: Show) -> None:
    show(sql)
    with connection.cursor() as cursor:
        cursor.execute(sql)


def _rows(
    connection: oracledb.Connection, sql: str, show: Show, binds: dict[str, str] | None = None
) -> list[tuple[Any, ...]]:
    show(sql)
    with connection.cursor() as cursor:
        cursor.execute(sql, binds or {})
        return list(cursor.fetchall())
