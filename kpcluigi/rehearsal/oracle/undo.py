"""How far back a table can be read: what undo is left, and when each SCN was."""

from __future__ import annotations

import bisect
import datetime as dt
import threading
from collections.abc import Iterable

from kpcluigi.rehearsal.oracle.catalog import Table
from kpcluigi.rehearsal.oracle.errors import OraError

_SEGMENT = (9, "_SYSSMU9_1186132793$")

Past = tuple[Table, int]
"""A table, and the SCN that it is read at."""


class Undo:
    """The oldest SCN that can be read, of all tables and of single ones."""

    def __init__(self, first_scn: int) -> None:
        self._first = first_scn
        self._lock = threading.Lock()
        self._oldest: dict[tuple[str, str] | None, int] = {None: first_scn}

    def forget(self, scn: int, table: Table | None = None) -> None:
        """From now on every SCN below `scn` is too old, for `table` or for all."""
        at = None if table is None else (table.owner, table.name)
        with self._lock:
            self._oldest[at] = max(scn, self._oldest.get(at, 0))

    def reset(self) -> None:
        """All undo is there again."""
        with self._lock:
            self._oldest = {None: self._first}

    def need(self, past: Iterable[Past]) -> None:
        """ORA-01555 unless each table can still be read at its SCN."""
        with self._lock:
            for table, scn in past:
                oldest = max(self._oldest[None], self._oldest.get((table.owner, table.name), 0))
                if scn < oldest:
                    raise OraError(1555, *_SEGMENT)


class ScnTimes:
    """When SCNs were the present one, in UTC."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scns: list[int] = []
        self._times: list[dt.datetime] = []

    def passed(self, scn: int) -> None:
        """`scn` is the present one now."""
        with self._lock:
            self._scns.append(scn)
            self._times.append(dt.datetime.now(dt.UTC).replace(tzinfo=None))

    def at(self, scn: int) -> dt.datetime:
        """When `scn` was; ORA-08181 for one before this server started, or in the future."""
        with self._lock:
            place = bisect.bisect_right(self._scns, scn) - 1
            if place < 0 or scn > self._scns[-1]:
                raise OraError(8181)
            return self._times[place]
