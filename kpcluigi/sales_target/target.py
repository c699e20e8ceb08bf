"""PostgreSQL's side: one transaction that replaces the whole table, and says what it then holds.

Readers are never blocked and never see the table empty or in part: rows are deleted and inserted,
which other transactions see at the commit, all at once. Nothing is truncated or altered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.pool import NullPool

from kpcluigi.errors import PostgresError
from kpcluigi.sales_target.content import COLUMNS, ColumnSum, Content, checksum_sql

STAGE = "kpcluigi_sales_target_stage"
MINIMUM_VERSION = 130_000
"""The first with trim_scale, by its server_version_num."""

_PASSING_CLASSES = ("08", "53", "57P")
"""SQLSTATE: connection exceptions, insufficient resources, the server is being shut down."""
_PASSING_STATES = frozenset({"40001", "40P01", "25P03"})
"""Serialisation failure, deadlock, idle in transaction for too long."""
_LASTING_STATES = frozenset({"53100"})
"""The disk is full."""
_LASTING_TEXTS = (
    "authentication failed",
    "no pg_hba.conf entry",
    "does not exist",
    "permission denied",
    "no password supplied",
    "certificate",
    "does not support SSL",
    "invalid ",
)
"""Of a refused connection, for which the driver gives no SQLSTATE."""

_OF_THE_TRANSACTION = (
    # Should this host be lost, the server is to notice, and free what is held here
    "tcp_keepalives_idle = 60",
    "tcp_keepalives_interval = 10",
    # Nothing is sent here while Oracle adds up
    "idle_in_transaction_session_timeout = 0",
)

Show = Callable[[str], None]


@dataclass(frozen=True)
class PostgresTable:
    """The target, by schema and name."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Composable:
        return sql.Identifier(self.schema, self.name)

    @property
    def lock_key(self) -> int:
        """Of the advisory lock that all who replace this table take."""
        digest = hashlib.sha256(f"kpcluigi {self}".encode()).digest()
        return int.from_bytes(digest[:8], signed=True)


def open_engine(url: sa.URL, *, connect_timeout: float = 30) -> sa.Engine:
    """An engine whose connections are closed after use, and notice a peer that is gone.

    What the URL sets itself, such as sslmode or connect_timeout, is left as it is.
    """
    defaults: dict[str, Any] = {
        "application_name": "kpcluigi SyncSalesTarget",
        "connect_timeout": max(2, int(connect_timeout)),
        "keepalives_idle": 60,
        "keepalives_interval": 10,
        "keepalives_count": 6,
        "tcp_user_timeout": 120_000,
    }
    given = {name: value for name, value in defaults.items() if name not in url.query}
    return sa.create_engine(url, poolclass=NullPool, connect_args=given)


def passing(error: BaseException) -> bool:
    """Whether a later try with a new connection may succeed."""
    error = getattr(error, "orig", None) or error
    if not isinstance(error, psycopg.Error):
        return False
    state = error.sqlstate
    if state is not None:
        if state in _LASTING_STATES:
            return False
        return state.startswith(_PASSING_CLASSES) or state in _PASSING_STATES
    # A lost connection, or one that was refused
    refused = any(text in str(error) for text in _LASTING_TEXTS)
    return isinstance(error, psycopg.OperationalError) and not refused


