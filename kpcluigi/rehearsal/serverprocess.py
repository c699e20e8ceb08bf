"""A server in a process of its own: it says where it is, and ends when its input closes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self


class ServerProcess:
    """A running server. Use it as a context manager, or call `stop()`.

    It does not outlive who started it, however that ends: its standard input closes then.

    Attributes:
        announced: the JSON object that it printed once it served.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str] = (),
        *,
        secrets: Mapping[str, str] | None = None,
        start_seconds: float,
        stop_seconds: float,
    ) -> None:
        """Start `python -m module *arguments`; `secrets` go into its environment only.

        Args:
            start_seconds: after which it is killed, if it has announced nothing.
            stop_seconds: after which `stop` kills it, if it does not end by itself.

        Raises:
            RuntimeError: it ended, or announced nothing in time.
        """
        self._stop_seconds = stop_seconds
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **(secrets or {})},
            start_new_session=True,  # a Ctrl-C in the terminal is the parent's to handle
        )
        assert self._process.stdout is not None
        watchdog = threading.Timer(start_seconds, self._process.kill)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            self.stop()
            raise RuntimeError(f"{module} did not start; its reason stands above")
        self.announced: dict[str, Any] = json.loads(line)

    def stop(self) -> None:
        """End the server; harmless when it has ended already."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=self._stop_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
