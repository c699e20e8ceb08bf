"""What a session does to the database: its settings, its transaction, its statements."""

from __future__ import annotations

import datetime as dt
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kpcluigi.rehearsal.oracle import syntax as s
from kpcluigi.rehearsal.oracle.binds import Bound
from kpcluigi.rehearsal.oracle.catalog import Table
from kpcluigi.rehearsal.oracle.engine import Database, Plan, Rows
from kpcluigi.rehearsal.oracle.errors import OraError, unimplemented
from kpcluigi.rehearsal.oracle.oradate import elements
from kpcluigi.rehearsal.oracle.parser import parse
from kpcluigi.rehearsal.oracle.privileges import Privileges
from kpcluigi.rehearsal.oracle.queries import Block
from kpcluigi.rehearsal.oracle.scope import Surroundings
from kpcluigi.rehearsal.oracle.statements import Change
from kpcluigi.rehearsal.oracle.values import Nls

Dictionary = Callable[["Work"], Mapping[str, tuple[Table, Callable[[], str]]]]

_OFFSET = re.compile(r"([+-])(\d{1,2}):(\d{2})$")
_BINARY_ONLY = ("NLS_SORT", "NLS_COMP")
_FORMATS = {
    "NLS_DATE_FORMAT": "date_format",
    "NLS_TIMESTAMP_FORMAT": "timestamp_format",
    "NLS_TIMESTAMP_TZ_FORMAT": "timestamp_tz_format",
}
_WITHOUT_EFFECT = ("_serial_direct_read", "OPTIMIZER_MODE", "PARALLEL")


@dataclass(frozen=True)
class Done:
    """What a statement gave: the columns and rows of a query, or how many rows it changed."""

    block: Block | None = None
    rows: Rows | None = None
    count: int = 0
    hints: tuple[str, ...] = ()


