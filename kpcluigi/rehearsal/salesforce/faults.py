"""Faults: what can be made to go wrong, and how to say so.

A fault is armed with `StandIn.arm(**fault)`, that is `POST /faults` on the control port:

    on         create | upload | close | abort | delete | info | list | results | token | userinfo
               | query | limits | describe | record | versions | query_job | query_results
               one kind of request; query_job is every call of a query job but its results
               any        any request
               job        an ingest job, when its processing begins
               query_processing   a query job, when its processing begins
               row        a row of a job that no rule forbids
    object     only for this object; of a query or a query job, the one after FROM
    match      only where this regular expression is found: in the path and query of a request, in
               the id of a job, in the external id (or Id) of a row
    nth        from which occurrence on, counted from now; 1 when not given
    times      how often; 1 when not given, null or -1 for ever
    share      instead of nth and times: at this share (0 to 1) of all occurrences, for ever; which
               ones depends on nothing but `seed` (0 when not given)

and one of these:

    status     401 | 403 | 429 | 500 | 503, with Salesforce's body; `code` and `message` replace
               its texts. 401 also ends the session of the request's token.
    reset      true: the connection is reset without an answer, before the request has an effect;
               with `processed` true, after it; on "upload", "results" and "query_results" with
               `after_bytes`, in the middle (of a shorter one, at its end)
    delay      seconds that the answer waits; may stand beside status or reset
    row_error  (on "row") the row's sf__Error
    job_state  (on "job" and "query_processing"), when `after_batches` batches are processed
               "Failed"      with `message`
               "Aborted"     as by an administrator
               "InProgress"  it stays so until it is aborted, or the faults are disarmed: then it
                             goes on
    above_rows (on "query" and "query_processing") a query that has to read more rows than this
               runs for too long: 400 QUERY_TIMEOUT, of a job the state Failed. It has to read what
               its index finds, and every row of its object without one that is selective (see the
               module `plans`); `explain` tells, and is not subject to it. Occurrences are queries
               that read more. `message` replaces the text; on "query", `delay` is how long it ran.
    unreadable (on "job") a job in whose data this regular expression is found fails before its
               first row, as one with an unreadable row does; `message` replaces the text
    latency    (on the same) seconds that the job takes instead of the server's

Examples:

    arm(on="upload", reset=True, after_bytes=100_000)
    arm(on="close", reset=True, processed=True)          the job is closed, the answer is lost
    arm(on="info", status=503, times=3)
    arm(on="row", object="KPS_Sales__c", times=5,
        row_error="UNABLE_TO_LOCK_ROW:unable to obtain exclusive access to this record:--")
    arm(on="job", nth=2, job_state="Failed", after_batches=1,
        message="TooManyLockFailure : Too many lock failure 200 Trying again later.")
    arm(on="any", share=0.05, seed=7, status=503)
    arm(on="row", match="^A-7$", times=2, row_error=...)  the row fails in two jobs, then passes
    arm(on="job", unreadable="poison", times=-1)
    arm(on="query", object="KPS_Sales__c", above_rows=50_000, times=-1)
    arm(on="query_processing", above_rows=200_000, times=-1)
"""

from __future__ import annotations

import random
import re
import threading
from dataclasses import dataclass, field, fields
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

REQUEST_KINDS = frozenset(
    {"create", "upload", "close", "abort", "delete", "info", "list", "results"}
    | {"token", "userinfo", "query", "limits", "describe", "record", "versions"}
    | {"query_job", "query_results"}
)
NO_REQUESTS = frozenset({"job", "query_processing", "row"})
QUERIES = frozenset({"query", "query_processing"})
"""What can run for too long."""
BODIES = frozenset({"upload", "results", "query_results"})
"""What can break off in the middle."""

