"""What the server counts and remembers: statistics, and every statement in order."""

from __future__ import annotations

import threading
import time
from typing import Any

_COUNTERS = (
    "logins", "refused_logins", "executes", "fetches", "rows", "commits", "rollbacks", "breaks",
    "errors", "disconnects",
)  # fmt: skip


class Journal:
    """Counters, peaks and the log. Safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters = dict.fromkeys(_COUNTERS, 0)
        self._sessions = 0
        self._peak = 0
        self._log: list[dict[str, Any]] = []

    def count(self, name: str, by: int = 1) -> None:
        with self._lock:
            self._counters[name] += by

    def opened(self) -> None:
        """A session has logged in."""
        with self._lock:
            self._counters["logins"] += 1
            self._sessions += 1
            self._peak = max(self._peak, self._sessions)

    def closed(self) -> None:
        """A logged-in session has gone."""
        with self._lock:
            self._sessions -= 1

    def executed(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Note a statement; the returned entry may be completed later."""
        with self._lock:
            self._counters["executes"] += 1
            noted = {"n": len(self._log), "time": time.time(), **entry}
            self._log.append(noted)
            return noted

    def stats(self) -> dict[str, Any]:
        with self._lock:
            present = {"sessions": self._sessions, "peak_sessions": self._peak}
            return {**present, **self._counters, "log": len(self._log)}

    def since(self, index: int) -> list[dict[str, Any]]:
        with self._lock:
            return [dict(entry) for entry in self._log[index:]]

    def reset(self) -> None:
        with self._lock:
            self._counters = dict.fromkeys(_COUNTERS, 0)
            self._peak = self._sessions
            self._log = []
