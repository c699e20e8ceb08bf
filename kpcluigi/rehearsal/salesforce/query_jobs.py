"""Bulk API 2.0 query jobs: their states, and their rows as CSV, page by page.

    UploadComplete ──> InProgress ──> JobComplete
          │                 │  └────> Failed
          └─────────────────┴───────> Aborted

A finished job's rows stand in one CSV file, and in memory is where each of them begins.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import sys
import time
import traceback
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import duckdb

from kpcluigi.rehearsal.salesforce.clock import OrgClock
from kpcluigi.rehearsal.salesforce.csvfile import DELIMITERS, LINE_ENDINGS
from kpcluigi.rehearsal.salesforce.csvlines import create_macros, header, line_sql
from kpcluigi.rehearsal.salesforce.faults import QUERY_TIMEOUT, Fault, Faults
from kpcluigi.rehearsal.salesforce.ids import make_id, to_18
from kpcluigi.rehearsal.salesforce.jobs import (
    KEPT_SECONDS,
    LOOKS_AT_A_HELD_JOB,
    QUEUED_SHARE,
    UNFINISHED,
    salesforce_time,
)
from kpcluigi.rehearsal.salesforce.plans import make_plans
from kpcluigi.rehearsal.salesforce.schema import USER_ID
from kpcluigi.rehearsal.salesforce.soql_sql import Statement

PAGE = 50_000
"""Records in one page when maxRecords is not given; an org decides for itself."""

FETCHED = 10_000
"""Rows that are taken from DuckDB, and written, at a time."""

PIECE = 1 << 20
"""Bytes of a page that are copied at a time."""


@dataclass
class QueryJob:
    """One query job."""

    id: str
    operation: str
    statement: Statement
    line_ending: str
    column_delimiter: str
    api_version: float
    con: duckdb.DuckDBPyConnection
    clock: OrgClock
    created: datetime
    changed: datetime
    path: Path
    """The file of its rows, once it is finished."""
    state: str = "UploadComplete"
    starts: array[int] = field(default_factory=lambda: array("Q", [0]))
    """Where in the file each row begins, and at last where the file ends."""
    error_message: str = ""
    total_milliseconds: int = 0

    @property
    def object(self) -> str:
        return self.statement.sobject.name

    @property
    def rows(self) -> int:
        return len(self.starts) - 1

    @property
    def is_finished(self) -> bool:
        return self.state not in UNFINISHED

    @property
    def is_gone(self) -> bool:
        since = self.changed if self.is_finished else self.created
        return self.clock.time() - since.timestamp() >= KEPT_SECONDS

    def enter(self, state: str) -> None:
        self.state = state
        self.changed = self.clock.now()

    def created_body(self) -> dict[str, Any]:
        """The answer to the POST that made the job, and to a PATCH."""
        return {
            "id": self.id,
            "operation": self.operation,
            "object": self.object,
            "createdById": USER_ID,
            "createdDate": salesforce_time(self.created),
            "systemModstamp": salesforce_time(self.changed),
            "state": self.state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": self.api_version,
            "lineEnding": self.line_ending,
            "columnDelimiter": self.column_delimiter,
        }

    def listed_body(self) -> dict[str, Any]:
        return self.created_body() | {"jobType": "V2Query"}

    def info_body(self) -> dict[str, Any]:
        body = self.listed_body() | {
            "numberRecordsProcessed": self.rows,
            "retries": 0,
            "totalProcessingTime": self.total_milliseconds,
            # Of custom objects and Account; not with an order or a limit of one's own.
            "isPkChunkingSupported": not self.statement.query.order_by
            and self.statement.query.limit is None,
        }
        if self.error_message:
            body["errorMessage"] = self.error_message
        return body

    def run(self) -> None:
        """Take the query's rows as they are now."""
        statement = self.statement
        delimiter, ending = DELIMITERS[self.column_delimiter], LINE_ENDINGS[self.line_ending]
        lead = 1 + len(statement.parents)
        names = [f"c{i}" for i in range(lead + len(statement.columns))]
        limit = statement.query.limit
        sql = statement.sql if limit is None else f"{statement.sql} LIMIT {limit}"
        line = line_sql(statement.fields, names[lead:], delimiter)
        shown = [".".join(filter(None, column)) for column in statement.columns]
        starts = array("Q")
        with self.con as con, self.path.open("wb") as file:
            create_macros(con)
            file.write((header(shown, delimiter) + ending).encode())
            starts.append(file.tell())
            con.execute(f"SELECT {line} FROM ({sql}) AS q({', '.join(names)})")
            while rows := con.fetchmany(FETCHED):
                lines = [(row[0] + ending).encode() for row in rows]
                starts.extend(islice(accumulate(map(len, lines), initial=starts[-1]), 1, None))
                file.writelines(lines)
        self.starts = starts

    def write_page(self, path: Path, start: int, most: int) -> int:
        """Write the header and the rows from `start` on.

        Returns:
            The number of rows.
        """
        after = min(start + most, self.rows)
        with self.path.open("rb") as whole, path.open("wb") as page:
            page.write(whole.read(self.starts[0]))
            whole.seek(self.starts[start])
            left = self.starts[after] - self.starts[start]
            while left:
                piece = whole.read(min(left, PIECE))
                page.write(piece)
                left -= len(piece)
        return after - start

    def read_rows(self) -> int:
        """How many rows the query has to read."""
        with self.con.cursor() as con:
            return make_plans(self.statement, con).rows_read


