"""What the jobs of a run did over time, and the values that were changed to fit, from its markers.

Only the report looks into every load marker and manifest; the last lines do without.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from kpcluigi.errors import CorruptMarkerError
from kpcluigi.markers import (
    ChunkManifest,
    Fitted,
    JobOutcome,
    LoadJournal,
    LoadResult,
    RepairResult,
    RetryResult,
    SpentJobs,
)
from kpcluigi.staging import M, RunFolder, TableFolder, read_marker

SAMPLES = 5
"""Keys of one column that are kept."""
_COUNTS = tuple(name for name in Fitted.model_fields if name != "sample_keys")


@dataclass(frozen=True)
class Job:
    """One Bulk job of the run, as far as it is known."""

    table: str
    kind: str
    """load, retry or repair."""
    id: str
    state: str
    sent_at: datetime | None
    ended_at: datetime | None
    """None: it may still be under way."""
    rows: int
    arrived: int
    failed: int
    batches: int


@dataclass(frozen=True)
class TableHistory:
    """Of one table."""

    table: str
    jobs: list[Job] = field(default_factory=list)
    failed: int = 0
    """Rows that did not arrive when their chunk was loaded; a retry may have loaded them since."""
    rejected: int = 0
    """Of them, those that were refused before the upload."""
    load_seconds: float = 0.0
    fitted: dict[str, Fitted] = field(default_factory=dict)
    """By column, from the manifests."""
    manifests: int = 0
    unread: list[str] = field(default_factory=list)
    """Markers that could not be read, and are left out here."""

    @property
    def changed_columns(self) -> dict[str, Fitted]:
        return {
            name: found
            for name, found in self.fitted.items()
            if any(getattr(found, what) for what in _COUNTS)
        }


def read_history(folder: RunFolder, tables: Iterable[str]) -> dict[str, TableHistory]:
    """Of each table, from all its load, retry and repair markers and its manifests."""
    return {name: _read(folder.table(name)) for name in tables}


def _read(folder: TableFolder) -> TableHistory:
    name, unread = folder.path.name, list[str]()
    jobs: list[Job] = []
    failed = rejected = 0
    seconds = 0.0
    for path in _json(folder.path / "loads"):
        if path.name.endswith(".journal.json"):
            jobs += _of_journal(name, "load", _or_none(path, LoadJournal, unread))
        elif path.name.startswith("spent-"):
            spent = _or_none(path, SpentJobs, unread)
            jobs += [_job(name, "load", job) for job in (spent.jobs if spent else ())]
        elif (load := _or_none(path, LoadResult, unread)) is not None:
            jobs += [_job(name, "load", job) for job in load.jobs]
            failed += load.failed + load.unprocessed + load.rejected
            rejected += load.rejected
            seconds += load.seconds
    kinds: tuple[tuple[str, Path, type[RetryResult | RepairResult]], ...] = (
        ("retry", folder.retries, RetryResult),
        ("repair", folder.repairs, RepairResult),
    )
    for kind, where, model in kinds:
        for path in _json(where):
            if path.name.endswith(".journal.json"):
                jobs += _of_journal(name, kind, _or_none(path, LoadJournal, unread))
            elif not path.name.endswith(".sent.json"):
                done = _or_none(path, model, unread)
                jobs += [_job(name, kind, job) for job in (done.jobs if done else ())]
    once = {job.id: job for job in jobs}
    fitted: dict[str, Fitted] = {}
    manifests = 0
    for path in _json(folder.path / "chunks"):
        manifest = _or_none(path, ChunkManifest, unread)
        for column, found in manifest.fitted.items() if manifest else ():
            fitted[column] = _sum(fitted.get(column), found)
        manifests += manifest is not None
    return TableHistory(
        table=name,
        jobs=list(once.values()),
        failed=failed,
        rejected=rejected,
        load_seconds=seconds,
        fitted=fitted,
        manifests=manifests,
        unread=unread,
    )


def _json(folder: Path) -> list[Path]:
    return sorted(folder.glob("[!.]*.json"))


def _or_none(path: Path, model: type[M], unread: list[str]) -> M | None:
    """What is only shown must not keep the rest from being shown; the run itself refuses it."""
    try:
        return read_marker(path, model)
    except CorruptMarkerError as error:
        unread.append(str(error))
        return None


def _of_journal(table: str, kind: str, journal: LoadJournal | None) -> Iterator[Job]:
    """Jobs of a load under way, those that have not ended among them."""
    if journal is None:
        return
    for job in journal.spent_jobs:
        yield _job(table, kind, job)
    for part in journal.parts:
        if part.outcome is not None:
            yield _job(table, kind, part.outcome)
        elif part.job_id is not None:
            yield Job(
                table=table,
                kind=kind,
                id=part.job_id,
                state="under way",
                sent_at=part.sent_at,
                ended_at=None,
                rows=part.rows,
                arrived=0,
                failed=0,
                batches=0,
            )


def _job(table: str, kind: str, job: JobOutcome) -> Job:
    return Job(
        table=table,
        kind=kind,
        id=job.id,
        state=job.state,
        sent_at=job.sent_at,
        ended_at=job.ended_at,
        rows=job.rows,
        arrived=job.created + job.updated,
        failed=job.failed + job.unprocessed,
        batches=job.batches,
    )


def _sum(known: Fitted | None, more: Fitted) -> Fitted:
    if known is None:
        return more.model_copy(update={"sample_keys": more.sample_keys[:SAMPLES]})
    counts = {name: getattr(known, name) + getattr(more, name) for name in _COUNTS}
    keys = [*known.sample_keys, *more.sample_keys][:SAMPLES]
    return Fitted(**counts, sample_keys=keys)
