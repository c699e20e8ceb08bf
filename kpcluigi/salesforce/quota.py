"""The daily allocation of Bulk API batches: what counts, and when the next job may be sent.

Salesforce allows 15,000 batches and 150,000,000 records in any 24 hours, over all users of an org,
and fails a job that goes beyond. So a job is sent only when two reckonings agree that it fits:

- the ledger: what our own jobs took in the last 24 hours, and this job, leave the reserve alone;
- the org: what it says is left, less what our jobs in flight may still take (or have taken too
  lately for it to know), less the reserve, holds this job.

The ledger alone would not see the org's other users; the org's figure alone lags behind the jobs
that were just sent. `reserve` is the share that is left to the others: they may take that much
while our jobs are in flight, and none of them fails for it.

Those who wait are served in turn. A job is sent past one that has waited longer only when there is
room for both: a small one costs a large one no time, and the large one is never overtaken for good.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from kpcluigi.errors import ConfigurationError

DAY = timedelta(hours=24)
BATCH_ROWS = 10_000
"""Rows in one internal batch of a Bulk API 2.0 job (Bulk API 2.0 Developer Guide, "Limits")."""
RECORDS_PER_DAY = 150_000_000
"""Records in any 24 hours (same place). /limits does not show it. An org that has bought more
batches is held to it all the same: that it grows with them is documented nowhere."""
RETENTION = timedelta(days=7)
"""After which Salesforce drops a job, ended or not ("Limits"): none takes anything later."""

LIMITS_LAG = timedelta(minutes=5)
"""How late /limits may be ("accurate within five minutes of resource consumption", REST API
Developer Guide, "Limits")."""


@dataclass(frozen=True)
class Use:
    """What one job takes, or took, of the allocation.

    Attributes:
        begun_at: when it was claimed.
        ended_at: when the job was seen to have ended; None: it may still be in flight.
    """

    rows: int
    batches: int
    begun_at: datetime
    ended_at: datetime | None

    def leaves_at(self, now: datetime) -> datetime:
        """When it no longer counts; of a job in flight, the earliest that this can be.

        Salesforce counts a batch when it processes it, which may be as late as the job's end.
        """
        if self.ended_at is not None:
            return self.ended_at + DAY
        return min(max(now, self.begun_at), self.begun_at + RETENTION) + DAY


@dataclass(frozen=True)
class Allocation:
    """What the org says of its last 24 hours, when it was asked."""

    batches: int
    batches_left: int
    requests: int
    requests_left: int
    asked_at: datetime


@dataclass(frozen=True)
class Wait:
    """Not now. `reason` is a line for people: what is used, of what, until when."""

    until: datetime
    reason: str


@dataclass(frozen=True)
class Governor:
    """Decides whether a job may be sent.

    Attributes:
        reserve: share of every allocation that is left to the org's other users.
        recheck: after which it is worth asking again where others have used the allocation up.
    """

    reserve: float
    recheck: timedelta

    def decide(
        self,
        rows: int,
        uses: Sequence[Use],
        allocation: Allocation,
        now: datetime,
        *,
        ahead: Iterable[int] = (),
    ) -> Wait | None:
        """None when a job of `rows` rows may be sent now.

        Args:
            uses: of all our jobs into this org.
            ahead: rows of each of our jobs that have waited longer.

        Raises:
            ConfigurationError: the job is larger than the allocation less the reserve.
        """
        self._refuse_impossible(rows, allocation)
        counted = [use for use in uses if use.leaves_at(now) > now]
        wanted = [rows, *ahead]
        return (
            self._by_requests(allocation, now)
            or self._by_ledger(wanted, counted, allocation, now)
            or self._by_org(wanted, counted, allocation, now)
        )

    def _refuse_impossible(self, rows: int, allocation: Allocation) -> None:
        batches, most = batches_of(rows), allocation.batches - self._share(allocation.batches)
        most = min(most, (RECORDS_PER_DAY - self._share(RECORDS_PER_DAY)) // BATCH_ROWS)
        if batches > most:
            raise ConfigurationError(
                f"A job of {batches:,} batches ({rows:,} rows) can never be sent: the org allows "
                f"{allocation.batches:,} in 24 hours, which less the reserve (quota_reserve = "
                f"{self.reserve:g}) is {most:,}. Lower records_per_job of its table in tables.toml "
                f"to {most * BATCH_ROWS:,} or less, or quota_reserve in luigi.cfg"
            )

    def _by_requests(self, allocation: Allocation, now: datetime) -> Wait | None:
        kept = self._share(allocation.requests)
        if allocation.requests_left >= kept:
            return None
        until = now + self.recheck
        return Wait(
            until,
            f"waiting for API requests: {allocation.requests_left:,} of the org's "
            f"{allocation.requests:,} in 24 hours are left, {kept:,} are kept for others; looking "
            f"again at {_clock(until)}",
        )

    def _by_ledger(
        self, wanted: list[int], counted: list[Use], allocation: Allocation, now: datetime
    ) -> Wait | None:
        used = sum(use.batches for use in counted)
        most = allocation.batches - self._share(allocation.batches)
        batches_over = used + sum(map(batches_of, wanted)) - most
        most_rows = RECORDS_PER_DAY - self._share(RECORDS_PER_DAY)
        rows_over = sum(use.rows for use in counted) + sum(wanted) - most_rows
        if batches_over <= 0 and rows_over <= 0:
            return None
        until = _when_left(counted, batches_over, rows_over, now)
        what = f"{used:,} of the org's {allocation.batches:,} batches in 24 hours are taken by us"
        if batches_over <= 0:
            taken = sum(use.rows for use in counted)
            what = f"{taken:,} of {RECORDS_PER_DAY:,} records in 24 hours are taken by us"
        return Wait(
            until,
            f"waiting for the daily allocation: {what}, {self.reserve * 100:g} % is kept for "
            f"others; goes on at about {_clock(until)}",
        )

    def _by_org(
        self, wanted: list[int], counted: list[Use], allocation: Allocation, now: datetime
    ) -> Wait | None:
        seen = allocation.asked_at - LIMITS_LAG
        pending = sum(u.batches for u in counted if u.ended_at is None or u.ended_at > seen)
        kept = self._share(allocation.batches)
        if sum(map(batches_of, wanted)) <= allocation.batches_left - kept - pending:
            return None
        until = now + self.recheck
        return Wait(
            until,
            f"waiting for the daily allocation: the org has {allocation.batches_left:,} of "
            f"{allocation.batches:,} batches left, our jobs under way may take {pending:,}, "
            f"{kept:,} are kept for others; looking again at {_clock(until)}",
        )

    def _share(self, whole: int) -> int:
        """The reserve of an allocation, rounded up."""
        return math.ceil(round(whole * self.reserve, 6))


def batches_of(rows: int) -> int:
    """Batches that Salesforce makes of a job."""
    return -(-rows // BATCH_ROWS)


def _when_left(counted: list[Use], batches: int, rows: int, now: datetime) -> datetime:
    """When so much of the uses has left the window, at the earliest."""
    leaving = sorted((use.leaves_at(now), use.batches, use.rows) for use in counted)
    for moment, fewer_batches, fewer_rows in leaving:
        batches -= fewer_batches
        rows -= fewer_rows
        if batches <= 0 and rows <= 0:
            return moment
    # What has waited longer fills the window by itself
    return leaving[-1][0] if leaving else now + DAY


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
