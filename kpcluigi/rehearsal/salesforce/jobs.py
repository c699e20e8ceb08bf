"""Bulk API 2.0 ingest jobs: their states, and the walk from UploadComplete to the end.

    Open ──upload, close──> UploadComplete ──> InProgress ──> JobComplete
      │                           │                │  └─────> Failed
      └───────────────────────────┴────────────────┴────────> Aborted

A job's files stand in a folder of its own, which lives as long as the server:

    {job id}/upload.csv           the data, as it came
    {job id}/successfulResults    and failedResults, unprocessedrecords: written at the end

A job that has ended, and its results, are gone after 7 days; so is one that never ends, 7 days
after it was made (limits cheat sheet, "Bulk API"; Salesforce Help 000386004, "Job and Batch Aging
Rules").
"""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from kpcluigi.rehearsal.salesforce.automations import Automation, Automations
from kpcluigi.rehearsal.salesforce.batches import JobData
from kpcluigi.rehearsal.salesforce.clock import DAY, OrgClock
from kpcluigi.rehearsal.salesforce.csvfile import UNESCAPED_QUOTE, CsvError, count_rows
from kpcluigi.rehearsal.salesforce.faults import Fault, Faults
from kpcluigi.rehearsal.salesforce.ids import make_id, to_18
from kpcluigi.rehearsal.salesforce.limits import BATCH_ROWS, Limits
from kpcluigi.rehearsal.salesforce.schema import USER_ID, SObject

OPEN_SECONDS = DAY
"""How long a job takes data and can be closed (limits cheat sheet, "Bulk API"; Salesforce Help
000386004: "You cannot create new batches for a job that is more than 24 hours old")."""
KEPT_SECONDS = 7 * DAY
LOOKS_AT_A_HELD_JOB = 0.02
"""Seconds between two looks at whether a job that stays InProgress may go on."""

UNFINISHED = frozenset({"Open", "UploadComplete", "InProgress"})
QUEUED_SHARE = 0.25
"""The part of a job's latency that it waits in the queue, as UploadComplete."""