class Replacement:
    """The transaction that replaces the table; made by `replacing`."""

    def __init__(
        self, connection: sa.Connection, table: PostgresTable, show: Show, tell: Show
    ) -> None:
        self._sa = connection
        self._raw = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
        self._table = table
        self._show = show
        self._tell = tell

    def take_lock(self, timeout: float) -> None:
        """Wait until no other run replaces this table; the lock is held until the transaction ends.

        Args:
            timeout: seconds.

        Raises:
            PostgresError: another run is still at work after that.
        """
        for setting in _OF_THE_TRANSACTION:
            self._execute(f"SET LOCAL {setting}")
        self._execute(f"SET LOCAL lock_timeout = {int(timeout * 1000)}")
        key = self._table.lock_key
        ((free,),) = self._execute(f"SELECT pg_try_advisory_xact_lock({key})")
        if free:
            return
        self._tell(f"another run is replacing {self._table}; waits for it")
        try:
            self._execute(f"SELECT pg_advisory_xact_lock({key})")
        except psycopg.errors.LockNotAvailable as error:
            raise PostgresError(
                f"Another SyncSalesTarget has been replacing {self._table} for more than "
                f"{timeout:.0f} s; wait until it has ended (pg_stat_activity shows it) and run the "
                f"same command again"
            ) from error

    def make_table(self) -> None:
        """Create schema and table where they are missing.

        Raises:
            PostgresError: the table is there and lacks a column.
        """
        schema, name = self._table.schema, self._table.name
        if self._raw.info.server_version < MINIMUM_VERSION:
            raise PostgresError(
                f"PostgreSQL {self._raw.info.server_version // 10_000} is too old; 13 or later is "
                f"needed"
            )
        there = sa.inspect(self._sa)
        if not there.has_schema(schema):
            self._execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        if not there.has_table(name, schema=schema):
            columns = sql.SQL(", ").join(_column(c) + sql.SQL(" NUMERIC") for c in COLUMNS)
            self._execute(sql.SQL("CREATE TABLE {} ({})").format(self._table.identifier, columns))
            return
        present = {column["name"] for column in there.get_columns(name, schema=schema)}
        if missing := [column for column in COLUMNS if column not in present]:
            raise PostgresError(
                f"{self._table} has no column {', '.join(missing)}; add it as NUMERIC, or set "
                f"target_schema and target_table under [sales_target]"
            )

    def stage(self, lines: Iterable[bytes]) -> None:
        """Put the rows into a staging table of this transaction's own, by COPY."""
        columns = sql.SQL(", ").join(_column(c) + sql.SQL(" NUMERIC") for c in COLUMNS)
        stage = sql.Identifier(STAGE)
        self._execute(
            sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(stage, columns)
        )
        statement = sql.SQL("COPY {} FROM STDIN").format(stage)
        self._show(statement.as_string(self._raw))
        with self._raw.cursor() as cursor, cursor.copy(statement) as copy:
            for data in lines:
                copy.write(data)

    def staged(self) -> Content:
        """What the staging table holds."""
        return self._content(sql.Identifier(STAGE))

    def replace(self) -> Content:
        """Put the staged rows in the place of all that the table holds, and see what it holds then.

        Others may read the table meanwhile, and see what was there before; they may not change it.
        """
        table = self._table.identifier
        columns = sql.SQL(", ").join(_column(c) for c in COLUMNS)
        self._execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(table))
        self._execute(sql.SQL("DELETE FROM {}").format(table))
        self._execute(
            sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(
                table, columns, columns, sql.Identifier(STAGE)
            )
        )
        return self._content(table)

    def _content(self, table: sql.Composable) -> Content:
        quoted = [_column(c).as_string(self._raw) for c in COLUMNS]
        sums = ", ".join(f"count({c}), coalesce(sum({c}), 0)" for c in quoted)
        asked = f"SELECT count(*), {sums}, {checksum_sql(quoted)} FROM "
        ((rows, *found, checksum),) = self._execute(sql.SQL(asked) + table)
        pairs = zip(found[::2], found[1::2], strict=True)
        columns = tuple(ColumnSum(int(n), Decimal(total)) for n, total in pairs)
        return Content(int(rows), columns, int(checksum))

    def _execute(self, statement: str | sql.Composable) -> list[tuple[Any, ...]]:
        text = statement if isinstance(statement, str) else statement.as_string(self._raw)
        self._show(text)
        with self._raw.cursor() as cursor:
            cursor.execute(text)
            return list(cursor.fetchall()) if cursor.description else []


@contextmanager
def replacing(
    engine: sa.Engine, table: PostgresTable, *, show: Show, tell: Show
) -> Iterator[Replacement]:
    """A transaction that is committed when the block ends well, and rolled back otherwise."""
    with engine.connect() as connection, connection.begin():
        yield Replacement(connection, table, show, tell)
        show("COMMIT")


def _column(name: str) -> sql.Composable:
    return sql.Identifier(name)
