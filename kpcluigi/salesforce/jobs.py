"""What ingest jobs and query jobs have in common: their states, changing them, waiting."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from kpcluigi.errors import JobTimeoutError, SalesforceError
from kpcluigi.salesforce.client import Client

TERMINAL = frozenset({"JobComplete", "Failed", "Aborted"})
GROWTH = 1.5


class Job(Protocol):
    """What the wait needs to know of a job."""

    @property
    def state(self) -> str: ...

    @property
    def ended(self) -> bool: ...


J = TypeVar("J", bound=Job)


def created_at(body: dict[str, Any]) -> datetime | None:
    """A job's createdDate in UTC; it comes as 2023-01-17T14:20:03.000+0000."""
    created = body.get("createdDate")
    return datetime.fromisoformat(created).astimezone(UTC) if created else None


def change_state(client: Client, job: str, state: str, *, later: Collection[str] = ()) -> None:
    """Give a job a state. That it has it already, or a `later` one, is no error.

    A change whose answer was lost is asked for again, and refused because it was made.

    Args:
        job: its path, such as /jobs/ingest/ID.

    Raises:
        SalesforceError: the job is in no state for that (status 400), or gone (404).
    """
    try:
        client.call("PATCH", job, json={"state": state})
    except SalesforceError as error:
        if error.status != 400 or client.ask(job)["state"] not in {state, *later}:
            raise


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
