"""The rules by which the daily allocation is shared out."""

from __future__ import annotations

import heapq
import itertools
import random
from bisect import bisect_right
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from kpcluigi.errors import ConfigurationError
from kpcluigi.rehearsal.salesforce import SalesforceStandIn
from kpcluigi.salesforce import Client, allocation_of
from kpcluigi.salesforce.quota import (
    DAY,
    LIMITS_LAG,
    Allocation,
    Governor,
    Use,
    Wait,
    batches_of,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
GOVERNOR = Governor(reserve=0.03, recheck=10 * MINUTE)
FULL = Allocation(
    batches=15_000, batches_left=15_000, requests=100_000, requests_left=100_000, asked_at=NOW
)


def use(batches: int, *, begun: datetime, ended: datetime | None) -> Use:
    return Use(batches * 10_000, batches, begun, ended)


def decide(
    batches: int,
    *uses: Use,
    allocation: Allocation = FULL,
    now: datetime = NOW,
    ahead: tuple[int, ...] = (),
) -> Wait | None:
    waiting = [other * 10_000 for other in ahead]
    return GOVERNOR.decide(batches * 10_000, uses, allocation, now, ahead=waiting)


@pytest.mark.parametrize(
    ("rows", "batches"), [(0, 0), (1, 1), (10_000, 1), (10_001, 2), (670_000, 67)]
)
def test_a_batch_is_made_of_every_ten_thousand_rows(rows: int, batches: int) -> None:
    assert batches_of(rows) == batches


def test_all_but_the_reserve_is_granted_and_no_more() -> None:
    taken = use(14_500, begun=NOW - 20 * HOUR, ended=NOW - 19 * HOUR)
    assert decide(50, taken) is None
    wait = decide(51, taken)
    assert wait is not None
    assert wait.until == NOW + 5 * HOUR
    assert wait.reason == (
        "waiting for the daily allocation: 14,500 of the org's 15,000 batches in 24 hours are "
        "taken by us, 3 % is kept for others; goes on at about 2026-03-01 17:00 UTC"
    )


def test_a_use_counts_until_a_day_after_its_end() -> None:
    taken = use(14_550, begun=NOW - 30 * HOUR, ended=NOW - 24 * HOUR + MINUTE)
    assert decide(1, taken) is not None
    assert decide(1, taken, now=NOW + MINUTE) is None


def test_a_job_in_flight_counts_however_long_it_takes() -> None:
    taken = use(14_550, begun=NOW - 3 * DAY, ended=None)
    wait = decide(1, taken)
    assert wait is not None
    assert wait.until == NOW + DAY


def test_a_job_that_salesforce_has_dropped_counts_for_a_day_more() -> None:
    lost = use(14_550, begun=NOW - 8 * DAY + MINUTE, ended=None)
    assert decide(1, lost) is not None
    assert decide(1, lost, now=NOW + MINUTE) is None


def test_waiting_ends_when_enough_has_left() -> None:
    taken = [
        use(4_800, begun=NOW - 20 * HOUR, ended=NOW - (23 - i) * HOUR) for i in range(3)
    ]  # 14,400 of 14,550
    for batches, hours in ((151, 1), (4_951, 2), (9_751, 3)):
        wait = decide(batches, *taken)
        assert wait is not None
        assert wait.until == NOW + hours * HOUR


def test_what_others_took_is_seen_in_the_orgs_own_figure() -> None:
    others = replace(FULL, batches_left=500)
    assert decide(50, allocation=others) is None
    wait = decide(51, allocation=others)
    assert wait is not None
    assert wait.until == NOW + 10 * MINUTE
    assert "the org has 500 of 15,000 batches left" in wait.reason


@pytest.mark.parametrize(
    ("ended", "may_not_show_yet"),
    [(None, True), (NOW - LIMITS_LAG + MINUTE, True), (NOW - LIMITS_LAG, False)],
)
def test_the_orgs_figure_lags_behind_jobs_under_way(
    ended: datetime | None, may_not_show_yet: bool
) -> None:
    taken = use(100, begun=NOW - HOUR, ended=ended)
    wait = decide(50, taken, allocation=replace(FULL, batches_left=500))
    assert (wait is not None) == may_not_show_yet


def test_the_limit_of_records_holds_where_more_batches_were_bought() -> None:
    bought = replace(FULL, batches=100_000, batches_left=100_000)
    taken = use(14_550, begun=NOW - 2 * HOUR, ended=NOW - HOUR)
    wait = decide(1, taken, allocation=bought)
    assert wait is not None
    assert wait.until == NOW + 23 * HOUR
    assert "145,500,000 of 150,000,000 records" in wait.reason


def test_a_share_of_the_requests_is_left_to_others() -> None:
    assert decide(1, allocation=replace(FULL, requests_left=3_000)) is None
    wait = decide(1, allocation=replace(FULL, requests_left=2_999))
    assert wait is not None
    assert "2,999 of the org's 100,000" in wait.reason


def test_a_job_that_can_never_be_sent_does_not_wait() -> None:
    small = replace(FULL, batches=100, batches_left=100)
    assert decide(97, allocation=small) is None
    with pytest.raises(ConfigurationError, match=r"job of 98 batches .* Lower records_per_job"):
        decide(98, allocation=small)


def test_nobody_is_overtaken_unless_there_is_room_for_both() -> None:
    taken = use(14_450, begun=NOW - 20 * HOUR, ended=NOW - 20 * HOUR)
    assert decide(33, taken) is None
    assert decide(33, taken, ahead=(67,)) is None
    assert decide(33, taken, ahead=(68,)) is not None
    assert decide(33, taken, ahead=(60, 8)) is not None


def test_the_org_is_asked(org: SalesforceStandIn, client: Client) -> None:
    before = datetime.now(UTC)
    found = allocation_of(client)
    assert (found.batches, found.requests) == (15_000, found.requests)
    assert 0 < found.requests_left < found.requests
    assert 0 <= found.batches_left <= found.batches
    assert before <= found.asked_at <= datetime.now(UTC)


class Org:
    """A rolling allocation: it refuses whoever goes beyond. `/limits` is as old as it may be."""

    def __init__(self, allocation: int, others: list[tuple[datetime, int]]) -> None:
        self.allocation = allocation
        self.taken: list[datetime] = []
        self._order = itertools.count()
        self._ahead: list[tuple[datetime, int, bool]] = []
        for moment, batches in others:
            for _ in range(batches):
                self.expect(moment, ours=False)

    def expect(self, moment: datetime, *, ours: bool) -> None:
        heapq.heappush(self._ahead, (moment, next(self._order), ours))

    def go_on(self, now: datetime) -> None:
        while self._ahead and self._ahead[0][0] <= now:
            moment, _, ours = heapq.heappop(self._ahead)
            if self.used(moment) < self.allocation:
                self.taken.append(moment)
            else:
                assert not ours, "a batch of ours was refused"

    def used(self, at: datetime) -> int:
        return bisect_right(self.taken, at) - bisect_right(self.taken, at - DAY)

    def limits(self, now: datetime, lag: timedelta) -> Allocation:
        left = self.allocation - self.used(now - lag)
        return Allocation(self.allocation, left, 1_000, 1_000, asked_at=now)


@pytest.mark.parametrize("blind", [False, True], ids=["others before", "blind"])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None, phases=[Phase.generate])
def test_no_job_of_ours_ever_meets_the_end_of_the_allocation(blind: bool, seed: int) -> None:
    """As long as others keep to the reserve: whatever they took before, or on the ledger alone.

    Blind: the org's figure always shows an unused allocation, and nobody took any before.
    """
    governor = Governor(reserve=0.1, recheck=HOUR)
    chances = random.Random(seed)
    before = 0 if blind else chances.randint(0, 100)
    others = [(NOW - chances.randint(0, 1440) * MINUTE, 1) for _ in range(before)]
    others += [(NOW + chances.randint(1, 1000) * MINUTE, 1) for _ in range(10)]
    org = Org(100, others)
    uses: list[Use] = []
    now = NOW
    slow = chances.choice([1, 60, 600])
    for _ in range(30):
        now += chances.randint(0, 30) * MINUTE
        rows = chances.randint(1, 250_000)
        asked = now
        while True:
            org.go_on(now)
            seen = [use if _ended(use, now) else replace(use, ended_at=None) for use in uses]
            lag = chances.random() * LIMITS_LAG
            figure = org.limits(now, lag)
            if blind:
                figure = replace(figure, batches_left=100)
            wait = governor.decide(rows, seen, figure, now)
            if wait is None:
                break
            assert wait.until > now
            now = min(wait.until, now + HOUR)
            assert now - asked < 3 * DAY, "waits for ever"
        processed = [now + chances.randint(0, slow) * MINUTE for _ in range(batches_of(rows))]
        for moment in processed:
            org.expect(moment, ours=True)
        end = max(processed) + chances.randint(0, 10) * MINUTE
        uses.append(Use(rows, batches_of(rows), now, end))
    org.go_on(now + DAY)


def _ended(use: Use, now: datetime) -> bool:
    return use.ended_at is not None and use.ended_at <= now
