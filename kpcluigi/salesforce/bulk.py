"""Bulk API 2.0 ingest: create, upload, close, wait, results, abort.

Facts that shape this module (Bulk API 2.0 Developer Guide, v66.0): a job takes exactly one PUT; its
CSV is at most 100 MB raw; JobComplete may hold failed rows and Failed may hold loaded ones, so the
results are always read; results and jobs are kept for 7 days.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import requests

from kpcluigi.errors import JobTimeoutError, SalesforceError
from kpcluigi.files import gzip_writer, replacing
from kpcluigi.salesforce.client import Client

ResultKind = Literal["successful", "failed", "unprocessed"]

RESULT_PATHS: dict[ResultKind, str] = {
    "successful": "successfulResults",
    "failed": "failedResults",
    "unprocessed": "unprocessedrecords",
}
TERMINAL = frozenset({"JobComplete", "Failed", "Aborted"})
POLL_GROWTH = 1.5


@dataclass(frozen=True)
class JobInfo:
    """A job as Salesforce describes it; `processed` includes `failed`."""

    id: str
    state: str
    processed: int
    failed: int
    message: str

    @property
    def ended(self) -> bool:
        return self.state in TERMINAL

    @classmethod
    def of(cls, body: dict[str, Any]) -> JobInfo:
        return cls(
            id=body["id"],
            state=body["state"],
            processed=body.get("numberRecordsProcessed", 0),
            failed=body.get("numberRecordsFailed", 0),
            message=body.get("errorMessage", ""),
        )


def create_job(client: Client, sobject: str, *, external_id: str) -> JobInfo:
    """An open upsert job. A job that is created but never used holds no data and expires."""
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
    return JobInfo.of(response.json())


def upload(client: Client, job_id: str, body: bytes | Iterable[bytes]) -> None:
    """Send the job's one and only CSV, streamed.

    Raises:
        SalesforceError: it is not known whether the data arrived (status 0), or it was refused.
            Either way this job cannot be given data again.
    """
    client.call(
        "PUT",
        f"/jobs/ingest/{job_id}/batches",
        data=body,
        headers={"Content-Type": "text/csv; charset=UTF-8"},
        repeatable=False,
    )


def close_job(client: Client, job_id: str) -> None:
    """Tell Salesforce that the upload is complete, so that it begins."""
    client.call("PATCH", f"/jobs/ingest/{job_id}", json={"state": "UploadComplete"})


def abort_job(client: Client, job_id: str) -> None:
    """Give up a job that has not ended."""
    client.call("PATCH", f"/jobs/ingest/{job_id}", json={"state": "Aborted"})


def job_info(client: Client, job_id: str) -> JobInfo:
    """The job's state and counts. Raises `SalesforceError` with status 404 when it is gone."""
    return JobInfo.of(client.call("GET", f"/jobs/ingest/{job_id}").json())


def wait_for_job(
    client: Client,
    job_id: str,
    *,
    timeout: float,
    interval: float = 5,
    interval_max: float = 60,
    tell: Callable[[JobInfo], None] = lambda info: None,
) -> JobInfo:
    """Poll, ever less often, until the job has ended.

    Raises:
        JobTimeoutError: it has not ended within `timeout` seconds; the job is left alone.
    """
    deadline = time.monotonic() + timeout
    while True:
        info = job_info(client, job_id)
        tell(info)
        if info.ended:
            return info
        if time.monotonic() + interval > deadline:
            raise JobTimeoutError(
                f"Job {job_id} is still {info.state} after {timeout:,.0f} s; it is left alone, "
                f"and the same command picks it up again"
            )
        time.sleep(interval)
        interval = min(interval * POLL_GROWTH, interval_max)


def download(client: Client, job_id: str, kind: ResultKind, path: Path) -> None:
    """Stream one of the job's three result sets to a gzip file, from the start if it breaks off."""
    resource = f"/jobs/ingest/{job_id}/{RESULT_PATHS[kind]}"
    for attempt in range(1, client.retries + 2):
        try:
            response = client.call("GET", resource, stream=True)
            with response, replacing(path) as file, gzip_writer(file) as packed:
                for block in response.iter_content(1 << 20):
                    packed.write(block)
        except requests.RequestException as error:
            if attempt > client.retries:
                raise SalesforceError(f"GET {resource} broke off: {error}") from error
            client.pause(attempt, f"GET {resource} broke off ({type(error).__name__})")
        else:
            return
