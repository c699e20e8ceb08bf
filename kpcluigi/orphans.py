"""Orphan jobs: created by a run that died before it could journal their ids.

Such a job is Open, holds no data and expires by itself. It is told from others by what it is not:
named in a journal of any run into this org.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from kpcluigi.errors import StagingError
from kpcluigi.salesforce import Client, JobInfo, abort_job, job_info, list_jobs

OPEN = "Open"
NAMED = 10
"""Jobs named at most in one warning."""
WARN_AFTER = timedelta(hours=1)
"""Age from which a preflight speaks of them: a younger one may be about to be journalled."""


def find_orphans(
    client: Client, org: Path, objects: Collection[str], *, older_than: timedelta, now: datetime
) -> list[JobInfo]:
    """Open ingest jobs of this user on these objects that no journal names, oldest first.

    Args:
        org: the folder of the org's runs.
        now: UTC.

    Raises:
        StagingError: a journal cannot be read, so that its jobs are not known.
    """
    wanted = {name.lower() for name in objects}
    found = [
        job
        for job in list_jobs(client, states={OPEN}, created_by=client.user_id)
        if job.object.lower() in wanted and job.created_at is not None
        if now - job.created_at > older_than
    ]
    if not found:
        return []
    named = named_jobs(org)  # read after the list: what was journalled meanwhile is among them
    return sorted((job for job in found if job.id not in named), key=lambda job: job.id)


def in_words(orphans: Sequence[JobInfo]) -> str:
    """What a preflight says of them; empty where there are none."""
    if not orphans:
        return ""
    named = ", ".join(job.id for job in orphans[:NAMED])
    more = f" and {len(orphans) - NAMED} more" if len(orphans) > NAMED else ""
    return (
        f"{len(orphans)} open Bulk job(s) of this user that no journal names, without data: "
        f"{named}{more}. They expire by themselves; to abort them: "
        f"kpcluigi clean --older-than 1 --yes"
    )


def abort_orphan(client: Client, job: JobInfo) -> bool:
    """Give up the job; False where it is no longer Open and so is left alone."""
    if job_info(client, job.id).state != OPEN:
        return False
    abort_job(client, job.id)
    return True


def named_jobs(org: Path) -> set[str]:
    """The ids of all jobs that journals and load markers of any run into the org name.

    Raises:
        StagingError: one of them cannot be read.
    """
    named: set[str] = set()
    for kind in ("loads", "retries", "repairs"):
        for path in org.glob(f"*/*/{kind}/[!.]*.json"):
            try:
                named.update(_ids(json.loads(path.read_bytes())))
            except FileNotFoundError:
                continue  # finished meanwhile: its jobs are no longer open
            except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
                raise StagingError(
                    f"{path} cannot be read ({error}): which jobs it names is not known, so that "
                    f"none can be called an orphan"
                ) from None
    return named


def _ids(marker: dict[str, Any]) -> Iterator[str]:
    for part in marker.get("parts", ()):
        if part.get("job_id"):
            yield part["job_id"]
        if part.get("outcome"):
            yield part["outcome"]["id"]
    for job in (*marker.get("spent_jobs", ()), *marker.get("jobs", ())):
        yield job["id"]
