"""BulkUpload: one chunk into Salesforce. LoadTable: all of them, and the gate to the next phase."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import luigi

from kpcluigi import settings
from kpcluigi.errors import StagingError, TooManyFailedRowsError
from kpcluigi.load import ChunkLoad, LoadRules
from kpcluigi.markers import ChunkManifest, LoadResult, Plan
from kpcluigi.staging import read_marker, reextract_command
from kpcluigi.tasks.base import SALESFORCE, TableTask, salesforce_client
from kpcluigi.tasks.extract import ExtractChunk
from kpcluigi.tasks.plan import PlanChunks
from kpcluigi.tasks.preflight import this_preflight


class BulkUpload(TableTask):
    """A chunk file to `loads/0000n.json`: every row's final outcome is known."""

    n = luigi.IntParameter(description="Number of the chunk in plan.json.")

    stage = "load"
    priority = 30
    resources = {SALESFORCE: 1}  # noqa: RUF012  # Luigi's own way to declare them

    @property
    def chunk_number(self) -> int:
        return int(self.n)

    def requires(self) -> luigi.Task:
        return ExtractChunk(n=self.n, **self.table_parameters)

    def complete(self) -> bool:
        return read_marker(self.folder.load_result(self.n), LoadResult) is not None

    def run(self) -> None:
        progress = self.progress()
        rules = settings.salesforce()
        org = settings.salesforce_login().url

        def tell(line: str, share: float, job_id: str | None) -> None:
            url = f"{org}/lightning/setup/AsyncApiJobStatus/page?address=%2F{job_id}"
            progress.tell(line, share, url if job_id else None)

        with self.folder.chunk_lock(self.n), salesforce_client(progress.tell) as client:
            if self.complete():
                return  # another process finished it since this task was scheduled
            manifest = read_marker(self.folder.chunk_manifest(self.n), ChunkManifest)
            if manifest is None or not self.requires().complete():
                raise StagingError(
                    f"{self.table} chunk {self.n}: its file is not the plan's; run the same "
                    f"command again: it is extracted anew"
                )
            ChunkLoad(
                client=client,
                table=self.mapping,
                manifest=manifest,
                folder=self.folder,
                logs=self.run_folder.job_logs,
                rules=LoadRules(
                    max_file_size=rules.max_file_size,
                    poll_interval=rules.poll_interval,
                    poll_interval_max=rules.poll_interval_max,
                    job_timeout=rules.job_timeout,
                    retries=rules.retries,
                ),
                tell=tell,
            ).run()


class LoadTable(TableTask):
    """Every chunk of the table is loaded, and no more rows failed than `max_failed_rows`."""

    stage = "table"
    priority = 40

    def requires(self) -> Iterator[luigi.Task]:
        yield this_preflight(self)
        yield PlanChunks(**self.table_parameters)

    def complete(self) -> bool:
        loads = loads_of(self)
        return loads is not None and _failed(loads) <= self.mapping.max_failed_rows

    def run(self) -> Iterator[Any]:
        plan = self.plan()
        yield [BulkUpload(n=chunk.n, **self.table_parameters) for chunk in plan.chunks]
        loads = loads_of(self) or []
        failed = _failed(loads)
        if failed > self.mapping.max_failed_rows:
            chunks = [load.n for load in loads if _failed([load])]
            raise TooManyFailedRowsError(
                f"{self.table}: {failed:,} rows failed, more than max_failed_rows = "
                f"{self.mapping.max_failed_rows:,}; they and their reasons are in "
                f"{self.folder.path / 'dead_letter'}. Later phases wait. Mend the cause, have the "
                f"{len(chunks)} chunk(s) with failed rows sent again, beginning with: "
                f"{reextract_command(self.folder, '--chunk', str(chunks[0]), '--loaded')}, and run "
                f"the same command again; or raise max_failed_rows in tables.toml"
            )


def loads_of(task: TableTask) -> list[LoadResult] | None:
    """The load markers of all planned chunks, in order; None while one is missing."""
    plan = read_marker(task.folder.plan, Plan)
    if plan is None:
        return None
    found = [read_marker(task.folder.load_result(c.n), LoadResult) for c in plan.chunks]
    loads = [load for load in found if load is not None]
    return loads if len(loads) == len(found) else None


def _failed(loads: list[LoadResult]) -> int:
    return sum(load.failed + load.unprocessed + load.rejected for load in loads)
