"""Rows into PostgreSQL: SyncSalesTarget's way against the first design's executemany.

Both begin with the rows in memory, as the driver gives them, and end with the commit, on a real
PostgreSQL server that is reached by its Unix socket, where a round trip costs least:

  kpcluigi      totals and checksum of the rows, COPY into a staging table, its totals compared,
                DELETE of the rows of the run before, INSERT … SELECT, totals compared once more
  executemany   INSERT … VALUES of 10,000 rows at a time by SQLAlchemy and psycopg 3, into an empty
                table; nothing is compared

They take turns; both tables are read back at the end and have to be equal. It stands well when
kpcluigi, with all its comparisons, takes a third of executemany's time or less.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from decimal import Decimal
from importlib.metadata import version
from statistics import median
from typing import Any

import polars as pl
import sqlalchemy as sa

from kpcluigi.rehearsal.postgres import PostgresServer
from kpcluigi.sales_target import COLUMNS, PostgresTable, open_engine
from kpcluigi.sales_target.content import Tally
from kpcluigi.sales_target.target import replacing

BATCH_ROWS = 10_000
OURS = PostgresTable("mb", "sales_target")
THEIRS = PostgresTable("mb", "sales_target_first_design")

Batches = list[pl.DataFrame]
Rows = list[list[dict[str, Any]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rows",
        type=_positive,
        default=200_000,
        metavar="N",
        help="rows of the table (default 200,000)",
    )
    parser.add_argument(
        "--rounds",
        type=_positive,
        default=3,
        metavar="N",
        help="how often each way is measured (default 3)",
    )


def run(given: argparse.Namespace) -> None:
    batches = _made(given.rows)
    rows = [_as_driver_rows(batch) for batch in batches]
    seconds: dict[str, list[float]] = {"kpcluigi": [], "executemany": []}
    with PostgresServer() as postgres:
        engine = open_engine(sa.make_url(postgres.url))
        _ours(engine, batches)  # so that every measured run has rows to delete
        for i in range(given.rounds):
            print(f"Round {i + 1} of {given.rounds} …", flush=True)
            seconds["executemany"].append(_theirs(engine, rows))
            seconds["kpcluigi"].append(_ours(engine, batches))
        _refuse_other_rows(engine)
        with engine.connect() as connection:
            server = connection.exec_driver_sql("SHOW server_version").scalar_one()
    wall = {way: median(found) for way, found in seconds.items()}
    ratio = wall["executemany"] / wall["kpcluigi"]
    print(f"\n{given.rows:,} rows of 5 NUMERIC columns; wall seconds: median (least to most)\n")
    for way, found in seconds.items():
        print(
            f"{way:14}{wall[way]:8.2f} ({min(found):.2f} to {max(found):.2f})"
            f"{given.rows / wall[way]:12,.0f} rows/s"
        )
    print(f"\nexecutemany / kpcluigi: {ratio:.2f} (3 or more)\n")
    print(
        json.dumps(
            {
                "wall_ratio_executemany": round(ratio, 2),
                "rows": given.rows,
                "rounds": given.rounds,
                "batch_rows": BATCH_ROWS,
                "wall_seconds": {way: round(value, 3) for way, value in wall.items()},
                "rows_per_second": {way: round(given.rows / v) for way, v in wall.items()},
                "versions": {
                    "python": platform.python_version(),
                    "postgresql": server,
                    **{name: version(name) for name in ("kpcluigi", "psycopg", "sqlalchemy")},
                },
            }
        )
    )


def _made(rows: int) -> Batches:
    """Sales targets as text, in batches, as the reading of Oracle gives them."""
    i = pl.int_range(rows, eager=True)
    frame = pl.DataFrame(
        {
            "ID": (1_000_000 + i).cast(pl.String),
            "PRODUCT_ID": (i * 7919 % 5000).cast(pl.String),
            "TARGET_MONTH": (i % 12 + 1).cast(pl.String),
            "TARGET_YEAR": (2022 + i // 12 % 5).cast(pl.String),
            "TARGET_AMOUNT": (i * 125).cast(pl.String) + "." + (i % 9 + 1).cast(pl.String),
        }
    )
    return [frame.slice(at, BATCH_ROWS) for at in range(0, rows, BATCH_ROWS)]


def _as_driver_rows(batch: pl.DataFrame) -> list[dict[str, Any]]:
    """The same rows as the first design had them: a dictionary of numbers each."""
    return [
        dict(zip(COLUMNS, (*map(int, row[:-1]), Decimal(row[-1])), strict=True))
        for row in batch.iter_rows()
    ]


def _ours(engine: sa.Engine, batches: Batches) -> float:
    started = time.monotonic()
    tally = Tally()
    nothing = lambda line: None  # noqa: E731
    with replacing(engine, OURS, show=nothing, tell=nothing) as replacement:
        replacement.take_lock(60)
        replacement.make_table()
        replacement.stage(map(tally.add, batches))
        for found in (replacement.staged(), replacement.replace()):
            if differences := tally.content.differences(found):
                raise SystemExit(f"The copy differs: {differences}")
    return time.monotonic() - started


def _theirs(engine: sa.Engine, batches: Rows) -> float:
    names = ", ".join(COLUMNS)
    insert = sa.text(
        f"INSERT INTO {THEIRS} ({names}) VALUES ({', '.join(f':{c}' for c in COLUMNS)})"
    )
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {THEIRS}")
        columns = ", ".join(f"{c} NUMERIC" for c in COLUMNS)
        connection.exec_driver_sql(f"CREATE TABLE {THEIRS} ({columns})")
    started = time.monotonic()
    with engine.begin() as connection:
        for batch in batches:
            connection.execute(insert, batch)
    return time.monotonic() - started


def _refuse_other_rows(engine: sa.Engine) -> None:
    """Both ways must have left the same rows."""
    with engine.connect() as connection:
        for one, other in ((OURS, THEIRS), (THEIRS, OURS)):
            sql = f"SELECT count(*) FROM (SELECT * FROM {one} EXCEPT ALL SELECT * FROM {other}) d"
            if connection.exec_driver_sql(sql).scalar_one():
                raise SystemExit(f"{one} has rows that {other} has not")


def _positive(text: str) -> int:
    number = int(text.replace(",", "").replace("_", ""))
    if number < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return number
