"""Query jobs of a span, or of its halves where the org needs too long for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kpcluigi.errors import JobFailedError, JobTimeoutError
from kpcluigi.reconcile.aggregates import Tell
from kpcluigi.reconcile.spans import Span
from kpcluigi.salesforce import (
    Client,
    QueryJobInfo,
    abort_query_job,
    create_query_job,
    wait_for_query_job,
)


@dataclass(frozen=True)
class QueryRules:
    """How query jobs are waited for; see `[salesforce]` in luigi.cfg."""

    poll_interval: float
    poll_interval_max: float
    job_timeout: float


def run_query_jobs(
    client: Client, select: str, span: Span, *, rules: QueryRules, tell: Tell
) -> Iterator[QueryJobInfo]:
    """The finished jobs, which together have all records; to be deleted by the caller.

    Args:
        select: SELECT and FROM; the span's condition follows.

    Raises:
        JobFailedError: a job failed, or its shortest part takes the org too long.
        JobTimeoutError: a job outlasted `job_timeout`; it is given up.
    """
    soql = f"{select}{span.where}"
    job = create_query_job(client, soql)
    try:
        info = wait_for_query_job(
            client,
            job.id,
            timeout=rules.job_timeout,
            interval=rules.poll_interval,
            interval_max=rules.poll_interval_max,
            tell=lambda info: tell(f"query job {info.id}: {info.records:,} records", 0),
        )
    except JobTimeoutError:
        abort_query_job(client, job.id)
        raise
    if info.state == "JobComplete":
        yield info
        return
    halves = span.halves()
    if halves is None or "TIMEOUT" not in info.message.upper():
        raise JobFailedError(f"Query job {job.id} {info.state}: {info.message} ({soql})")
    for half in halves:
        yield from run_query_jobs(client, select, half, rules=rules, tell=tell)
