"""The quota governor, driven through the whole migration on a clock of its own.

kpcluigi's own `Admission` admits every job of all 16 tables, 783,000,000 rows, phase after phase,
15 chunks at once, with its files in a temporary folder. Only time is not real. The org is a model:

  allocation    15,000 batches and 150,000,000 records in any 24 hours, to the second; a job that
                goes beyond fails. What /limits says is up to five minutes old.
  speed         a job begins 20 s after it is closed and takes a second a batch at least; all jobs
                together take no more than --rows-per-second.
  other users   take batches at random, about 250 a day and never more than the reserve of 3 %,
                which is 450; and once, within three hours, 1,000 more.
  restarts      at random moments all processes die; some minutes later new ones read the files,
                take up the jobs under way, and go on.

Of the tables, three have the sizes that the project's documents name; the rest of 783M rows is
spread over the other 13. A row has 149 bytes, so that a chunk of 500,000 is one job and one of
1,000,000 two; no chunk's last batch is full.

It stands well when no job fails for want of allocation, and `utilisation` is above 0.95: the
batches that we took, of the allocation less the reserve, for as long as there was work. (It may
exceed 1: whoever begins with an unused allocation has more of it than days. `utilisation_of_ideal`
is the time that a sender would take who always uses all that is left, and never dies, over ours.)
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import random
import tempfile
import threading
import time
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kpcluigi.chunkfile import cut_into_jobs
from kpcluigi.markers import JobOutcome, LoadJournal, LoadResult, Part
from kpcluigi.quota import Admission
from kpcluigi.salesforce.quota import (
    BATCH_ROWS,
    DAY,
    LIMITS_LAG,
    RECORDS_PER_DAY,
    Allocation,
    batches_of,
)
from kpcluigi.staging import RunFolder, TableFolder, read_marker, write_marker
from kpcluigi.tables import Table, load_tables

ROWS = 783_000_000
NAMED = {"KPS_T_SALES_M": 108, "KPS_T_SALES_MD": 261, "KPS_T_SALESPAY_MD": 109}
"""Millions of rows that the project's documents name; their largest total is 783M."""
ROW_BYTES = 149
HEADER_BYTES = 200
MAX_FILE_SIZE = 100_000_000
AT_ONCE = 15
"""`[resources] salesforce`."""
ALLOCATION = 15_000
REQUESTS = 100_000
RESERVE = 0.03
RECHECK = 600.0

LATENCY = timedelta(seconds=20)
BATCH_TIME = timedelta(seconds=1)
UPLOAD_BYTES_PER_SECOND = 20e6
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rows-per-second",
        type=int,
        default=2_000,
        metavar="N",
        help="what the org gets done over all jobs (default 2,000; Salesforce names no figure, its "
        "allocation amounts to 1,736)",
    )
    parser.add_argument(
        "--restarts", type=int, default=20, metavar="N", help="how often all is killed (default 20)"
    )
    parser.add_argument(
        "--seed", type=int, default=20220101, metavar="N", help="another seed, other chances"
    )


def run(given: argparse.Namespace) -> None:
    memory = Path("/dev/shm")  # each journal is flushed to disk, which needs no disk here
    with tempfile.TemporaryDirectory(
        prefix="kpcluigi-bench-", dir=memory if memory.is_dir() else None
    ) as name:
        _run(Path(name), given.rows_per_second, given.restarts, given.seed)


