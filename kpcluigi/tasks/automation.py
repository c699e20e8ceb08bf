"""Automation in the root process: put back at every exit that a process can see.

A root task calls `hold_automation` when its run begins, and what it returns before the last lines
are written. Switching off is the Preflight task's.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType

from kpcluigi import automation, settings
from kpcluigi.errors import KpcluigiError
from kpcluigi.quota import Ledger
from kpcluigi.salesforce import Client, ClientCredentials
from kpcluigi.tasks.base import org_folder
from kpcluigi.tasks.root import at_root_exit

RESTORE_SECONDS = 30.0
"""How long an exit is held up, at most, by a network that is gone."""


def hold_automation() -> Callable[[], str]:
    """Hold the org's lock while the process lasts. Opens no connection.

    Whatever is off when the process exits, by this run or by one that was killed, is put back, at
    the latest after all else that is done at exit; unless another run into the org is under way,
    which then does so.

    Returns:
        Puts automation back now. The answer is the sentence that says that it is still off; empty
        where all is well.

    Raises:
        StagingError: another process is putting it back and does not end.
    """
    org = org_folder()
    # Luigi forgets the options of its command line before the process ends
    login, rules = settings.salesforce_login(), settings.salesforce()
    timeout = min(rules.timeout, 10.0)
    lock = automation.RunLock(org)
    said: list[str] = []

    def restore() -> str:
        if not automation.state_file(org).exists():
            return ""
        if not lock.leave():
            return automation.warning_while_off(org, "Another run into this org needs it so")
        credentials = ClientCredentials(login.client_id, login.client_secret)
        reason = ""
        try:
            with (
                Alarm(RESTORE_SECONDS),
                Client(
                    login.url,
                    credentials=credentials,
                    api_version=rules.api_version,
                    timeout=timeout,
                    connect_timeout=timeout,
                    retries=1,
                    retry_delay=1,
                ) as client,
            ):
                for line in automation.restore(client, org):
                    print(f"Automation is on again: {line}", flush=True)
            under_way = sum(use.ended_at is None for use in Ledger(org).uses())
            if under_way:
                print(f"Bulk jobs that go on, now with automation on: {under_way}", flush=True)
        except (KpcluigiError, OSError) as error:
            reason = f"It could not be put back: {error}"
        return automation.warning_while_off(org, reason)

    def once() -> str:
        if not said:
            said.append(restore())
            lock.close()
        return said[0]

    def at_exit() -> None:
        """For exits that come before, or instead of, the last lines."""
        if not said and (warning := once()):
            print(f"kpcluigi: {warning}", file=sys.stderr)

    at_root_exit(at_exit)
    return once


class Alarm:
    """Raises `TimeoutError` in the block when its time is up, and again each second after."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        def out_of_time(number: int, frame: FrameType | None) -> None:
            raise TimeoutError(f"no end within {self._seconds:.0f} s")

        self._handler = signal.signal(signal.SIGALRM, out_of_time)
        signal.setitimer(signal.ITIMER_REAL, self._seconds, 1)

    def __exit__(self, *error: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._handler)
