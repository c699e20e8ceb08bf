"""The database behind the server: tables, the SCN, uncommitted changes, and running statements."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from kpcluigi.rehearsal.oracle import syntax as s
from kpcluigi.rehearsal.oracle.binds import Bound
from kpcluigi.rehearsal.oracle.catalog import Place, Table, load_synonyms, load_tables, settle
from kpcluigi.rehearsal.oracle.engine_functions import register
from kpcluigi.rehearsal.oracle.errors import OraError, find_in, unimplemented
from kpcluigi.rehearsal.oracle.queries import Block
from kpcluigi.rehearsal.oracle.scope import Parameters, Surroundings
from kpcluigi.rehearsal.oracle.statements import Change, Statements
from kpcluigi.rehearsal.oracle.undo import Past, ScnTimes, Undo

FIRST_SCN = 1_000_000
"""The SCN when a file is first opened; rows put in before have always been there."""

SLICE_ROWS = 10_000
PLANS_KEPT = 500


class Interrupted(Exception):
    """The client broke the call off."""


@dataclass(frozen=True)
class Plan:
    """A compiled statement, the place holders whose values DuckDB is given, and what it reads at
    an SCN of the past."""

    what: Block | Change
    used: tuple[int, ...]
    past: tuple[Past, ...] = ()


class Rows:
    """The rows of an open query, read from DuckDB as they are asked for.

    `still_allowed` is asked before each fetch, and raises what the client is to be told instead.
    """

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        sql: str,
        values: dict[str, Any],
        still_allowed: Callable[[], None],
    ) -> None:
        self._cursor = cursor
        self._still_allowed = still_allowed
        self._reader = cursor.sql(sql, params=values).to_arrow_reader(SLICE_ROWS)
        self._batch: pa.RecordBatch | None = None
        self._at = 0
        self.read = 0
        self.ended = False
        # The first slice shows errors while the client still waits for the execution.
        self._next()

    def _next(self) -> None:
        try:
            self._batch = self._reader.read_next_batch()
        except StopIteration:
            self._batch = None
            self.ended = True
        self._at = 0

    def take(self, count: int) -> Iterator[pa.RecordBatch]:
        """The next `count` rows, or those that are left, in slices."""
        self._still_allowed()
        while count > 0 and self._batch is not None:
            part = self._batch.slice(self._at, count)
            if part.num_rows:
                self._at += part.num_rows
                self.read += part.num_rows
                count -= part.num_rows
                yield part
            if self._at >= self._batch.num_rows:
                self._next()

    def interrupt(self) -> None:
        self._cursor.interrupt()

    def close(self) -> None:
        self._batch = None
        self._reader.close()
        self._cursor.close()


class Database:
    """The DuckDB file, open for the whole life of the server."""

    def __init__(self, path: Path) -> None:
        self._con = duckdb.connect(str(path))
        self._con.execute("SET TimeZone = 'UTC'")
        register(self._con)
        self.undo = Undo(FIRST_SCN)
        self.scn_times = ScnTimes()
        self._con.create_function("ora_scn_time", self.scn_times.at, ["BIGINT"], "TIMESTAMP")
        self.tables: Mapping[Place, Table] = load_tables(self._con)
        self.synonyms: Mapping[Place, Place] = load_synonyms(self._con)
        for table in self.tables.values():
            self._forget_uncommitted(self._con, table)
            settle(self._con, table)
        found = self._con.execute("SELECT max(scn) FROM _oracle.clock").fetchone()
        self._scn = (found[0] if found and found[0] else FIRST_SCN) + 1
        self.scn_times.passed(self._scn)
        self._clock = threading.Lock()
        self._writing = threading.Lock()
        self._writers = 0
        self._plans: OrderedDict[object, Plan] = OrderedDict()

    def close(self) -> None:
        self._con.close()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        return self._con.cursor()

    def current_scn(self) -> int:
        """The present SCN. It moves on by itself, as a busy database's does."""
        with self._clock:
            self._scn += 1
            self.scn_times.passed(self._scn)
            return self._scn - 1

    def forget_undo(self, scn: int | None, table: str | None) -> None:
        """From now on every SCN below `scn`, or the present one, is too old for "OWNER.TABLE", or
        for all.

        Raises:
            ValueError: there is no such table.
        """
        known = None
        if table is not None:
            owner, _, name = table.upper().partition(".")
            known = self.tables.get((owner, name))
            if known is None:
                raise ValueError(f"there is no table {table!r}; OWNER.TABLE is needed")
        self.undo.forget(self.current_scn() if scn is None else scn, known)

    def rows_now(self, table: Table) -> int:
        """How many rows `table` has, as committed."""
        alive = "_from_scn >= 0 AND (_to_scn IS NULL OR _to_scn < 0)"
        return self._count(f"SELECT count(*) FROM {table.engine_name} WHERE {alive}")

    def rows_ever(self, table: Table) -> int:
        """How many row numbers of `table` were given, of all versions."""
        return self._count(f"SELECT coalesce(max(_row) + 1, 0) FROM {table.engine_name}")

    def _count(self, sql: str) -> int:
        with self._con.cursor() as cursor:
            found = cursor.execute(sql).fetchone()
        return int(found[0]) if found else 0

    # -- writing

    def begin_writing(self, is_cancelled: Callable[[], bool]) -> int:
        """Wait for other writers to end their transactions; the mark for the rows to come.

        One transaction at a time may hold uncommitted changes, where Oracle locks single rows.
        """
        while not self._writing.acquire(timeout=0.05):
            if is_cancelled():
                raise Interrupted
        self._writers += 1
        return self._writers

    def end_writing(self, touched: set[Table], commit: bool) -> None:
        """Commit or roll back what the present writer changed in the tables `touched`."""
        cursor = self._con.cursor()
        try:
            cursor.execute("BEGIN")
            if commit:
                with self._clock:
                    scn = self._scn
                    for table in touched:
                        for column in ("_from_scn", "_to_scn"):
                            name = table.engine_name
                            cursor.execute(f"UPDATE {name} SET {column} = {scn} WHERE {column} < 0")
                    cursor.execute("DELETE FROM _oracle.clock")
                    cursor.execute("INSERT INTO _oracle.clock VALUES (?)", [scn])
                    cursor.execute("COMMIT")
                    self._scn += 1
                    self.scn_times.passed(self._scn)
            else:
                for table in touched:
                    self._forget_uncommitted(cursor, table)
                cursor.execute("COMMIT")
        finally:
            cursor.close()
            self._writing.release()

    @staticmethod
    def _forget_uncommitted(cursor: duckdb.DuckDBPyConnection, table: Table) -> None:
        name = table.engine_name
        for sql in (
            f"DELETE FROM {name} WHERE _from_scn < 0",
            f"UPDATE {name} SET _to_scn = NULL WHERE _to_scn < 0",
        ):
            condition = sql.partition(" WHERE ")[2]
            if cursor.execute(f"SELECT 1 FROM {name} WHERE {condition} LIMIT 1").fetchone():
                cursor.execute(sql)

    # -- compiling and running

    def compiled(
        self,
        sql: str,
        statement: s.Query | s.Insert | s.Update | s.Delete,
        around: Surroundings,
        bound: tuple[Bound, ...],
        explains: bool = False,
    ) -> Plan:
        """The plan of `statement`; kept for the next time unless it depends on a bind's value."""
        signature = tuple((b.type, b.value is None, b.offset) for b in bound)
        key = (
            sql, around.schema, around.nls, around.writer, around.snapshot, around.privileges,
            signature,
        )  # fmt: skip
        kept = None if explains else self._plans.get(key)
        if kept is not None:
            return kept
        parameters = Parameters(bound, explains=explains)
        try:
            compiler = Statements(around, parameters)
            what = compiler.plan(statement)
        except RecursionError:
            raise unimplemented("an expression this deep") from None
        plan = Plan(what, tuple(sorted(+parameters.used)), tuple(compiler.past))
        if not parameters.fixed_by_value and not explains:
            self._plans[key] = plan
            while len(self._plans) > PLANS_KEPT:
                self._plans.popitem(last=False)
        return plan

    @staticmethod
    def values(plan: Plan, bound: tuple[Bound, ...]) -> dict[str, Any]:
        """What DuckDB is given for the place holders."""
        return {f"b{i}": as_engine_value(bound[i]) for i in plan.used}

    def change(self, change: Change, values: dict[str, Any], running: Callable[[Any], None]) -> int:
        """Run a DML statement, all or nothing; how many rows it changed."""
        cursor = self._con.cursor()
        running(cursor)
        try:
            cursor.execute("BEGIN")
            counts = []
            for step in change.steps:
                used = {k: v for k, v in values.items() if re.search(rf"\${k}\b", step)}
                counted = cursor.execute(step, used).fetchone()
                counts.append(int(counted[0]) if counted else 0)
            if change.duplicates is not None and cursor.execute(change.duplicates).fetchone():
                raise OraError(1, change.constraint)
            cursor.execute("COMMIT")
        except duckdb.Error as error:
            raise as_oracle_error(error) from error
        finally:
            cursor.close()
        return counts[0]


def as_engine_value(bound: Bound) -> Any:
    value = bound.value
    return str(value) if bound.type.kind == "NUMBER" and value is not None else value


def as_oracle_error(error: Exception) -> Exception:
    """DuckDB's refusal as Oracle's, or a loud one that says what the engine said."""
    text = str(error)
    found = find_in(text)
    if found is not None:
        return found
    if isinstance(error, duckdb.InterruptException) or "INTERRUPT" in text:
        return Interrupted()
    if "ivision by zero" in text:
        return OraError(1476)
    if "More than one row returned by a subquery" in text:
        return OraError(1427)
    return unimplemented(f"the engine said: {text.splitlines()[0][:600]}")
