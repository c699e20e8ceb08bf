"""BulkUpload: one chunk into Salesforce. LoadTable: all of them, and the gate to the next phase."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import luigi

from kpcluigi import settings
from kpcluigi.errors import StagingError, TooManyFailedRowsError
from kpcluigi.load import ChunkLoad, Compression, LoadRules, Standing, require_sane, standing
from kpcluigi.load.attempt import AttemptLoad
from kpcluigi.load.chunk import forget_journal
from kpcluigi.load.fileload import Stage
from kpcluigi.markers import AttemptResult, ChunkManifest, LoadResult, Marker, Plan
from kpcluigi.quota import Admission
from kpcluigi.salesforce import Client, Tracker, allocation_of, file_reference
from kpcluigi.staging import read_marker, retry_command
from kpcluigi.tasks.base import (
    FULL,
    SALESFORCE,
    TableTask,
    file_tracker,
    org_folder,
    salesforce_client,
)
from kpcluigi.tasks.extract import ExtractChunk
from kpcluigi.tasks.plan import PlanChunks
from kpcluigi.tasks.preflight import this_preflight
from kpcluigi.tasks.progress import Progress

logger = logging.getLogger("luigi-interface")


class LoadTask(TableTask):
    """A task that sends rows to Salesforce."""

    resources = {SALESFORCE: 1}  # noqa: RUF012  # Luigi's own way to declare them

    def compression(self) -> Compression:
        wanted = settings.salesforce().upload_gzip == "auto"
        return Compression(self.run_folder.gzip_verdict, wanted=wanted)

    @contextmanager
    def tracked(self, name: str, n: int, rows: int, teller: Teller) -> Iterator[Tracked]:
        """The record of a file in the file tracker, from its start to whatever end it takes."""
        reference = file_reference(self.run_folder.path.name, name, n)
        with file_tracker(teller.say) as tracker:
            tracker.start(reference, self.mapping.object, rows)
            try:
                yield Tracked(tracker, reference)
            except Exception as error:
                tracker.update(reference, "failed", message=str(error))
                raise

    def send_attempt(self, kind: str, load: type[AttemptLoad], attempt: int, rows: int) -> None:
        """Rows that are sent again, as `retry` or `repair`; the table is to be reconciled anew."""
        teller = self.teller()
        self.folder.reconciled.unlink(missing_ok=True)
        with (
            salesforce_client(teller.say) as client,
            self.tracked(f"{self.table}-{kind}", attempt, rows, teller) as tracked,
        ):
            result = load(
                client=client,
                table=self.mapping,
                folder=self.folder,
                attempt=attempt,
                logs=self.run_folder.job_logs,
                rules=load_rules(),
                compression=self.compression(),
                gate=admission(client),
                stage=tracked.stage,
                tell=teller.job,
            ).run()
            tracked.end(result)
        arrived = result.created + result.updated
        teller.say(f"{kind} {attempt}: {arrived:,} of {result.rows:,} rows arrived")

    def teller(self) -> Teller:
        n = self.chunk_number
        name = self.table if n is None else f"{self.table} chunk {n}"
        return Teller(name, self.progress(), settings.salesforce_login().url)


@dataclass(frozen=True)
class Teller:
    """What a load says in the visualiser; waits and second tries are said in the terminal too."""

    name: str
    progress: Progress
    org_url: str

    def say(self, line: str) -> None:
        """Something that holds the load up."""
        logger.info("%s: %s", self.name, line)
        self.progress.tell(line)

    def job(self, line: str, share: float, job_id: str | None) -> None:
        """How far the load is; without a job it waits."""
        if job_id is None:
            self.say(line)
            return
        url = f"{self.org_url}/lightning/setup/AsyncApiJobStatus/page?address=%2F{job_id}"
        self.progress.tell(line, share, url)


@dataclass(frozen=True)
class Tracked:
    """One file in the file tracker."""

    tracker: Tracker
    reference: str

    def stage(self, stage: Stage) -> None:
        self.tracker.update(self.reference, stage)

    def end(self, result: LoadResult | AttemptResult) -> None:
        """Every row has its outcome."""
        self.tracker.update(
            self.reference,
            "with_errors" if result.failed or result.unprocessed else "completed",
            failed=result.failed + result.unprocessed,
            jobs=[job.id for job in result.jobs],
            message="; ".join(f"{found.rows:,} {found.code}" for found in result.errors),
        )


def admission(client: Client) -> Admission:
    """What holds jobs back while the org's daily allocation is used up."""
    rules = settings.salesforce()
    return Admission(
        org_folder(),
        ask_org=lambda: allocation_of(client),
        reserve=rules.quota_reserve,
        recheck=rules.quota_recheck,
    )


