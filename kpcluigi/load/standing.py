"""How the rows of a table stand: what its chunks' loads and the retries of dead rows add up to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kpcluigi.csvframes import read_frames
from kpcluigi.errors import TooManyFailedRowsError
from kpcluigi.load.row_errors import ERROR, ErrorCounts
from kpcluigi.markers import LoadJournal, LoadResult, Plan, RetryResult, RowErrors
from kpcluigi.staging import TableFolder, read_marker
from kpcluigi.tables import Table

CLEARLY_WRONG = 0.1
"""Share of the rows sent that have failed, from which on no more are sent."""


@dataclass(frozen=True)
class Standing:
    """The sums of a table. Every row of `extracted` arrived or is dead.

    Attributes:
        loads: of each planned chunk, in order; None while it is not loaded.
        retries: the finished attempts to send dead rows again.
    """

    loads: list[LoadResult | None]
    retries: list[RetryResult]

    @property
    def finished(self) -> list[LoadResult]:
        return [load for load in self.loads if load is not None]

    @property
    def _done(self) -> list[LoadResult | RetryResult]:
        return [*self.finished, *self.retries]

    @property
    def is_loaded(self) -> bool:
        return len(self.finished) == len(self.loads)

    @property
    def extracted(self) -> int:
        return sum(load.extracted for load in self.finished)

    @property
    def created(self) -> int:
        return sum(done.created for done in self._done)

    @property
    def updated(self) -> int:
        return sum(done.updated for done in self._done)

    @property
    def arrived(self) -> int:
        return self.created + self.updated

    @property
    def dead(self) -> int:
        """Rows in the dead letter: failed, unprocessed or rejected, and not loaded since."""
        once = sum(load.failed + load.unprocessed + load.rejected for load in self.finished)
        return once - sum(retry.created + retry.updated for retry in self.retries)

    @property
    def changed_to_fit(self) -> int:
        return sum(load.changed_to_fit for load in self.finished)

    @property
    def blanked(self) -> int:
        return sum(done.blanked for done in self._done)


def standing(folder: TableFolder, plan: Plan) -> Standing:
    """Read the markers of a table. Raises `CorruptMarkerError`."""
    return Standing(
        loads=[read_marker(folder.load_result(c.n), LoadResult) for c in plan.chunks],
        retries=finished_attempts(folder),
    )


def finished_attempts(folder: TableFolder) -> list[RetryResult]:
    """The attempts to send dead rows again, oldest first. Raises `CorruptMarkerError`."""
    results = [read_marker(folder.retry_result(k), RetryResult) for k in folder.attempts]
    return [result for result in results if result is not None]


def dead_rows(folder: TableFolder, table: Table) -> list[RowErrors]:
    """The rows of the dead letter by their reason, most frequent first, as the files have them."""
    counts = ErrorCounts()
    for path in folder.dead_letters:
        for frame in read_frames(path, [ERROR, table.external_id]):
            counts.add(frame, table.external_id)
    return counts.ordered()


def require_sane(
    folder: TableFolder, table: Table, plan: Plan, *, since: datetime, remedy: str
) -> None:
    """Stop a load that is clearly wrong, before more of it is sent.

    Only what was sent since this start of the command tells, so that it goes on once the cause is
    mended: jobs that are under way then, and the next one, are tried in any case.

    Args:
        since: when the command was started.

    Raises:
        TooManyFailedRowsError: more rows failed than `max_failed_rows`, and more than a tenth of
            all that were sent. The text ends with `remedy`.
    """
    now = standing(folder, plan)
    dead, failed, sent = now.dead, 0, 0
    for chunk, load in zip(plan.chunks, now.loads, strict=True):
        journal = None if load else read_marker(folder.load_journal(chunk.n), LoadJournal)
        parts = journal.parts if journal else []
        outcomes = [part.outcome for part in parts if part.outcome is not None]
        dead += sum(outcome.failed + outcome.unprocessed for outcome in outcomes)
        for outcome in load.jobs if load else outcomes:
            if outcome.ended_at is not None and outcome.ended_at >= since:
                failed += outcome.failed + outcome.unprocessed
                sent += outcome.created + outcome.updated + outcome.failed + outcome.unprocessed
    allowed = table.failed_rows_allowed(plan.rows)
    if dead > allowed and failed > CLEARLY_WRONG * sent:
        raise TooManyFailedRowsError(
            f"{table.name}: {failed:,} of the {sent:,} rows sent since the start failed, and "
            f"{dead:,} in all, more than max_failed_rows = {allowed:,}: no more are sent. {remedy}"
        )
