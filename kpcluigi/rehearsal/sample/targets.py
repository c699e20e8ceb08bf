"""The sales targets as Oracle describes them: APPS.KHS_CUSTOMERS_TRX_TARGETS, all NUMBER.

The rows are what a careless copy would change: numbers of 38 digits, negatives, fractions without a
digit before the point, NULLs in every column, and rows that are there twice.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from kpcluigi.rehearsal.oracle.catalog import Column, Table, create_table

OWNER = "APPS"
TARGETS = Table(
    OWNER,
    "KHS_CUSTOMERS_TRX_TARGETS",
    tuple(
        Column(name, "NUMBER")
        for name in ("ID", "PRODUCT_ID", "TARGET_MONTH", "TARGET_YEAR", "TARGET_AMOUNT")
    ),
)

_WIDE = 10**37
_DOUBLED = 50
"""Row i + 1 is row i once more, wherever i is a multiple of this and not 0."""


def add_targets(con: duckdb.DuckDBPyConnection, rows: int) -> None:
    """Make the table, with so many rows."""
    create_table(con, TARGETS)
    columns = ", ".join(f'"{column.name}"' for column in TARGETS.columns)
    con.execute(
        f"""INSERT INTO {TARGETS.engine_name} ({columns})
        SELECT CASE WHEN i % 101 = 3 THEN CAST({_WIDE} + CAST(i AS HUGEINT) AS VARCHAR)
                    WHEN i % 997 = 4 THEN NULL
                    ELSE CAST(1000000 + i AS VARCHAR) END,
               CASE WHEN i % 103 = 5 THEN NULL
                    WHEN i % 107 = 6 THEN CAST(-i AS VARCHAR)
                    ELSE CAST(i * 7919 % 5000 AS VARCHAR) END,
               CASE WHEN i % 109 = 7 THEN NULL ELSE CAST(i % 12 + 1 AS VARCHAR) END,
               CASE WHEN i % 113 = 8 THEN NULL ELSE CAST(2022 + i // 12 % 5 AS VARCHAR) END,
               CASE WHEN i % 127 = 9 THEN NULL
                    WHEN i % 131 = 10 THEN '-0.00000000000000000000000000000000000001'
                    WHEN i % 137 = 11 THEN '0.1234567890123456789012345678901234567'
                    WHEN i % 139 = 12 THEN
                        '-' || CAST(CAST('99999999999999999999' AS HUGEINT) - i AS VARCHAR)
                        || '.999999999999999999'
                    WHEN i % 4 = 0 THEN CAST(i * 125 AS VARCHAR)
                    WHEN i % 4 = 1 THEN CAST(i AS VARCHAR) || '.5'
                    ELSE '-' || CAST(i AS VARCHAR) || '.25' END
        FROM (SELECT CASE WHEN range % {_DOUBLED} = 1 AND range > 1
                     THEN range - 1 ELSE range END AS i FROM range({rows}))"""
    )


def write_targets(path: Path, rows: int) -> None:
    """Make a DuckDB file for the Oracle stand-in that holds this table alone.

    Raises:
        FileExistsError: the file is there already.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists; sample data goes into a new file")
    with duckdb.connect(path, config={"memory_limit": "1GB"}) as con:
        con.execute("SET enable_progress_bar = false")
        add_targets(con, rows)
