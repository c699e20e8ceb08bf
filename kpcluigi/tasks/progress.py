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
        self._sent_at = 0.0
        self._sender: threading.Thread | None = None

    def tell(self, message: str, share: float | None = None, url: str | None = None) -> None:
        """Show a line, how much is done (0 to 1), and where to look; soon, or replaced by a later.

        Args:
            message: one line.
            share: shown as a bar.
            url: shown as the task's tracking link.
        """
        self._next["set_status_message"] = message
        if share is not None:
            self._next["set_progress_percentage"] = round(100 * share)
        if url is not None:
            self._next["set_tracking_url"] = url
        if self._sender is not None and self._sender.is_alive():
            return
        if time.monotonic() - self._sent_at < EVERY:
            return
        self._sent_at = time.monotonic()
        calls = [(getattr(self._task, name, None), value) for name, value in self._next.items()]
        self._next = {}
        self._sender = threading.Thread(target=_send, args=(calls,), daemon=True)
        self._sender.start()


def _send(calls: list[tuple[Any, Any]]) -> None:
    for call, value in calls:
        if call is None:
            continue
        try:
            call(value)
        except Exception:  # noqa: BLE001  # whatever luigid's absence raises must not fail a chunk
            return