def _run(folder: Path, rows_per_second: int, restarts: int, seed: int) -> None:
    started = time.monotonic()
    chances = random.Random(seed)
    clock = Clock()
    org = Org(clock, rows_per_second, chances)
    migration = Migration(folder, clock, org, chances)
    for _ in range(restarts):
        clock.at(BEGIN + chances.uniform(0, 5) * DAY, migration.restart)
    finished = migration.run()

    days = (finished - BEGIN) / DAY
    usable = ALLOCATION * (1 - RESERVE)
    at_most = rows_per_second / BATCH_ROWS * DAY.total_seconds()
    whole_days, rest = divmod(org.batches, usable)
    ideal = max(whole_days + rest / at_most, org.batches / at_most)
    print(f"{'day':>5}{'batches of ours':>18}{'of others':>12}{'restarts':>10}{'waiting h':>11}")
    for day in range(int(days) + 1):
        print(
            f"{day + 1:5}{org.by_day['ours', day]:18,}{org.by_day['others', day]:12,}"
            f"{migration.restarted_on[day]:10}{migration.waiting_on[day] / 3600 / AT_ONCE:11.1f}"
        )
    result = {
        "days": round(days, 3),
        "max_batches_in_24h": org.most_batches,
        "max_batches_in_24h_ours": org.most_batches_ours,
        "max_rows_in_24h": org.most_rows,
        "utilisation": round(org.batches / (usable * days), 4),
        "utilisation_of_ideal": round(ideal / days, 4),
        "jobs_failed_for_quota": org.failed_for_quota,
        "restarts": migration.restarts,
        "jobs_taken_up_again": migration.taken_up,
        "rows": org.rows,
        "batches": org.batches,
        "jobs": org.jobs,
        "chunks": len(migration.chunks),
        "other_users_batches": org.others,
        "other_users_most_in_24h": org.most_others,
        "limits_calls": org.limits_calls,
        "allocation": ALLOCATION,
        "reserve": RESERVE,
        "rows_per_second": rows_per_second,
        "seed": seed,
        "cpu_seconds": round(time.process_time(), 1),
        "wall_seconds": round(time.monotonic() - started, 1),
    }
    print(
        f"\n{org.rows:,} rows in {days:.2f} days; at most {org.most_batches:,} batches in any 24 "
        f"hours, by all users; {org.failed_for_quota} jobs failed for want of allocation\n"
    )
    print(json.dumps(result))


class _Killed(BaseException):
    """The process is no more."""


class Clock:
    """Time that passes only while everybody waits. One thread runs at a time."""

    def __init__(self) -> None:
        self._now = BEGIN
        self._events: list[tuple[datetime, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        return self._now

    def at(self, moment: datetime, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._order), action))

    def sleep(self, seconds: float) -> None:
        """Called by a `Process`: let the others go on until then."""
        process = threading.current_thread()
        assert isinstance(process, Process)
        self.at(self._now + timedelta(seconds=seconds), process.go_on)
        process.stand_still()

    def step(self) -> None:
        self._now, _, action = heapq.heappop(self._events)
        action()


