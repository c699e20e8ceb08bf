"""What happens to processes: a parent that dies takes its children along.

Luigi forks one child per task. Without this, children of a parent that is killed would live on and
go on loading while the next run begins.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from types import FrameType, TracebackType
from typing import Any

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_ASK_AGAIN = 1.0  # seconds


class ChildGuard:
    """`[worker] task_process_context` of luigi.cfg: each task's process dies with its parent."""

    def __init__(self, process: Any) -> None:
        self._in_child = process.use_multiprocessing

    def __enter__(self) -> None:
        if not self._in_child:
            return
        for number in (signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        die_with_parent()
        parent = multiprocessing.parent_process()
        if parent is not None and os.getppid() != parent.pid:
            os._exit(1)  # the parent died before the kernel was asked

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to undo: the process ends here."""


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends (Linux; elsewhere a no-op)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def interrupt_on_sigterm() -> None:
    """Let SIGTERM end the root process as Ctrl-C does: Luigi then ends its children."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        # An exception that falls into a hook of a fork is swallowed: ask again until it is heard
        signal.setitimer(signal.ITIMER_REAL, _ASK_AGAIN)
        raise KeyboardInterrupt(f"signal {number}")

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGALRM, interrupt)


def end_children() -> None:
    """End the processes of tasks that are left when the root process ends.

    Luigi does so when it is interrupted, but may be interrupted again in the middle of it; the
    root process would then wait for the others, and they would go on loading.
    """
    for child in multiprocessing.active_children():
        child.terminate()


def ignore_interrupts() -> None:
    """At the end of the root process: the last lines are to be written whole."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
