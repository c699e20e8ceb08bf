"""The org's clock: the machine's own, moved on by as much as a test says."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

DAY = 86_400.0


class OrgClock:
    """Seconds since 1970 in the org. It never goes back; any thread may ask it."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._lock = threading.Lock()

    def advance(self, seconds: float) -> None:
        """Move the org's clock on.

        Raises:
            ValueError: the clock would go back.
        """
        if seconds < 0:
            raise ValueError(f"seconds={seconds} would put the clock back")
        with self._lock:
            self._ahead += seconds

    def time(self) -> float:
        with self._lock:
            return time.time() + self._ahead

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time(), UTC)
