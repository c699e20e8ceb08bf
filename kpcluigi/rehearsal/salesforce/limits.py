"""The org's allocations: API calls, Bulk API batches and query jobs of the last 24 hours."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from kpcluigi.rehearsal.salesforce.clock import DAY, OrgClock

BATCH_ROWS = 10_000
"""Rows in one internal batch of a Bulk API 2.0 job (Bulk API 2.0 Developer Guide, "Limits")."""


class Allocation:
    """How much of an allocation was used in the 24 hours that end now."""

    def __init__(self, most: int, clock: OrgClock) -> None:
        self.most = most
        self._clock = clock
        self._used = 0
        self._entries: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        with self._lock:
            self._let_go()
            return self._used

    def take(self) -> bool:
        """Use one; False when none is left."""
        return self.use(1) == 1

    def use(self, number: int) -> int:
        """Use so many, or what is left; a negative number gives back what was used last.

        Returns:
            How many were used; below zero what was given back.
        """
        with self._lock:
            self._let_go()
            number = max(-self._used, min(number, self.most - self._used))
            if number > 0:
                self._entries.append((self._clock.time(), number))
            back = -number
            while back > 0:
                at, newest = self._entries.pop()
                if newest > back:
                    self._entries.append((at, newest - back))
                back -= min(back, newest)
            self._used += number
            return number

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self._used = 0

    def _let_go(self) -> None:
        after = self._clock.time() - DAY
        while self._entries and self._entries[0][0] <= after:
            self._used -= self._entries.popleft()[1]


class Limits:
    """The allocations that the stand-in counts, as /limits and Sforce-Limit-Info show them."""

    def __init__(
        self, daily_requests: int, daily_batches: int, daily_query_jobs: int, clock: OrgClock
    ) -> None:
        self.requests = Allocation(daily_requests, clock)
        self.batches = Allocation(daily_batches, clock)
        self.query_jobs = Allocation(daily_query_jobs, clock)

    def clear(self) -> None:
        """Nothing was used."""
        for allocation in (self.requests, self.batches, self.query_jobs):
            allocation.clear()

    @property
    def header(self) -> str:
        """The value of Sforce-Limit-Info."""
        return f"api-usage={self.requests.used}/{self.requests.most}"

    def body(self) -> dict[str, dict[str, Any]]:
        """The body of /limits: what is counted here, and constants of a sample org."""

        def entry(most: int, used: int = 0) -> dict[str, Any]:
            return {"Max": most, "Remaining": most - used}

        def counted(allocation: Allocation) -> dict[str, Any]:
            return entry(allocation.most, allocation.used)

        return {
            "DailyApiRequests": counted(self.requests),
            "DailyBulkApiBatches": counted(self.batches),
            # REST API Developer Guide, "Limits", sample body.
            "DailyBulkV2QueryFileStorageMB": entry(976_562),
            "DailyBulkV2QueryJobs": counted(self.query_jobs),
            "DataStorageMB": entry(2_000_000),
            "FileStorageMB": entry(2_000_000),
        }