def load_rules() -> LoadRules:
    rules = settings.salesforce()
    return LoadRules(
        max_file_size=rules.max_file_size,
        poll_interval=rules.poll_interval,
        poll_interval_max=rules.poll_interval_max,
        job_timeout=rules.job_timeout,
        retries=rules.retries,
    )


class BulkUpload(LoadTask):
    """A chunk file to `loads/0000n.json`: every row's final outcome is known."""

    n = luigi.IntParameter(description="Number of the chunk in plan.json.")

    stage = "load"
    priority = 30

    @property
    def chunk_number(self) -> int:
        return int(self.n)

    def requires(self) -> luigi.Task:
        return ExtractChunk(n=self.n, **self.table_parameters)

    def complete(self) -> bool:
        return read_marker(self.folder.load_result(self.n), LoadResult) is not None

    def run(self) -> None:
        teller = self.teller()
        with self.folder.chunk_lock(self.n), salesforce_client(teller.say) as client:
            if self.complete():
                return  # another process finished it since this task was scheduled
            manifest = read_marker(self.folder.chunk_manifest(self.n), ChunkManifest)
            if manifest is None or not self.requires().complete():
                raise StagingError(
                    f"{self.table} chunk {self.n}: its file is not the plan's; run the same "
                    f"command again: it is extracted anew"
                )
            with self.tracked(self.table, self.n, manifest.rows, teller) as tracked:
                result = ChunkLoad(
                    client=client,
                    table=self.mapping,
                    manifest=manifest,
                    folder=self.folder,
                    logs=self.run_folder.job_logs,
                    rules=load_rules(),
                    compression=self.compression(),
                    gate=admission(client),
                    may_send=self._require_sane,
                    stage=tracked.stage,
                    tell=teller.job,
                ).run()
                tracked.end(result)
            clean_up(self, [self.n])

    def _require_sane(self) -> None:
        started = read_marker(self.run_folder.started, Marker)
        require_sane(
            self.folder,
            self.mapping,
            self.plan(),
            since=started.written_at if started else datetime.now(UTC),
            remedy=f"Mend the cause in the org and run the same command again: it goes on with the "
            f"rows that were not sent. Those that failed are sent again, once their chunks are "
            f"done, with: {retry_command(self.folder)}",
        )


class LoadTable(TableTask):
    """Every chunk of the table is loaded, and no more rows failed than `max_failed_rows`."""

    stage = "table"
    priority = 40

    def requires(self) -> Iterator[luigi.Task]:
        yield this_preflight(self)
        yield PlanChunks(**self.table_parameters)

    def complete(self) -> bool:
        plan = read_marker(self.folder.plan, Plan)
        if plan is None:
            return False
        now = standing(self.folder, plan)
        return now.is_loaded and now.dead <= self.mapping.failed_rows_allowed(plan.rows)

    def run(self) -> Iterator[Any]:
        plan = self.plan()
        yield [BulkUpload(n=chunk.n, **self.table_parameters) for chunk in plan.chunks]
        clean_up(self, [chunk.n for chunk in plan.chunks])  # of processes that died before theirs
        failed = standing(self.folder, plan).dead
        allowed = self.mapping.failed_rows_allowed(plan.rows)
        if failed > allowed:
            raise TooManyFailedRowsError(
                f"{self.table}: {failed:,} rows failed, more than max_failed_rows = {allowed:,}. "
                f"Later phases wait. {remedy(self)}; or raise max_failed_rows in tables.toml"
            )


def clean_up(task: TableTask, chunks: list[int], *, reconciled: bool = False) -> None:
    """Keep, move or delete the files of loaded chunks; an increment is reconciled by its own."""
    for n in chunks:
        forget_journal(task.folder.load_journal(n), task.folder.again(n))
        if task.mode == FULL or reconciled:
            settings.clean_up().after_load(task.folder, n)


def remedy(task: TableTask) -> str:
    """What to do about failed rows."""
    return (
        f"They and their reasons are in {task.folder.path / 'dead_letter'}. Mend the cause in the "
        f"org, or the rows in a copy of that file, and send them again with: "
        f"{retry_command(task.folder)}, or with --corrected FILE; then run the same command again"
    )


def standing_of(task: TableTask) -> Standing | None:
    """How the table's rows stand, once all its chunks are loaded."""
    plan = read_marker(task.folder.plan, Plan)
    if plan is None:
        return None
    now = standing(task.folder, plan)
    return now if now.is_loaded else None
