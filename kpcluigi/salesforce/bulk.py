"""Bulk API 2.0 ingest: create, upload, close, wait, results, abort, delete, list.

Facts that shape this module (Bulk API 2.0 Developer Guide, v66.0): a job takes exactly one PUT; its
CSV is at most 100 MB raw; JobComplete may hold failed rows and Failed may hold loaded ones, so the
results are always read; results and jobs are kept for 7 days, an open job for 24 hours.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from kpcluigi.errors import SalesforceError
from kpcluigi.salesforce.client import Client
from kpcluigi.salesforce.ids import to_18
from kpcluigi.salesforce.jobs import TERMINAL, change_state, created_at, wait_until_ended
from kpcluigi.salesforce.streams import Pieces, stream_to_gzip

ResultKind = Literal["successful", "failed", "unprocessed"]

RESULT_PATHS: dict[ResultKind, str] = {
    "successful": "successfulResults",
    "failed": "failedResults",
    "unprocessed": "unprocessedrecords",
}
UPLOAD_TIMEOUT = 660.0
"""Seconds; Salesforce itself gives a request 10 minutes (limits cheat sheet, "API Request
Limits"), so that its own refusal comes first."""


@dataclass(frozen=True)
class JobInfo:
    """A job as Salesforce describes it; `processed` includes `failed`.

    Attributes:
        id: of 18 characters.
        state: Open, UploadComplete, InProgress, JobComplete, Failed or Aborted.
        processed: rows that were tried, those that failed included.
        failed: rows that were tried and refused.
        message: why the job failed; empty otherwise.
        created_by: id of the user whose job it is, of 18 characters.
        created_at: in UTC.
        retries: how often Salesforce began batches anew, mostly for row locks.
        seconds: that the processing took, over all batches; they run side by side.
        api_seconds: of them in the API, triggers and flows included.
        apex_seconds: of them in triggers and other Apex.
    """

    id: str
    state: str
    processed: int
    failed: int
    message: str
    object: str = ""
    operation: str = ""
    created_by: str = ""
    created_at: datetime | None = None
    retries: int = 0
    seconds: float = 0.0
    api_seconds: float = 0.0
    apex_seconds: float = 0.0

    @property
    def ended(self) -> bool:
        return self.state in TERMINAL

    @classmethod
    def of(cls, body: dict[str, Any]) -> JobInfo:
        """A job from its JSON; a list and a PATCH answer with fewer fields than a GET."""
        return cls(
            id=body["id"],
            state=body["state"],
            processed=body.get("numberRecordsProcessed", 0),
            failed=body.get("numberRecordsFailed", 0),
            message=body.get("errorMessage") or "",
            object=body.get("object", ""),
            operation=body.get("operation", ""),
            created_by=body.get("createdById", ""),
            created_at=created_at(body),
            retries=body.get("retries", 0),
            seconds=body.get("totalProcessingTime", 0) / 1000,
            api_seconds=body.get("apiActiveProcessingTime", 0) / 1000,
            apex_seconds=body.get("apexProcessingTime", 0) / 1000,
        )


def create_job(client: Client, sobject: str, *, external_id: str) -> JobInfo:
    """An open upsert job. A job that is created but never used holds no data and expires.

    Args:
        external_id: the field whose values say which record a row is; the CSV must have it.

    Raises:
        SalesforceError: status 400, INVALIDJOB, where the object or the field is not there.
    """
    response = client.call(
        "POST",
        "/jobs/ingest",
        json={
            "object": sobject,
            "operation": "upsert",
            "externalIdFieldName": external_id,
            "contentType": "CSV",
            "columnDelimiter": "COMMA",
            "lineEnding": "LF",
        },
    )
    return JobInfo.of(client.json_of(response))


def upload(
    client: Client,
    job_id: str,
    body: bytes | Iterable[bytes],
    *,
    compressed: bool = False,
    timeout: float = UPLOAD_TIMEOUT,
) -> None:
    """Send the job's one and only CSV, streamed.

    Args:
        body: UTF-8 CSV without a BOM, lines ending in LF, at most 100,000,000 bytes uncompressed.
            It is iterated again where the token has expired; with a `len()` its length is sent
            first.
        compressed: the body is gzip already. That an org takes it is not documented for Bulk API
            2.0: prove it with a small job first.
        timeout: seconds to wait for the answer once the body is out.

    Raises:
        SalesforceError: it is not known whether the data arrived (status 0), or it was refused.
            Either way this job cannot be given data again.
        TypeError: the body can be iterated only once.
    """
    if isinstance(body, bytes):
        body = Pieces([body])
    elif isinstance(body, (list, tuple)):
        body = Pieces(body)  # the HTTP library takes a list for the fields of a form
    client.call(
        "PUT",
        f"/jobs/ingest/{job_id}/batches",
        data=body,
        headers={
            "Content-Type": "text/csv; charset=UTF-8",
            **({"Content-Encoding": "gzip"} if compressed else {}),
        },
        repeatable=False,
        timeout=timeout,
    )


def close_job(client: Client, job_id: str) -> None:
    """Tell Salesforce that the upload is complete, so that it begins. Twice is no error.

    Raises:
        SalesforceError: the job has no data, or was aborted (status 400, INVALIDJOBSTATE).
    """
    later = {"InProgress", "JobComplete", "Failed"}
    change_state(client, f"/jobs/ingest/{job_id}", "UploadComplete", later=later)


def abort_job(client: Client, job_id: str) -> None:
    """Give up a job that has not ended; what it has loaded so far stays. Twice is no error.

    Raises:
        SalesforceError: the job has ended (status 400, INVALIDJOBSTATE).
    """
    change_state(client, f"/jobs/ingest/{job_id}", "Aborted")


def delete_job(client: Client, job_id: str) -> None:
    """Delete a job with its data and results. One that is gone already is no error.

    Raises:
        SalesforceError: the job is Open or InProgress: abort it first (status 400).
    """
    client.call("DELETE", f"/jobs/ingest/{job_id}", accept=(404,))


def job_info(client: Client, job_id: str) -> JobInfo:
    """The job's state and counts. Raises `SalesforceError` with status 404 when it is gone."""
    return JobInfo.of(client.ask(f"/jobs/ingest/{job_id}"))


def list_jobs(
    client: Client,
    *,
    states: Collection[str] = (),
    sobject: str | None = None,
    created_by: str | None = None,
) -> Iterator[JobInfo]:
    """The org's Bulk API 2.0 ingest jobs of the last 7 days, in no order, page after page.

    Salesforce lists all of them, up to 1,000 a page; the choice is made here. The list has no
    counts: ask `job_info` for those.

    Args:
        states: only these; all of them when empty.
        sobject: only jobs of this object, in any case.
        created_by: only jobs of this user, by an id of 15 or 18 characters.
    """
    owner = None if created_by is None else to_18(created_by)
    wanted = None if sobject is None else sobject.lower()
    following = {"jobType": "V2Ingest"}
    seen: set[str] = set()
    while True:
        page = client.ask("/jobs/ingest", params=following)
        for body in page["records"]:
            job = JobInfo.of(body)
            if (
                (not states or job.state in states)
                and (wanted is None or job.object.lower() == wanted)
                and (owner is None or (job.created_by and to_18(job.created_by) == owner))
            ):
                yield job
        if page["done"]:
            return
        following |= dict(parse_qsl(urlsplit(page["nextRecordsUrl"]).query))
        locator = following.get("queryLocator", "")
        if locator in seen:
            raise SalesforceError(f"GET /jobs/ingest: the page {locator!r} came twice")
        seen.add(locator)


def wait_for_job(
    client: Client,
    job_id: str,
    *,
    timeout: float,
    interval: float = 5,
    interval_max: float = 60,
    tell: Callable[[JobInfo], None] = lambda info: None,
) -> JobInfo:
    """Poll, ever less often, until the job has ended. Passing errors only cost time.

    Args:
        timeout: seconds until this gives up.
        interval: seconds until the second look; it grows by half each time.
        interval_max: seconds that it grows to.
        tell: receives what each look has shown.

    Raises:
        JobTimeoutError: it has not ended within `timeout`; the job is left alone.
        SalesforceError: Salesforce refuses to say; status 404 when the job is gone.
    """
    return wait_until_ended(
        lambda: job_info(client, job_id),
        job_id,
        timeout=timeout,
        interval=interval,
        interval_max=interval_max,
        tell=tell,
    )


def download(client: Client, job_id: str, kind: ResultKind, path: Path) -> None:
    """One of the three result sets of a job that has ended, into a gzip file.

    It is streamed; one that breaks off is fetched again from the start, and `path` appears only
    when it is whole. Its rows are in no order: tell them apart by the external id.

    Raises:
        SalesforceError: refused, status 404 when the job is gone; or broken off each time.
    """
    stream_to_gzip(client, f"/jobs/ingest/{job_id}/{RESULT_PATHS[kind]}", path)