class Work:
    """A session's side of the database."""

    def __init__(
        self,
        database: Database,
        user: str,
        context: Callable[[], dict[str, str | None]],
        dictionary: Dictionary,
        privileges: Callable[[], Privileges],
    ) -> None:
        self._database = database
        self._user = user
        self._context = context
        self._dictionary = dictionary
        self._privileges = privileges
        self.schema = user
        self.nls = Nls()
        self.cancelled = threading.Event()
        self._interrupts: Callable[[], None] | None = None
        self._writer: int | None = None
        self._touched: set[Table] = set()
        self._snapshot: int | None = None

    @property
    def in_transaction(self) -> bool:
        return self._writer is not None or self._snapshot is not None

    def now_running(self, interrupt: Callable[[], None]) -> None:
        """Say what ends the DuckDB call that runs now."""
        self._interrupts = interrupt

    def interrupt(self) -> None:
        self.cancelled.set()
        if self._interrupts is not None:
            self._interrupts()

    def run(self, sql: str, batch: list[tuple[Bound, ...]], executes: bool) -> Done:
        """Run a statement once per row of binds; without `executes` only resolve it."""
        parsed = parse(sql)
        statement = parsed.statement
        for bound in batch:
            if len(bound) > len(parsed.binds):
                raise OraError(1036)
        match statement:
            case s.Explain():
                self._plan(sql, statement.statement, batch[0], explains=True)
                return Done(hints=parsed.hints)
            case s.AlterSession():
                if executes:
                    self._alter(statement)
                return Done()
            case s.SetTransaction():
                if executes:
                    self._snapshot = self._database.current_scn() if statement.read_only else None
                return Done()
            case s.EndTransaction():
                if executes:
                    (self.commit if statement.commit else self.rollback)()
                return Done()
            case s.Query():
                done = self._query(sql, statement, batch[0], executes)
            case _:
                done = self._change(sql, statement, batch, executes)
        return replace(done, hints=parsed.hints)

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            tables=self._database.tables,
            synonyms=self._database.synonyms,
            dictionary=self._dictionary(self),
            user=self._user,
            schema=self.schema,
            nls=self.nls,
            context=self._context(),
            current_scn=self._database.current_scn,
            need_undo=self._database.undo.need,
            privileges=self._privileges(),
            snapshot=self._snapshot,
            writer=self._writer,
        )

    def _plan(
        self,
        sql: str,
        statement: s.Query | s.Insert | s.Update | s.Delete,
        bound: tuple[Bound, ...],
        explains: bool,
    ) -> tuple[Plan, dict[str, object]]:
        around = self._surroundings()
        if explains and around.writer is None:
            around = replace(around, writer=0)
        plan = self._database.compiled(sql, statement, around, bound, explains)
        return plan, {} if explains else self._database.values(plan, bound)

    def _query(
        self, sql: str, statement: s.Query, bound: tuple[Bound, ...], executes: bool
    ) -> Done:
        plan, values = self._plan(sql, statement, bound, explains=not executes)
        block = plan.what
        assert isinstance(block, Block)
        if not executes:
            return Done(block)
        cursor = self._database.cursor()
        self._interrupts = cursor.interrupt

        def still_allowed() -> None:
            self._database.undo.need(plan.past)

        still_allowed()
        return Done(block, Rows(cursor, block.sql, values, still_allowed))

    def _change(
        self,
        sql: str,
        statement: s.Insert | s.Update | s.Delete,
        batch: list[tuple[Bound, ...]],
        executes: bool,
    ) -> Done:
        if not executes:
            self._plan(sql, statement, batch[0], explains=True)
            return Done()
        if self._snapshot is not None:
            raise OraError(1456)
        # A statement that does not compile must not wait for other writers.
        self._plan(sql, statement, batch[0], explains=True)
        if self._writer is None:
            self._writer = self._database.begin_writing(self.cancelled.is_set)
        count = 0
        for bound in batch:
            plan, values = self._plan(sql, statement, bound, explains=False)
            change = plan.what
            assert isinstance(change, Change)
            self._touched.add(change.table)
            count += self._database.change(change, values, self._watch)
        return Done(count=count)

    def _watch(self, cursor: object) -> None:
        self._interrupts = getattr(cursor, "interrupt", None)

    # -- the transaction

    def commit(self) -> None:
        self._end(commit=True)

    def rollback(self) -> None:
        self._end(commit=False)

    def _end(self, commit: bool) -> None:
        self._snapshot = None
        if self._writer is not None:
            try:
                self._database.end_writing(self._touched, commit)
            finally:
                self._writer = None
                self._touched = set()

    # -- settings

    def set_schema(self, name: str) -> None:
        if name not in {self._user, *(owner for owner, _ in self._database.tables)}:
            raise OraError(1435)
        self.schema = name

    def alter_at_logon(self, sql: str) -> None:
        """The ALTER SESSION that the driver sends with its logon."""
        statement = parse(sql).statement
        if isinstance(statement, s.AlterSession):
            self._alter(statement)

    def _alter(self, statement: s.AlterSession) -> None:
        for name, value in statement.settings:
            self._set(name, value)

    def _set(self, name: str, value: str) -> None:
        if name == "CURRENT_SCHEMA":
            self.set_schema(value)
        elif name == "TIME_ZONE":
            self.nls = replace(self.nls, time_zone=_minutes_east(value))
        elif name in _FORMATS:
            elements(value)
            fields = {_FORMATS[name]: value}
            self.nls = replace(self.nls, **fields)  # type: ignore[arg-type]
        elif name == "NLS_NUMERIC_CHARACTERS":
            if len(value) != 2 or value[0] == value[1]:
                raise OraError(12705)
            if value[0] != ".":
                raise unimplemented("NLS_NUMERIC_CHARACTERS with another decimal point than '.'")
            self.nls = replace(self.nls, numeric_characters=value)
        elif name in _BINARY_ONLY:
            if value.upper() != "BINARY":
                raise unimplemented(f"{name} other than BINARY")
        elif not name.startswith("NLS_") and name not in _WITHOUT_EFFECT:
            raise OraError(2248)


def _minutes_east(value: str) -> int:
    found = _OFFSET.match(value)
    if found:
        minutes = int(found[2]) * 60 + int(found[3])
        return -minutes if found[1] == "-" else minutes
    try:
        offset = dt.datetime.now(ZoneInfo(value)).utcoffset()
    except (ZoneInfoNotFoundError, ValueError):
        raise OraError(1882) from None
    return 0 if offset is None else int(offset.total_seconds() // 60)
