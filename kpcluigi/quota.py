"""Who may send the next job: the ledger on disk, and the admission of one job after another.

The journals and load markers of all runs into an org are the ledger of what they took of its daily
allocation. Beside them, in the org's folder:

    data/kpc--uat/
      .quota.lock      held (flock) by the one process that looks, decides and claims
      .quota.json      what the org said last, and who is waiting; worth a request, no more: where
                       it is lost, the org is asked again

Nothing waits while it holds the lock.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kpcluigi.errors import CorruptMarkerError, SalesforceError
from kpcluigi.salesforce.quota import Allocation, Governor, Use, Wait, batches_of
from kpcluigi.staging import alive

TOLD_EVERY = timedelta(minutes=4)
"""How often one who waits says so, at least."""
SHORTEST = timedelta(seconds=1)
"""What one who waits sleeps at least."""
MOST_REFUSALS = 10
"""How often the org may fail to say what is left, one after another."""
GRACE = timedelta(minutes=2)
"""How late one who waits may come without losing its turn to those behind."""

_WITHOUT_DATA = ("Aborted", "Gone")
"""States of jobs that markers of earlier versions name, and that took nothing."""

_asks = itertools.count()
_NEVER = datetime.max.replace(tzinfo=UTC)


class Ledger:
    """What the jobs of all runs into one org took, from their journals and load markers."""

    def __init__(self, org_folder: Path) -> None:
        self._org_folder = org_folder
        self._known: dict[str, tuple[tuple[int, int, int], dict[str, Use]]] = {}
        """Per file: what tells that it changed, and the uses in it by job id."""

    def uses(self) -> list[Use]:
        """Every use that a file tells of; each job once.

        Raises:
            CorruptMarkerError: a file cannot be read.
        """
        while True:
            paths = self._paths()
            found = {path: uses for path in paths if (uses := self._read(path)) is not None}
            # A journal goes when its load marker is there: look until both were seen at rest
            if len(found) == len(paths) and self._paths() == paths:
                break
        self._known = {path: self._known[path] for path in paths}
        jobs: dict[str, Use] = {}
        for uses in found.values():
            for job_id, use in uses.items():
                if job_id not in jobs or jobs[job_id].ended_at is None:
                    jobs[job_id] = use
        return list(jobs.values())

    def _paths(self) -> set[str]:
        """data/ORG/RUN/TABLE/{loads,retries,repairs}/*.json, without temporary files."""
        return {
            f"{table}/{kind}/{name}"
            for run in _folders(str(self._org_folder))
            for table in _folders(run)
            for kind in ("loads", "retries", "repairs")
            for name in _names(f"{table}/{kind}")
            if name.endswith(".json") and not name.startswith(".")
        }

    def _read(self, path: str) -> dict[str, Use] | None:
        """The uses of one file; None where it went meanwhile."""
        try:
            found = os.stat(path)  # noqa: PTH116  # thousands: a Path each is a third of the time
            state = found.st_mtime_ns, found.st_size, found.st_ino
            known = self._known.get(path)
            if known is not None and known[0] == state:
                return known[1]
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123
                content = file.read()
        except FileNotFoundError:
            return None
        try:
            uses = _uses_of(path, json.loads(content), datetime.fromtimestamp(found.st_mtime, UTC))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CorruptMarkerError(
                f"{path} cannot be read ({type(error).__name__}: {error}), and it says what was "
                f"taken of the org's daily allocation; restore it from a backup, or, once the org "
                f"shows no unfinished job for its object (Setup, Bulk Data Load Jobs), remove it "
                f"to have that step done again"
            ) from None
        self._known[path] = state, uses
        return uses


def _uses_of(path: str, marker: dict[str, Any], changed_at: datetime) -> dict[str, Use]:
    """The uses in a LoadJournal or LoadResult, by job id, or by place where there is no job yet.

    Args:
        changed_at: stands in for the times that markers of earlier versions lack.
    """
    uses: dict[str, Use] = {}
    outcomes = [*marker.get("jobs", []), *marker.get("spent_jobs", [])]
    for i, part in enumerate(marker.get("parts", [])):
        job_id, sent_at = part.get("job_id"), part.get("sent_at")
        if part.get("outcome") is not None:
            outcomes.append(part["outcome"])
        elif job_id or sent_at:
            rows = int(part["rows"])
            begun = _moment(sent_at) or changed_at
            uses[job_id or f"{path}#{i}"] = Use(rows, batches_of(rows), begun, None)
    for outcome in outcomes:
        begun_at = _moment(outcome.get("sent_at"))
        rows = int(outcome["rows"])
        batches = int(outcome.get("batches", 0))
        if begun_at is None and outcome["state"] not in _WITHOUT_DATA:
            batches = batches_of(rows)
        if batches:
            ended = _moment(outcome.get("ended_at")) or changed_at
            uses[outcome["id"]] = Use(rows, batches, begun_at or ended, ended)
    return uses


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if entry.is_dir() and entry.name[0] != "."]
    except FileNotFoundError:
        return []


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)  # noqa: PTH208
    except FileNotFoundError:
        return []


@dataclass(frozen=True)
class _Waiting:
    """One who waits: for how many rows, since when, and when it will look again."""

    name: str
    host: str
    pid: int
    rows: int
    since: datetime
    looks_at: datetime


@dataclass
class _Shared:
    """.quota.json: what the processes tell each other."""

    allocation: Allocation | None = None
    exceeded_until: datetime | None = None
    """Set when Salesforce failed a job for want of allocation; the org is not asked before."""
    waiting: list[_Waiting] = field(default_factory=list)


class Admission:
    """Admits one job after another, over all processes that load into one org. One per process.

    Args:
        org_folder: data/ORG, the folder of all runs into the org.
        ask_org: `allocation_of(client)`.
        reserve: share of the allocation that is left to the org's other users.
        recheck: seconds after which one who waits looks again, at most. What the org said is
            believed for a tenth of it.
        now: the present moment, in UTC.
    """

    def __init__(
        self,
        org_folder: Path,
        *,
        ask_org: Callable[[], Allocation],
        reserve: float,
        recheck: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._folder = org_folder
        self._ledger = Ledger(org_folder)
        self._ask_org = ask_org
        self._recheck = timedelta(seconds=recheck)
        self._governor = Governor(reserve, self._recheck)
        self._now = now
        self._sleep = sleep
        self._asked = False
        """Whether this process has asked the org itself."""
        self._refusals = 0
        """How often it did not answer, one after another."""

    def admit(
        self, rows: int, claim: Callable[[datetime], None], tell: Callable[[str], None]
    ) -> None:
        """Wait until a job of `rows` rows may be sent, then claim its share of the allocation.

        A claim stands until an outcome is written for it: a job that was claimed and not yet
        created, as after a crash, needs no second admission.

        Args:
            claim: writes the journal, with the moment as the part's `sent_at`; called with the
                lock held, so that the next to ask sees it.
            tell: receives the reason for waiting: at once, when it changes, and every few minutes.

        Raises:
            ConfigurationError: the job is larger than can ever be granted.
            CorruptMarkerError: a journal or load marker cannot be read.
            SalesforceError: the org could not be asked.
        """
        host, pid = socket.gethostname(), os.getpid()
        me = _Waiting(
            name=f"{host}:{pid}:{next(_asks):08}",
            host=host,
            pid=pid,
            rows=rows,
            since=self._now(),
            looks_at=_NEVER,
        )
        told, told_at = "", me.since
        while True:
            with self._shared() as shared:
                now = self._now()
                wait = self._look(me, shared, now)
                if wait is None:
                    claim(now)
                    return
                looks_at = max(now + SHORTEST, min(wait.until, now + self._recheck))
                shared.waiting.append(replace(me, looks_at=looks_at))
            while now < looks_at:
                if wait.reason != told or now - told_at >= TOLD_EVERY:
                    tell(wait.reason)
                    told, told_at = wait.reason, now
                self._sleep(min(looks_at - now, TOLD_EVERY).total_seconds())
                now = self._now()

    def note_exceeded(self, reason: str, tell: Callable[[str], None]) -> None:
        """Salesforce failed a job for want of allocation: nobody sends one until it is asked anew.

        Args:
            reason: in Salesforce's words.
        """
        with self._shared() as shared:
            shared.exceeded_until = self._now() + self._recheck
            if shared.allocation is not None:
                shared.allocation = replace(shared.allocation, batches_left=0)
        tell(f"the org's daily allocation is used up ({reason}); nothing is sent for now")

    def _look(self, me: _Waiting, shared: _Shared, now: datetime) -> Wait | None:
        """Decide, with the lock held; leaves me out of those who wait."""
        shared.waiting = [
            other
            for other in shared.waiting
            if other.name != me.name
            and other.looks_at + GRACE >= now
            and (other.host != me.host or alive(other.pid))
        ]
        try:
            allocation = self._refresh(shared, now)
        except SalesforceError as error:
            self._refusals += 1
            if not error.passing or self._refusals > MOST_REFUSALS:
                raise
            until = now + max(SHORTEST, self._recheck / 10)
            return Wait(until, f"the org does not say what is left of its allocation: {error}")
        self._refusals = 0
        ahead = [o.rows for o in shared.waiting if (o.since, o.name) < (me.since, me.name)]
        return self._governor.decide(me.rows, self._ledger.uses(), allocation, now, ahead=ahead)

    def _refresh(self, shared: _Shared, now: datetime) -> Allocation:
        """What the org says, not older than a tenth of `recheck`."""
        known = shared.allocation
        if known is not None and shared.exceeded_until is not None and now < shared.exceeded_until:
            return known
        fresh = known is not None and timedelta(0) <= now - known.asked_at < self._recheck / 10
        if known is None or not fresh or not self._asked:
            known = shared.allocation = self._ask_org()
            shared.exceeded_until = None
            self._asked = True
        return known

    @contextmanager
    def _shared(self) -> Iterator[_Shared]:
        """What the processes tell each other, with the lock held; written when the block ends."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / ".quota.json"
        with (self._folder / ".quota.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            shared = _read_shared(path)
            yield shared
            path.write_text(json.dumps(asdict(shared), default=str), "utf-8")


def _read_shared(path: Path) -> _Shared:
    """Empty where the file is missing, or was being written when its process died."""
    try:
        content = json.loads(path.read_text("utf-8"))
        said = content["allocation"]
        if said is not None:
            said["asked_at"] = datetime.fromisoformat(said["asked_at"])
        return _Shared(
            allocation=None if said is None else Allocation(**said),
            exceeded_until=_moment(content["exceeded_until"]),
            waiting=[
                _Waiting(
                    name=other["name"],
                    host=other["host"],
                    pid=other["pid"],
                    rows=other["rows"],
                    since=datetime.fromisoformat(other["since"]),
                    looks_at=datetime.fromisoformat(other["looks_at"]),
                )
                for other in content["waiting"]
            ],
        )
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return _Shared()