STATUS_BODIES = {
    401: ("INVALID_SESSION_ID", "Session expired or invalid"),
    403: ("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
    # Worded by the stand-in: no record of an org's 429 was found.
    429: ("REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests Limit exceeded."),
    500: ("UNKNOWN_EXCEPTION", "An unexpected error occurred."),
    503: ("SERVER_UNAVAILABLE", "Server is too busy. Please try again later."),
}


QUERY_TIMEOUT = ("QUERY_TIMEOUT", "Your query request was running for too long.")


@dataclass
class Fault:
    """One armed fault; the attributes are described in this module's docstring."""

    on: str
    object: str = ""
    match: str = ""
    nth: int = 1
    times: int | None = 1
    share: float | None = None
    seed: int = 0
    status: int = 0
    code: str = ""
    message: str = ""
    reset: bool = False
    processed: bool = False
    after_bytes: int | None = None
    delay: float = 0.0
    row_error: str = ""
    job_state: str = ""
    after_batches: int = 0
    above_rows: int | None = None
    unreadable: str = ""
    latency: float | None = None
    seen: int = field(default=0, init=False)
    is_disarmed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.on not in REQUEST_KINDS | NO_REQUESTS | {"any"}:
            others = ", ".join(sorted(NO_REQUESTS))
            raise ValueError(f"on={self.on!r} is not a kind of request, nor any, {others}")
        if self.times == -1:
            self.times = None
        if self.status and self.status not in STATUS_BODIES:
            raise ValueError(f"status={self.status} is not one of {sorted(STATUS_BODIES)}")
        if self.share is not None and not 0 <= self.share <= 1:
            raise ValueError(f"share={self.share} is not from 0 to 1")
        if self.job_state not in ("", "Aborted", "Failed", "InProgress"):
            raise ValueError(
                f"job_state={self.job_state!r} is not 'Aborted', 'Failed' or 'InProgress'"
            )
        if self.after_bytes is not None and (self.on not in BODIES or not self.reset):
            raise ValueError(f"after_bytes needs reset, on one of {', '.join(sorted(BODIES))}")
        if self.above_rows is not None:
            self._check_above_rows(self.above_rows)
        try:
            re.compile(self.match)
            re.compile(self.unreadable)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        self._chances = random.Random(self.seed)
        effects = {
            "row": bool(self.row_error),
            "job": bool(self.job_state or self.unreadable) or self.latency is not None,
            "query_processing": bool(self.job_state) or self.latency is not None,
        }
        if self.above_rows is None and not effects.get(
            self.on, bool(self.status or self.reset or self.delay)
        ):
            raise ValueError(f"a fault on {self.on!r} has no effect")

    def _check_above_rows(self, rows: int) -> None:
        if self.on not in QUERIES:
            raise ValueError(f"above_rows needs one of {', '.join(sorted(QUERIES))}")
        if not isinstance(rows, int) or rows < 0:
            raise ValueError(f"above_rows={rows!r} is no number of rows")
        if self.status or self.reset or self.job_state or self.latency is not None:
            raise ValueError("above_rows stands without status, reset, job_state and latency")

    def fires(self) -> bool:
        """Count an occurrence and say whether the fault happens to it."""
        self.seen += 1
        if self.share is not None:
            return self._chances.random() < self.share
        return self.seen >= self.nth and (self.times is None or self.seen < self.nth + self.times)

    @property
    def is_spent(self) -> bool:
        if self.share is not None:
            return False
        return self.times is not None and self.seen >= self.nth + self.times - 1


class Faults:
    """The armed faults. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._armed: list[Fault] = []
        self._taken: list[Fault] = []
        """Of those on jobs; a job may wait until its fault is disarmed."""
        self._lock = threading.Lock()

    def arm(self, given: dict[str, Any]) -> int:
        """Arm one fault and return how many are armed.

        Raises:
            ValueError: a key is unknown or a value cannot be.
        """
        unknown = given.keys() - {f.name for f in fields(Fault) if f.init}
        if unknown:
            raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}")
        if "share" in given and given.keys() & {"nth", "times"}:
            raise ValueError("share stands instead of nth and times")
        fault = Fault(**given)
        with self._lock:
            self._armed.append(fault)
            return len(self._armed)

    def disarm(self) -> None:
        with self._lock:
            for fault in (*self._armed, *self._taken):
                fault.is_disarmed = True
            self._armed.clear()
            self._taken.clear()

    def reads_data(self, sobject: str) -> bool:
        """Whether a fault on jobs of this object looks into their data."""
        with self._lock:
            return any(f.unreadable and f.object in ("", sobject) for f in self._armed)

    def has_row_faults(self, sobject: str) -> bool:
        with self._lock:
            return any(f.on == "row" and f.object in ("", sobject) for f in self._armed)

    def looks_at_rows(self, kind: str, sobject: str) -> bool:
        """Whether it matters how many rows such a query of this object has to read."""
        with self._lock:
            return any(
                f.above_rows is not None and f.on == kind and f.object in ("", sobject)
                for f in self._armed
            )

    def take(
        self,
        kind: str,
        sobject: str,
        text: str,
        data: Path | None = None,
        rows: int | None = None,
    ) -> Fault | None:
        """The first fault that happens to this occurrence; all that match count it.

        Args:
            text: what `match` is looked for in.
            data: the file that `unreadable` is looked for in.
            rows: what the query has to read, for the faults with `above_rows` and no others.
        """
        kinds = {kind} if kind in NO_REQUESTS else {kind, "any"}
        found = None
        with self._lock:
            for fault in self._armed:
                if (
                    fault.on in kinds
                    and fault.object in ("", sobject)
                    and re.search(fault.match, text)
                    and _is_above(rows, fault.above_rows)
                    and _is_in(fault.unreadable, data)
                    and fault.fires()
                    and found is None
                ):
                    found = fault
            self._armed = [fault for fault in self._armed if not fault.is_spent]
            if found is not None and found.job_state == "InProgress":
                self._taken.append(found)
        return found


def _is_above(rows: int | None, most: int | None) -> bool:
    """Whether rows are asked about, and more than that; a fault without a number of them happens
    when they are not asked about."""
    if rows is None or most is None:
        return rows is most
    return rows > most


def _is_in(pattern: str, path: Path | None) -> bool:
    """Whether the pattern is found in the file; every file has the empty one."""
    if not pattern:
        return True
    if path is None or not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        return re.search(pattern.encode(), data) is not None
