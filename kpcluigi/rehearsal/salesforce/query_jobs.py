"""Bulk API 2.0 query jobs: their states, and their rows as CSV, page by page.

    UploadComplete ──> InProgress ──> JobComplete
          │                 │  └────> Failed
          └─────────────────┴───────> Aborted

A finished job's rows stand in a temporary table of a cursor of its own, in their order: n, c0, c1
and so on.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import csv
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from kpcluigi.rehearsal.salesforce.clock import OrgClock
from kpcluigi.rehearsal.salesforce.csvfile import DELIMITERS, LINE_ENDINGS
from kpcluigi.rehearsal.salesforce.faults import Fault, Faults
from kpcluigi.rehearsal.salesforce.ids import make_id, to_18
from kpcluigi.rehearsal.salesforce.jobs import (
    KEPT_SECONDS,
    LOOKS_AT_A_HELD_JOB,
    QUEUED_SHARE,
    UNFINISHED,
    salesforce_time,
)
from kpcluigi.rehearsal.salesforce.schema import USER_ID
from kpcluigi.rehearsal.salesforce.soql_sql import Statement

PAGE = 50_000
"""Records in one page when maxRecords is not given; an org decides for itself."""


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
    state: str = "UploadComplete"
    rows: int = 0
    error_message: str = ""
    total_milliseconds: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Who uses `con` holds it."""

    @property
    def object(self) -> str:
        return self.statement.sobject.name

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
        lead = 1 + len(statement.parents)
        names = [f"k{i}" for i in range(lead)]
        names += [f"c{i}" for i in range(len(statement.columns))]
        limit = statement.query.limit
        sql = statement.sql if limit is None else f"{statement.sql} LIMIT {limit}"
        chosen = ", ".join(names[lead:])
        self.con.execute(
            f"CREATE TEMP TABLE result AS SELECT row_number() OVER () - 1 AS n, {chosen} "
            f"FROM ({sql}) AS q({', '.join(names)})"
        )
        counted = self.con.execute("SELECT count(*) FROM result").fetchone()
        assert counted is not None
        self.rows = int(counted[0])

    def write_page(self, path: Path, start: int, most: int) -> int:
        """Write the rows from `start` on as CSV with a header, every value quoted.

        Returns:
            The number of rows.
        """
        rows = self.con.execute(
            "SELECT * EXCLUDE (n) FROM result WHERE n >= ? AND n < ? ORDER BY n",
            [start, start + most],
        ).fetchall()
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(
                file,
                delimiter=DELIMITERS[self.column_delimiter],
                lineterminator=LINE_ENDINGS[self.line_ending],
                quoting=csv.QUOTE_ALL,
            )
            writer.writerow(
                f"{relationship}.{name}" if relationship else name
                for relationship, name in self.statement.columns
            )
            writer.writerows([to_text(value) for value in row] for row in rows)
        return len(rows)


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
        job = QueryJob(
            make_id("750", next(self._numbers)), operation, statement, line_ending,
            column_delimiter, api_version, self._con.cursor(), self._clock, now, now,
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

    async def page(self, job: QueryJob, start: int, most: int) -> tuple[Path, int]:
        """A new file with a page of the job's rows, and how many they are."""
        self._pages += 1
        path = self._folder / f"page-{self._pages}.csv"
        async with job.turn:
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
                async with job.turn:
                    await self._in_pool(job.run)
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

    async def _in_pool(self, work: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)


def to_text(value: Any) -> str:
    """A DuckDB value as a query job's CSV has it; null is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return _double(value)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    if isinstance(value, date):
        return value.isoformat()
    return str(value)


def _double(value: Decimal) -> str:
    """A number as Java prints a double: with an exponent from ten million on."""
    number = float(value)
    if number == 0 or 1e-3 <= abs(number) < 1e7:
        return repr(number)
    mantissa, _, exponent = f"{Decimal(repr(number)).normalize():E}".partition("E")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}E{int(exponent)}"


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
