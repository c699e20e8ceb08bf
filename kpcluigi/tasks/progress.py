"""Status message, progress bar and tracking URL of a task in the visualiser.

Luigi's own calls wait and retry for as long as luigid is gone. Here they go through a thread that
the process does not wait for: at most one call under way, one every few seconds, and none of them
can fail or hold the task.
"""

from __future__ import annotations

import threading
import time
from typing import Any

EVERY = 2.0
"""Seconds between two calls at least."""


class Progress:
    """One task's voice in the visualiser; silent where the task is not run by a worker."""

    def __init__(self, task: Any) -> None:
        self._task = task
        self._next: dict[str, Any] = {}
        self._sent_at = -EVERY
        self._lock = threading.Lock()
        self._is_sending = False

    def tell(self, message: str, share: float | None = None, url: str | None = None) -> None:
        """Show a line, how much is done (0 to 1), and where to look; soon, or replaced by a later.

        Args:
            message: one line.
            share: shown as a bar.
            url: shown as the task's tracking link.
        """
        with self._lock:
            self._next["set_status_message"] = message
            if share is not None:
                self._next["set_progress_percentage"] = round(100 * share)
            if url is not None:
                self._next["set_tracking_url"] = url
            if self._is_sending:
                return
            self._is_sending = True
        threading.Thread(target=self._send, daemon=True).start()

    def _send(self) -> None:
        """Send what is the latest, and again while more has come; then end."""
        while True:
            time.sleep(max(0.0, self._sent_at + EVERY - time.monotonic()))
            with self._lock:
                calls, self._next = self._next, {}
                if not calls:
                    self._is_sending = False
                    return
            self._sent_at = time.monotonic()
            for name, value in calls.items():
                self._call(name, value)

    def _call(self, name: str, value: Any) -> None:
        call = getattr(self._task, name, None)
        if call is None:
            return
        try:
            call(value)
        except Exception:  # noqa: BLE001  # whatever luigid's absence raises must not fail a chunk
            return
