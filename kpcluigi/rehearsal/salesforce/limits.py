"""The org's allocations: API calls and Bulk API batches, as /limits and its header show them."""

from __future__ import annotations

import threading
from typing import Any

BATCH_ROWS = 10_000
"""Rows in one internal batch of a Bulk API 2.0 job (Bulk API 2.0 Developer Guide, "Limits")."""


class Limits:
    """What is used of the daily allocations. A rolling day is longer than any stand-in lives."""

    def __init__(self, daily_requests: int, daily_batches: int) -> None:
        self.daily_requests = daily_requests
        self.daily_batches = daily_batches
        self.requests = 0
        self.batches = 0
        self._lock = threading.Lock()

    def take_request(self) -> bool:
        """Count one API call; False when the day's are used up."""
        with self._lock:
            if self.requests >= self.daily_requests:
                return False
            self.requests += 1
            return True

    def take_batch(self) -> bool:
        """Count one batch of a job; False when the day's are used up."""
        with self._lock:
            if self.batches >= self.daily_batches:
                return False
            self.batches += 1
            return True

    @property
    def header(self) -> str:
        """The value of Sforce-Limit-Info."""
        return f"api-usage={self.requests}/{self.daily_requests}"

    def body(self) -> dict[str, dict[str, Any]]:
        """The body of /limits: what is counted here, and constants of a sample org."""

        def entry(most: int, used: int = 0) -> dict[str, Any]:
            return {"Max": most, "Remaining": most - used}

        return {
            "DailyApiRequests": entry(self.daily_requests, self.requests),
            "DailyBulkApiBatches": entry(self.daily_batches, self.batches),
            # REST API Developer Guide, "Limits", sample body.
            "DailyBulkV2QueryFileStorageMB": entry(976_562),
            "DailyBulkV2QueryJobs": entry(10_000),
            "DataStorageMB": entry(2_000_000),
            "FileStorageMB": entry(2_000_000),
        }
