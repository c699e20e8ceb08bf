"""What the tests copy from where to where, and how they look at the target meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import oracledb
import psycopg
import sqlalchemy as sa

from kpcluigi.oracle import connect
from kpcluigi.rehearsal.oracle import OracleStandIn
from kpcluigi.rehearsal.postgres import PostgresServer
from kpcluigi.rehearsal.sample.targets import TARGETS
from kpcluigi.sales_target import COLUMNS, OracleTable, PostgresTable, Synced, open_engine, sync
from tests.sales_target.relay import Relay

USER, PASSWORD = "KPC_READER", "test-password"
ROWS = 1_500
SMALL = "SMALL_TARGETS"
PLAIN = "PLAIN_TARGETS"
"""As many rows as the sample's, of numbers that the stand-in adds up fast."""
OLD = 700
"""Rows that the target holds before."""
SOURCE = OracleTable("APPS", TARGETS.name)
TARGET = PostgresTable("mb", "sales_target")


class Copying:
    """Copies, each way through its relay; looks at the target past it."""

    def __init__(
        self, postgres: PostgresServer, oracle: OracleStandIn, to_oracle: Relay, to_postgres: Relay
    ) -> None:
        self.oracle, self.to_oracle, self.to_postgres = oracle, to_oracle, to_postgres
        self.url = postgres.url.replace("postgresql+psycopg", "postgresql")
        self.relayed_url = (
            f"postgresql+psycopg://postgres@127.0.0.1:{to_postgres.port}/postgres?sslmode=disable"
        )
        self.relayed_dsn = f"127.0.0.1:{to_oracle.port}/KPC"
        self.engine = open_engine(sa.make_url(self.relayed_url))

    def open_oracle(self) -> AbstractContextManager[oracledb.Connection]:
        return connect(dsn=self.relayed_dsn, user=USER, password=PASSWORD, module="test")

    def sync(self, name: str = SOURCE.name, **rules: Any) -> Synced | None:
        """Copy one of the stand-in's tables, in batches of 500."""
        return sync(
            self.open_oracle,
            self.engine,
            **{"source": OracleTable("APPS", name), "target": TARGET, "batch_rows": 500, **rules},
        )

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """Straight to the server; nothing may hold this one up."""
        return psycopg.connect(self.url, options="-c statement_timeout=3000", **options)

    def put_old_rows(self, rows: int) -> None:
        with self.connect() as connection:
            connection.execute(f"DROP TABLE IF EXISTS {TARGET}")
            connection.execute("CREATE SCHEMA IF NOT EXISTS mb")
            named = ", ".join(f"{column} NUMERIC" for column in COLUMNS)
            connection.execute(f"CREATE TABLE {TARGET} ({named})")
            connection.execute(
                f"INSERT INTO {TARGET} SELECT -i, 1, 2, 3, 0.5 FROM generate_series(1, {rows}) i"
            )

    def seen(self, connection: psycopg.Connection[Any] | None = None) -> tuple[Any, ...]:
        """What a reader sees: rows, and sums that differ between old and new."""
        if connection is None:
            with self.connect(autocommit=True) as own:
                return self.seen(own)
        sums = ", ".join(f"sum({column})" for column in COLUMNS)
        found = connection.execute(f"SELECT count(*), {sums} FROM {TARGET}").fetchone()
        assert found is not None
        return tuple(found)

    def rows(self) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            return connection.execute(f"SELECT {', '.join(COLUMNS)} FROM {TARGET}").fetchall()

    def wait_until_free(self) -> None:
        """Until the server has noticed that a client is gone, and rolled back."""
        with self.connect() as connection:
            connection.execute(f"SELECT pg_advisory_lock({TARGET.lock_key})")


def at_statement(begins: str, do: Callable[[], None]) -> Callable[[str], None]:
    """A `show` that acts before the statement that begins so."""

    def show(statement: str) -> None:
        if statement.startswith(begins):
            do()

    return show