class Process(threading.Thread):
    """One process of the migration; `kill` is kill -9: it gets to do nothing more."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._turn = threading.Semaphore(0)
        self._back = threading.Semaphore(0)
        self._killed = False
        self.ended = False
        self._died = True
        self.start()

    def run(self) -> None:
        self._turn.acquire()
        try:
            with suppress(_Killed):
                if not self._killed:
                    self._work()
            self._died = False
        finally:
            self.ended = True
            self._back.release()

    def go_on(self) -> None:
        """Called by the clock: returns when the process waits again, or has ended."""
        if self.ended:
            return
        self._turn.release()
        self._back.acquire()
        if self.ended and self._died:
            raise SystemExit("A process of this benchmark died: see the error before this line")

    def stand_still(self) -> None:
        self._back.release()
        self._turn.acquire()
        if self._killed:
            raise _Killed

    def kill(self) -> None:
        self._killed = True
        self.go_on()


class Rolling:
    """Amounts over time, and their sum in the 24 hours before any moment."""

    def __init__(self) -> None:
        self._times: list[datetime] = []
        self._sums = [0]

    def add(self, now: datetime, amount: int) -> None:
        self._times.append(now)
        self._sums.append(self._sums[-1] + amount)

    def used(self, at: datetime) -> int:
        first, last = bisect_right(self._times, at - DAY), bisect_right(self._times, at)
        return self._sums[last] - self._sums[first]


@dataclass
class Job:
    """A Bulk job as the org knows it."""

    id: str
    rows: int
    state: str = "Open"
    done: int = 0
    """Batches."""


class Org:
    """Jobs, other users, and a rolling allocation that fails whoever goes beyond it."""

    def __init__(self, clock: Clock, rows_per_second: int, chances: random.Random) -> None:
        self._clock = clock
        self._rows_per_second = rows_per_second
        self._chances = chances
        self._free_at = BEGIN
        self._jobs: dict[str, Job] = {}
        self._window, self._window_rows = Rolling(), Rolling()
        self._ours, self._others, self._requests = Rolling(), Rolling(), Rolling()
        self.most_batches = self.most_batches_ours = self.most_rows = self.most_others = 0
        self.failed_for_quota = self.batches = self.rows = self.others = self.limits_calls = 0
        self.by_day: Counter[tuple[str, int]] = Counter()
        clock.at(BEGIN, self._other_user)
        beyond = BEGIN + chances.uniform(1.2, 4.5) * DAY
        for _ in range(100):
            at = beyond + chances.random() * timedelta(hours=3)
            clock.at(at, lambda: self._take_for_other(10))

    @property
    def jobs(self) -> int:
        return len(self._jobs)

    def limits(self) -> Allocation:
        self.call()
        self.limits_calls += 1
        now = self._clock.now()
        seen = now - self._chances.random() * LIMITS_LAG
        return Allocation(
            batches=ALLOCATION,
            batches_left=ALLOCATION - self._window.used(seen),
            requests=REQUESTS,
            requests_left=REQUESTS - self._requests.used(seen),
            asked_at=now,
        )

    def call(self) -> None:
        self._requests.add(self._clock.now(), 1)

    def create(self, rows: int) -> Job:
        self.call()
        job = Job(f"750{len(self._jobs):015}", rows)
        self._jobs[job.id] = job
        return job

    def job(self, job_id: str) -> Job:
        self.call()
        return self._jobs[job_id]

    def close(self, job: Job) -> None:
        self.call()
        job.state = "UploadComplete"
        self._clock.at(self._clock.now() + LATENCY, lambda: self._next_batch(job))

    def _next_batch(self, job: Job) -> None:
        """Have the job's next batch processed as soon as the org comes to it."""
        if job.done == batches_of(job.rows):
            job.state = "JobComplete"
            return
        rows = min(BATCH_ROWS, job.rows - job.done * BATCH_ROWS)
        begin = max(self._clock.now(), self._free_at)
        self._free_at = begin + timedelta(seconds=rows / self._rows_per_second)
        self._clock.at(max(self._free_at, begin + BATCH_TIME), lambda: self._process(job, rows))

    def _process(self, job: Job, rows: int) -> None:
        if not self._take(1, rows):
            job.state = "Failed"
            self.failed_for_quota += 1
            return
        now = self._clock.now()
        self._ours.add(now, 1)
        self.most_batches_ours = max(self.most_batches_ours, self._ours.used(now))
        self.batches += 1
        self.rows += rows
        self.by_day["ours", (now - BEGIN) // DAY] += 1
        job.state = "InProgress"
        job.done += 1
        self._next_batch(job)

    def _take(self, batches: int, rows: int) -> bool:
        now = self._clock.now()
        used, used_rows = self._window.used(now), self._window_rows.used(now)
        if used + batches > ALLOCATION or used_rows + rows > RECORDS_PER_DAY:
            return False
        self._window.add(now, batches)
        self._window_rows.add(now, rows)
        self.most_batches = max(self.most_batches, used + batches)
        self.most_rows = max(self.most_rows, used_rows + rows)
        return True

    def _other_user(self) -> None:
        """Now and then some batches, within the reserve."""
        now = self._clock.now()
        room = int(ALLOCATION * RESERVE) - self._others.used(now)
        self._take_for_other(min(self._chances.randint(1, 40), max(0, room)))
        pause = timedelta(hours=self._chances.expovariate(1 / 2))
        self._clock.at(now + pause, self._other_user)

    def _take_for_other(self, batches: int) -> None:
        now = self._clock.now()
        if batches and self._take(batches, batches * BATCH_ROWS):
            self._others.add(now, batches)
            self.others += batches
            self.most_others = max(self.most_others, self._others.used(now))
            self.by_day["others", (now - BEGIN) // DAY] += batches


@dataclass(frozen=True)
class Chunk:
    """A chunk file that waits to be loaded."""

    folder: TableFolder
    table: Table
    n: int
    rows: int

    @property
    def loaded(self) -> bool:
        return self.folder.load_result(self.n).exists()


class Migration:
    """All chunks into the org, in processes that may die at any moment."""

    def __init__(self, folder: Path, clock: Clock, org: Org, chances: random.Random) -> None:
        self._folder = folder / "kpc--bench"
        self._clock = clock
        self._org = org
        self._chances = chances
        self._running: list[Process] = []
        self._queue: deque[Chunk] = deque()
        self.restarts = self.taken_up = 0
        self.restarted_on: Counter[int] = Counter()
        self.waiting_on: Counter[int] = Counter()
        """Seconds in which a process waited for its admission, by day."""
        self.chunks = self._cut()

    def run(self) -> datetime:
        """Load phase after phase. Returns when the last row was accounted for."""
        for phase in sorted({chunk.table.phase for chunk in self.chunks}):
            self._phase = phase
            self._start()
            while self._unfinished():
                self._clock.step()
        return self._clock.now()

    def restart(self) -> None:
        """Kill every process; somebody notices after a while and runs the command again."""
        self.restarts += 1
        self.restarted_on[(self._clock.now() - BEGIN) // DAY] += 1
        for process in self._running:
            process.kill()
        self._running = []
        pause = timedelta(seconds=self._chances.uniform(10, 900))
        self._clock.at(self._clock.now() + pause, self._start)

    def _cut(self) -> list[Chunk]:
        tables = load_tables(Path("tables.toml"))
        rest = (ROWS - sum(NAMED.values()) * 1_000_000) // (len(tables) - len(NAMED))
        sizes = {name: NAMED.get(name, 0) * 1_000_000 or rest for name in tables}
        sizes[next(name for name in sizes if name not in NAMED)] += ROWS - sum(sizes.values())
        chunks: list[Chunk] = []
        run = RunFolder(self._folder / "full_2022-01-01_2024-12-31")
        for name, left in sizes.items():
            for n in itertools.count(1):
                short = self._chances.randrange(1, BATCH_ROWS // 2)
                rows = min(left, tables[name].chunk_size - short)
                chunks.append(Chunk(run.table(name), tables[name], n, rows))
                left -= rows
                if not left:
                    break
        return chunks

    def _unfinished(self) -> list[Chunk]:
        if any(not process.ended for process in self._running):
            return self.chunks
        return [c for c in self.chunks if c.table.phase == self._phase and not c.loaded]

    def _start(self) -> None:
        """New processes, which know what the files say."""
        if any(not process.ended for process in self._running):
            return  # killed twice before anybody noticed
        self._queue = deque(self._unfinished())
        self._running = [Process(self._work) for _ in range(AT_ONCE)]
        for process in self._running:
            self._clock.at(self._clock.now(), process.go_on)

    def _work(self) -> None:
        while self._queue:
            Load(self, self._queue.popleft(), self._clock, self._org, self._folder).run()


class Load:
    """One chunk to its load marker, as BulkUpload does it, with the org's answers made short."""

    def __init__(
        self, migration: Migration, chunk: Chunk, clock: Clock, org: Org, folder: Path
    ) -> None:
        self._migration = migration
        self._chunk = chunk
        self._clock = clock
        self._org = org
        self._admission = Admission(
            folder,
            ask_org=org.limits,
            reserve=RESERVE,
            recheck=RECHECK,
            now=clock.now,
            sleep=self._sleep_while_waiting,
        )

    def run(self) -> None:
        folder, n = self._chunk.folder, self._chunk.n
        self._journal = read_marker(folder.load_journal(n), LoadJournal) or self._new_journal()
        for index, part in enumerate(self._journal.parts):
            while part.outcome is None:
                part = self._advance(index, part)
        self._clock.sleep(5)  # the results
        write_marker(folder.load_result(n), self._result())
        folder.load_journal(n).unlink()

    def _advance(self, index: int, part: Part) -> Part:
        """One part, brought one step further; a kill may fall between any two."""
        if part.sent_at is None:

            def claim(now: datetime) -> None:
                self._save(index, part.model_copy(update={"sent_at": now}))

            self._admission.admit(part.rows, claim, lambda line: None)
            self._clock.sleep(1)
            return self._journal.parts[index]
        if part.job_id is None:
            job = self._org.create(part.rows)
            part = self._save(index, part.model_copy(update={"job_id": job.id}))
            self._clock.sleep((part.end - part.start) / UPLOAD_BYTES_PER_SECOND)
            self._org.close(job)
            return self._wait(index, part)
        self._migration.taken_up += 1
        if self._org.job(part.job_id).state == "Open":
            return self._save(index, part.model_copy(update={"job_id": None}))
        return self._wait(index, part)

    def _wait(self, index: int, part: Part) -> Part:
        assert part.job_id is not None
        interval = 5.0
        while (job := self._org.job(part.job_id)).state not in ("JobComplete", "Failed"):
            self._clock.sleep(interval)
            interval = min(60, interval * 1.5)
        outcome = JobOutcome(
            id=job.id,
            state=job.state,
            rows=part.rows,
            created=part.rows,
            sent_at=part.sent_at,
            ended_at=self._clock.now(),
            batches=batches_of(part.rows),
        )
        return self._save(index, part.model_copy(update={"outcome": outcome}))

    def _new_journal(self) -> LoadJournal:
        rows = self._chunk.rows
        ends = [min(rows, (i + 1) * BATCH_ROWS) for i in range(batches_of(rows))]
        cuts = cut_into_jobs(
            [(end, HEADER_BYTES + end * ROW_BYTES) for end in ends],
            header_bytes=HEADER_BYTES,
            max_bytes=MAX_FILE_SIZE,
            max_rows=self._chunk.table.records_per_job,
        )
        journal = LoadJournal(
            table=self._chunk.table.name,
            n=self._chunk.n,
            chunk_sha256="",
            parts=[Part(rows=cut.rows, start=cut.start, end=cut.end) for cut in cuts],
        )
        write_marker(self._chunk.folder.load_journal(self._chunk.n), journal)
        return journal

    def _save(self, index: int, part: Part) -> Part:
        parts = [*self._journal.parts[:index], part, *self._journal.parts[index + 1 :]]
        self._journal = self._journal.model_copy(update={"parts": parts})
        write_marker(self._chunk.folder.load_journal(self._chunk.n), self._journal)
        return part

    def _result(self) -> LoadResult:
        jobs = [part.outcome for part in self._journal.parts if part.outcome is not None]
        return LoadResult(
            table=self._chunk.table.name,
            n=self._chunk.n,
            object=self._chunk.table.object,
            chunk_sha256="",
            extracted=self._chunk.rows,
            created=self._chunk.rows,
            updated=0,
            failed=0,
            unprocessed=0,
            rejected=0,
            changed_to_fit=0,
            jobs=jobs,
            seconds=0,
        )

    def _sleep_while_waiting(self, seconds: float) -> None:
        self._migration.waiting_on[(self._clock.now() - BEGIN) // DAY] += round(seconds)
        self._clock.sleep(seconds)
