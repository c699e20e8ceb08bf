"""Waiting for a Bulk job of either kind."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from kpcluigi.errors import JobTimeoutError, SalesforceError

GROWTH = 1.5


class Job(Protocol):
    """What the wait needs to know of a job."""

    @property
    def state(self) -> str: ...

    @property
    def ended(self) -> bool: ...


J = TypeVar("J", bound=Job)


def wait_until_ended(
    look: Callable[[], J],
    job_id: str,
    *,
    timeout: float,
    interval: float,
    interval_max: float,
    tell: Callable[[J], None],
) -> J:
    """Look, ever less often, until the job has ended; all times are seconds.

    A look that fails with a passing error, after the client's own tries, is made again like any
    other: it says nothing about the job.

    Raises:
        JobTimeoutError: it has not ended within `timeout`; the job is left alone.
        SalesforceError: Salesforce refuses to say.
    """
    deadline = time.monotonic() + timeout
    reason: SalesforceError | None
    while True:
        try:
            job = look()
        except SalesforceError as error:
            if not error.passing:
                raise
            found, reason = f"unknown ({error})", error
        else:
            tell(job)
            if job.ended:
                return job
            found, reason = job.state, None
        left = deadline - time.monotonic()
        if left <= 0:
            raise JobTimeoutError(
                f"Job {job_id} is still {found} after {timeout:,.0f} s; it is left alone, "
                f"and the same command picks it up again"
            ) from reason
        time.sleep(min(interval, left))
        interval = min(interval * GROWTH, interval_max)