@dataclass
class Job:
    """One ingest job, as its owner described it and as far as it has come."""

    id: str
    operation: str
    object: str
    external_id_field: str
    line_ending: str
    column_delimiter: str
    api_version: float
    folder: Path
    clock: OrgClock
    created: datetime
    changed: datetime
    state: str = "Open"
    is_uploading: bool = False
    is_uploaded: bool = False
    is_packed: bool = False
    """The data came compressed and was taken as it came."""
    rows: int | None = None
    """Rows of the data, once they were counted."""
    processed: int = 0
    failed: int = 0
    error_message: str = ""
    started: float = 0.0
    total_milliseconds: int = 0
    active_milliseconds: int = 0
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the state is final and the result files are written."""

    @property
    def data(self) -> Path:
        return self.folder / "upload.csv"

    @property
    def is_finished(self) -> bool:
        return self.state not in UNFINISHED

    @property
    def is_stale(self) -> bool:
        """Open for too long: it takes no data any more and cannot be closed."""
        return self.clock.time() - self.created.timestamp() >= OPEN_SECONDS

    @property
    def is_gone(self) -> bool:
        since = self.changed if self.is_finished else self.created
        return self.clock.time() - since.timestamp() >= KEPT_SECONDS

    def enter(self, state: str) -> None:
        self.state = state
        self.changed = self.clock.now()

    def count_uploaded(self) -> int:
        """How many rows the data has."""
        if self.rows is None:
            self.rows = 0 if self.is_packed else count_rows(self.data)
        return self.rows

    def closed_body(self) -> dict[str, Any]:
        """The answer to a PATCH: recorded without contentUrl, lineEnding, delimiter, jobType."""
        body = {
            "id": self.id,
            "operation": self.operation,
            "object": self.object,
            "createdById": USER_ID,
            "createdDate": salesforce_time(self.created),
            "systemModstamp": salesforce_time(self.changed),
            "state": self.state,
        }
        if self.external_id_field:
            body["externalIdFieldName"] = self.external_id_field
        return body | {
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": self.api_version,
        }

    def created_body(self) -> dict[str, Any]:
        """The answer to the POST that made the job."""
        return self.closed_body() | {
            "contentUrl": f"services/data/v{self.api_version:.1f}/jobs/ingest/{self.id}/batches",
            "lineEnding": self.line_ending,
            "columnDelimiter": self.column_delimiter,
        }

    def listed_body(self) -> dict[str, Any]:
        """The job in a list of jobs."""
        return self.created_body() | {"jobType": "V2Ingest"}

    def info_body(self) -> dict[str, Any]:
        """The answer to a GET of the job. The numbers come when the processing has begun."""
        body = self.listed_body()
        body |= {
            "numberRecordsProcessed": self.processed,
            "numberRecordsFailed": self.failed,
            "retries": 0,
            "totalProcessingTime": self.total_milliseconds,
            "apiActiveProcessingTime": self.active_milliseconds,
            "apexProcessingTime": 0,
        }
        if self.error_message:
            body["errorMessage"] = self.error_message
        return body


class Jobs:
    """Every job of the server's life, and the processing of the closed ones.

    All methods belong to the event loop; the work on DuckDB happens in `pool`, one batch at a
    time for each object, because two writers of one table would conflict.
    """

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        objects: dict[str, SObject],
        pool: ThreadPoolExecutor,
        limits: Limits,
        faults: Faults,
        automations: Automations,
        clock: OrgClock,
        numbers: Iterator[int],
        folder: Path,
        *,
        latency: float,
        batch_latency: float,
    ) -> None:
        self._con = con
        self._objects = objects
        self._pool = pool
        self._limits = limits
        self._faults = faults
        self._automations = automations
        self._clock = clock
        self._folder = folder
        self._latency = latency
        self._batch_latency = batch_latency
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = numbers
        self.writers: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """One for each object; who writes its table holds it."""
        self._by_id: dict[str, Job] = {}
        self._uploaded: dict[str, Job] = {}
        self.created = 0
        self.peak_open = 0
        self.batches = 0
        self.rows = 0

    def create(
        self,
        operation: str,
        sobject: str,
        external_id_field: str,
        line_ending: str,
        column_delimiter: str,
        api_version: float,
    ) -> Job:
        """A new job in state Open."""
        job_id = make_id("750", next(self._numbers))
        folder = self._folder / job_id
        folder.mkdir()
        now = self._clock.now()
        job = Job(
            job_id, operation, sobject, external_id_field, line_ending, column_delimiter,
            api_version, folder, self._clock, now, now,
        )  # fmt: skip
        self._by_id[job_id] = job
        self.created += 1
        self.peak_open = max(self.peak_open, self.open_count())
        return job

    def find(self, given: str) -> Job | None:
        """The job of this id of 15 or 18 characters, unless it is gone."""
        job = self._by_id.get(to_18(given) or "")
        if job is not None and job.is_gone:
            self.delete(job)
            return None
        return job

    def present(self) -> list[Job]:
        """Every job that is not gone, in the order of their creation."""
        return [job for job in list(self._by_id.values()) if not job.is_gone]

    def open_count(self) -> int:
        return sum(not job.is_finished for job in self.present())

    def states(self) -> dict[str, int]:
        return dict(Counter(job.state for job in self.present()))

    def open_with_data(self) -> list[str]:
        """Jobs that hold data and were not closed."""
        return [job.id for job in self.present() if job.state == "Open" and job.is_uploaded]

    def uploaded_rows(self) -> dict[str, int]:
        """Rows of each job that got data since the start or the last reset, gone ones too."""
        return {job.id: job.count_uploaded() for job in list(self._uploaded.values())}

    def reset(self) -> None:
        """Count from zero; the jobs stay."""
        self._uploaded.clear()
        self.created = 0
        self.batches = 0
        self.rows = 0
        self.peak_open = self.open_count()

    def take_data(self, job: Job) -> None:
        """The job's data is complete."""
        job.is_uploading = False
        job.is_uploaded = True
        self._uploaded[job.id] = job

    def close(self, job: Job) -> None:
        """Queue the job for processing."""
        job.enter("UploadComplete")
        job.started = time.monotonic()
        self._start(self._process(job), job)

    def abort(self, job: Job) -> None:
        """End the job. What is processed stays; a running batch is finished first."""
        was_running = job.started > 0
        job.enter("Aborted")
        if not was_running:
            self._start(self._settle(job, JobData(self._con, job.folder)), job)

    def delete(self, job: Job) -> None:
        """Forget the job. One that waits in the queue is not processed any more."""
        if not job.is_finished:
            job.enter("Aborted")
        del self._by_id[job.id]

    async def stop(self) -> None:
        """Leave every job where it is."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Any, job: Job) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)

        def ended(done: asyncio.Task[None]) -> None:
            self._tasks.discard(done)
            error = None if done.cancelled() else done.exception()
            if error is not None:
                # A defect of the stand-in, or a database that is full: the job must not hang.
                traceback.print_exception(error, file=sys.stderr)
                job.error_message = f"Unknown : {type(error).__name__}: {error}"
                job.enter("Failed")
                job.settled.set()

        task.add_done_callback(ended)

    async def _process(self, job: Job) -> None:
        fault = await self._take_fault(job)
        latency = self._latency
        if fault is not None and fault.latency is not None:
            latency = fault.latency
        await asyncio.sleep(latency * QUEUED_SHARE)
        data = JobData(self._con, job.folder)
        if job.state != "Aborted":
            job.enter("InProgress")
            try:
                if job.is_packed:
                    raise CsvError(UNESCAPED_QUOTE)
                if fault is not None and fault.unreadable:
                    raise CsvError(fault.message or UNESCAPED_QUOTE)
                await self._in_pool(
                    data.open, self._objects, job.object, job.operation, job.external_id_field,
                    job.line_ending, job.column_delimiter,
                )  # fmt: skip
                job.rows = data.rows
                await self._process_batches(job, data, latency, fault)
            except CsvError as error:
                job.error_message = str(error)
        await self._settle(job, data)

    async def _take_fault(self, job: Job) -> Fault | None:
        if not self._faults.reads_data(job.object):
            return self._faults.take("job", job.object, job.id)
        fault: Fault | None = await self._in_pool(
            self._faults.take, "job", job.object, job.id, job.data
        )
        return fault

    async def _process_batches(
        self, job: Job, data: JobData, latency: float, fault: Fault | None
    ) -> None:
        batches = -(-data.rows // BATCH_ROWS)
        pause = latency * (1 - QUEUED_SHARE) / max(batches, 1) + self._batch_latency
        if not batches:
            await asyncio.sleep(pause)
        turn = min(fault.after_batches, batches) if fault and fault.job_state else None
        for batch in range(batches):
            if batch == turn:
                await self._misbehave(job, fault)
            await asyncio.sleep(pause)
            if job.operation != "delete" and self._automations.has(job.object):
                automation = await self._in_pool(self._acting_automation, job)
                await asyncio.sleep(automation.seconds_per_batch if automation else 0.0)
            if job.state == "Aborted":
                return
            if not self._limits.batches.take():
                data.forget_unprocessed()
                raise CsvError("ExceededQuota : ApiBatchItems Limit exceeded")
            first = batch * BATCH_ROWS
            started = time.monotonic()
            async with self.writers[job.object]:
                counts = await self._in_pool(
                    data.process, first, first + BATCH_ROWS, job.object, self._faults,
                    self._automations, self._clock,
                )  # fmt: skip
            job.active_milliseconds += int(1000 * (time.monotonic() - started))
            job.processed += counts.processed
            job.failed += counts.failed
            job.changed = self._clock.now()
            self.batches += 1
            self.rows += counts.processed
        if turn == batches:
            await self._misbehave(job, fault)

    async def _misbehave(self, job: Job, fault: Fault | None) -> None:
        """Do to the job what the fault says."""
        if fault is None or job.state == "Aborted":
            return
        if fault.job_state == "Failed":
            raise CsvError(fault.message)
        if fault.job_state == "Aborted":
            job.enter("Aborted")
        while fault.job_state == "InProgress" == job.state and not fault.is_disarmed:
            await asyncio.sleep(LOOKS_AT_A_HELD_JOB)

    def _acting_automation(self, job: Job) -> Automation | None:
        with self._con.cursor() as con:
            return self._automations.acting(con, job.object)

    async def _settle(self, job: Job, data: JobData) -> None:
        """Write the result files, then show the final state."""
        await self._in_pool(data.write_results, job.column_delimiter)
        if job.started:
            job.total_milliseconds = int(1000 * (time.monotonic() - job.started))
        if job.state != "Aborted":
            job.enter("Failed" if job.error_message else "JobComplete")
        job.settled.set()

    async def _in_pool(self, work: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)


def salesforce_time(moment: datetime) -> str:
    """A moment as the API prints it: UTC, milliseconds always zero, offset without colon."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000+0000")