class QueryJobs:
    """Every query job of the server's life. All methods belong to the event loop."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        pool: ThreadPoolExecutor,
        faults: Faults,
        clock: OrgClock,
        numbers: Iterator[int],
        folder: Path,
        *,
        latency: float,
    ) -> None:
        self._con = con
        self._pool = pool
        self._faults = faults
        self._clock = clock
        self._numbers = numbers
        self._folder = folder
        self._latency = latency
        self._tasks: set[asyncio.Task[None]] = set()
        self._by_id: dict[str, QueryJob] = {}
        self._pages = 0

    def create(
        self,
        operation: str,
        statement: Statement,
        line_ending: str,
        column_delimiter: str,
        api_version: float,
    ) -> QueryJob:
        """A new job, in the queue."""
        now = self._clock.now()
        job_id = make_id("750", next(self._numbers))
        job = QueryJob(
            job_id, operation, statement, line_ending, column_delimiter, api_version,
            self._con.cursor(), self._clock, now, now, self._folder / f"{job_id}.csv",
        )  # fmt: skip
        self._by_id[job.id] = job
        task = asyncio.get_running_loop().create_task(self._process(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    def find(self, given: str) -> QueryJob | None:
        """The job of this id of 15 or 18 characters, unless it is gone."""
        job = self._by_id.get(to_18(given) or "")
        if job is not None and job.is_gone:
            self.delete(job)
            return None
        return job

    def present(self) -> list[QueryJob]:
        return [job for job in list(self._by_id.values()) if not job.is_gone]

    def delete(self, job: QueryJob) -> None:
        """Forget the job. One that waits in the queue is not processed any more."""
        if not job.is_finished:
            job.enter("Aborted")
        del self._by_id[job.id]
        job.path.unlink(missing_ok=True)

    async def page(self, job: QueryJob, start: int, most: int) -> tuple[Path, int]:
        """A new file with a page of the job's rows, and how many they are."""
        self._pages += 1
        path = self._folder / f"page-{self._pages}.csv"
        return path, await self._in_pool(job.write_page, path, start, most)

    async def stop(self) -> None:
        """Leave every job where it is."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _process(self, job: QueryJob) -> None:
        started = time.monotonic()
        fault = self._faults.take("query_processing", job.object, job.id)
        latency = self._latency
        if fault is not None and fault.latency is not None:
            latency = fault.latency
        await asyncio.sleep(latency * QUEUED_SHARE)
        if job.is_finished:
            return
        job.enter("InProgress")
        try:
            await self._misbehave(job, fault)
            await asyncio.sleep(latency * (1 - QUEUED_SHARE))
            if not job.is_finished:
                await self._time_out(job)
            if not job.is_finished:
                await self._in_pool(job.run)
            if job.is_finished:
                job.path.unlink(missing_ok=True)
        except duckdb.Error as error:
            # A defect of the stand-in: the job must not hang.
            traceback.print_exception(error, file=sys.stderr)
            job.error_message = f"Unknown : {type(error).__name__}: {error}"
        job.total_milliseconds = int(1000 * (time.monotonic() - started))
        if not job.is_finished:
            job.enter("Failed" if job.error_message else "JobComplete")

    async def _misbehave(self, job: QueryJob, fault: Fault | None) -> None:
        if fault is None:
            return
        if fault.job_state == "Failed":
            job.error_message = fault.message
            job.enter("Failed")
        if fault.job_state == "Aborted":
            job.enter("Aborted")
        while fault.job_state == "InProgress" == job.state and not fault.is_disarmed:
            await asyncio.sleep(LOOKS_AT_A_HELD_JOB)

    async def _time_out(self, job: QueryJob) -> None:
        """Let a job fail that a fault says reads too many rows."""
        if not self._faults.looks_at_rows("query_processing", job.object):
            return
        rows = await self._in_pool(job.read_rows)
        fault = self._faults.take("query_processing", job.object, job.id, rows=rows)
        if fault is not None:
            # The code is documented ("How Bulk Queries Are Processed"), the form is recorded of
            # other queries that fail while they are processed.
            reason = f"InvalidBatch : Failed to process query: {': '.join(QUERY_TIMEOUT)}"
            job.error_message = fault.message or reason
            job.enter("Failed")

    async def _in_pool(self, work: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)


def locator(job: QueryJob, start: int) -> str:
    """What names the page from `start` on; of the form seen in a client's log."""
    named = f"0:{job.id}:{start}"
    return base64.urlsafe_b64encode(named.encode()).decode().rstrip("=")


def from_locator(job: QueryJob, given: str) -> int | None:
    """The start of the page; None when the locator is not one of this job."""
    try:
        named = base64.urlsafe_b64decode(given + "=" * (-len(given) % 4)).decode()
    except (binascii.Error, ValueError):
        return None
    kind, _, rest = named.partition(":")
    job_id, _, start = rest.partition(":")
    if kind != "0" or job_id != job.id or not start.isdigit() or not 0 < int(start) < job.rows:
        return None
    return int(start)
