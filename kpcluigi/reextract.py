"""Having chunks extracted again: after a change of the mapping, or of a chunk file."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime

from kpcluigi.errors import StagingError
from kpcluigi.load import finished_attempts, repair_under_way, under_way
from kpcluigi.load.chunk import forget_journal
from kpcluigi.markers import LoadResult, Plan, RepairResult, RetryResult, SpentJobs
from kpcluigi.staging import (
    TableFolder,
    read_marker,
    reextract_command,
    repair_command,
    retry_command,
    write_marker,
)
from kpcluigi.tables import Table


@dataclass(frozen=True)
class Removed:
    """What the next run will do again."""

    chunks: list[int]
    plan: bool


def reextract(
    folder: TableFolder,
    table: Table,
    fingerprint: str,
    *,
    chunk: int | None = None,
    loaded: bool = False,
) -> Removed:
    """Remove the files of chunks that are not loaded, so that the next run extracts them again.

    Where no chunk is loaded, or `loaded` is asked for, and no single chunk is named, the plan goes
    too and the next run makes a new one, at a new SCN. Otherwise the plan is kept, and its
    fingerprint becomes that of today's mapping.

    Args:
        chunk: this one alone.
        loaded: loaded chunks too; their rows are sent again, and upserted.

    Raises:
        StagingError: there is no plan, no such chunk, the chunk is loaded, or what is asked for
            would leave chunks of two mappings side by side.
    """
    plan = read_marker(folder.plan, Plan)
    if plan is None:
        raise StagingError(f"{table.name} has no plan in {folder.path}: there is nothing to redo")
    numbers = [c.n for c in plan.chunks]
    done = [] if loaded else [n for n in numbers if folder.load_result(n).exists()]
    command = reextract_command(folder)
    if chunk is not None and chunk not in numbers:
        raise StagingError(f"{table.name} has chunks 1 to {len(numbers)}, not {chunk}")
    if chunk in done:
        raise StagingError(
            f"{table.name} chunk {chunk} is loaded ({folder.load_result(chunk)}); to have its "
            f"rows sent again: {command} --chunk {chunk} --loaded"
        )
    if chunk is not None and plan.fingerprint != fingerprint:
        raise StagingError(
            f"{table.name}: its mapping or source changed, which concerns every chunk: {command}"
        )
    if done and _cutting(plan) != (list(table.key), table.partition_column):
        raise StagingError(
            f"{table.name}: key or partition column changed after {len(done)} chunks were loaded; "
            f"undo that change in tables.toml, or start the table over with: {command} --loaded"
        )
    if chunk is not None and loaded and folder.attempts:
        raise StagingError(
            f"{table.name} chunk {chunk}: dead-lettered rows of this table were sent again on "
            f"their own, so that its chunks can no longer be counted apart; start the table over "
            f"with: {command} --loaded"
        )
    attempt = under_way(folder)
    if attempt is not None:
        raise StagingError(
            f"{table.name}: attempt {attempt} to send dead-lettered rows again is under way; "
            f"finish it first with: {retry_command(folder)}"
        )
    repair = repair_under_way(folder)
    if repair is not None:
        raise StagingError(
            f"{table.name}: repair {repair} is under way; finish it first with: "
            f"{repair_command(folder)}"
        )
    again = [n for n in numbers if n not in done] if chunk is None else [chunk]
    drop_plan = not done and chunk is None
    if again or plan.fingerprint != fingerprint:
        # The verdict goes first: whatever interrupts this, nothing that is undone counts as done
        folder.reconciled.unlink(missing_ok=True)
        folder.source_totals.unlink(missing_ok=True)
    _keep_jobs(folder, again, whole=drop_plan)
    for n in again:
        with folder.chunk_lock(n):
            if folder.load_result(n).exists():
                # Of a process that died behind its marker: no job of it is under way
                forget_journal(folder.load_journal(n), folder.again(n))
            for path in folder.files_of_chunk(n):
                path.unlink(missing_ok=True)
    with folder.retry_lock(), folder.plan_lock():
        if drop_plan:
            for path in (
                folder.retries,
                folder.repairs,
                folder.differences,
                folder.dead_letter(0).parent,
                folder.blanked(0).parent,
            ):
                shutil.rmtree(path, ignore_errors=True)
            folder.plan.unlink()
        elif plan.fingerprint != fingerprint:
            renewed = {"fingerprint": fingerprint, "columns": []}
            write_marker(folder.plan, plan.model_copy(update=renewed))
    return Removed(chunks=again, plan=drop_plan)


def _keep_jobs(folder: TableFolder, chunks: list[int], *, whole: bool) -> None:
    """What the jobs took of the daily allocation is taken, though their markers go."""
    results: list[LoadResult | RetryResult | RepairResult | None] = [
        read_marker(folder.load_result(n), LoadResult) for n in chunks
    ]
    if whole:
        results += finished_attempts(folder)
        results += [read_marker(folder.repair_result(k), RepairResult) for k in folder.repaired]
    jobs = [job for result in results if result is not None for job in result.jobs]
    if jobs:
        write_marker(
            folder.spent_jobs(datetime.now(UTC)), SpentJobs(table=folder.path.name, jobs=jobs)
        )


def _cutting(plan: Plan) -> tuple[list[str], str]:
    """What the boundaries of a plan depend on."""
    return plan.key, plan.partition_column
