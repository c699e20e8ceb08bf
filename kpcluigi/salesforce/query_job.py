"""Bulk API 2.0 query jobs: create, wait, download, abort, delete.

For queries with more rows than `query` should page through. An org takes 10,000 query jobs and
gives 1 TB of results in 24 hours, and keeps results for 7 days (Bulk API 2.0 Developer Guide,
"Limits").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import requests

from kpcluigi.errors import SalesforceError
from kpcluigi.files import gzip_writer, replacing
from kpcluigi.salesforce.client import Client
from kpcluigi.salesforce.jobs import TERMINAL, change_state, created_at, wait_until_ended
from kpcluigi.salesforce.streams import BrokenOffError, receive, unpacked

LAST_PAGE = "null"
"""The value of Sforce-Locator when there is nothing more."""


@dataclass(frozen=True)
class QueryJobInfo:
    """A query job as Salesforce describes it.

    Attributes:
        id: of 18 characters.
        state: UploadComplete (it waits), InProgress, JobComplete, Failed or Aborted.
        records: found so far.
        message: why the job failed; empty otherwise.
        created_at: in UTC.
        seconds: that the processing took.
    """

    id: str
    state: str
    records: int
    message: str
    object: str = ""
    operation: str = ""
    created_by: str = ""
    created_at: datetime | None = None
    seconds: float = 0.0

    @property
    def ended(self) -> bool:
        return self.state in TERMINAL

    @classmethod
    def of(cls, body: dict[str, Any]) -> QueryJobInfo:
        """A job from its JSON; a list and a PATCH answer with fewer fields than a GET."""
        return cls(
            id=body["id"],
            state=body["state"],
            records=body.get("numberRecordsProcessed", 0),
            message=body.get("errorMessage") or "",
            object=body.get("object", ""),
            operation=body.get("operation", ""),
            created_by=body.get("createdById", ""),
            created_at=created_at(body),
            seconds=body.get("totalProcessingTime", 0) / 1000,
        )


def create_query_job(client: Client, soql: str, *, deleted: bool = False) -> QueryJobInfo:
    """A job that runs a query; it begins by itself.

    Args:
        soql: without GROUP BY, OFFSET, TYPEOF, aggregates such as COUNT() and nested queries,
            which Bulk API 2.0 does not take.
        deleted: find records in the recycle bin too.

    Raises:
        SalesforceError: status 400 where the query is not well-formed.
    """
    response = client.call(
        "POST",
        "/jobs/query",
        json={
            "operation": "queryAll" if deleted else "query",
            "query": soql,
            "contentType": "CSV",
            "columnDelimiter": "COMMA",
            "lineEnding": "LF",
        },
    )
    return QueryJobInfo.of(client.json_of(response))


def query_job_info(client: Client, job_id: str) -> QueryJobInfo:
    """The job's state and count. Raises `SalesforceError` with status 404 when it is gone."""
    return QueryJobInfo.of(client.ask(f"/jobs/query/{job_id}"))


def wait_for_query_job(
    client: Client,
    job_id: str,
    *,
    timeout: float,
    interval: float = 5,
    interval_max: float = 60,
    tell: Callable[[QueryJobInfo], None] = lambda info: None,
) -> QueryJobInfo:
    """Poll as `wait_for_job` does, until the job has ended.

    Raises:
        JobTimeoutError: it has not ended within `timeout` seconds; the job is left alone.
        SalesforceError: Salesforce refuses to say; status 404 when the job is gone.
    """
    return wait_until_ended(
        lambda: query_job_info(client, job_id),
        job_id,
        timeout=timeout,
        interval=interval,
        interval_max=interval_max,
        tell=tell,
    )


def download_query_results(
    client: Client, job_id: str, path: Path, *, page_records: int | None = None
) -> int:
    """All results of a job that is complete, as one gzip CSV with one header; returns their number.

    The pages are streamed; one that breaks off, or has not the records that Salesforce announced
    for it, is fetched again, and `path` appears only when all are there. Values are quoted, lines
    end in LF.

    Args:
        page_records: records in a page at most; Salesforce chooses when None.

    Raises:
        SalesforceError: refused; or a page broke off each time.
    """
    total, locator = 0, ""
    seen: set[str] = set()
    with replacing(path) as file:
        pages = _Pages(file)
        while True:
            params = {"locator": locator} if locator else {}
            if page_records is not None:
                params["maxRecords"] = str(page_records)
            records, locator = receive(
                client, f"/jobs/query/{job_id}/results", pages.add, params=params
            )
            total += records
            if locator == LAST_PAGE:
                return total
            if locator in seen:
                raise SalesforceError(
                    f"GET /jobs/query/{job_id}/results: the page {locator!r} came twice",
                    status=200,
                )
            seen.add(locator)


def abort_query_job(client: Client, job_id: str) -> None:
    """Give up a job that has not ended. Twice is no error.

    Raises:
        SalesforceError: the job has ended (status 400).
    """
    change_state(client, f"/jobs/query/{job_id}", "Aborted")


def delete_query_job(client: Client, job_id: str) -> None:
    """Delete a job that has ended, with its results. One that is gone already is no error."""
    client.call("DELETE", f"/jobs/query/{job_id}", accept=(404,))


class _Pages:
    """Pages written one after another, each as a gzip member of its own.

    A page that breaks off is begun again where it began.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._header: bytes | None = None

    def add(self, response: requests.Response) -> tuple[int, str]:
        """Append a page; returns its number of records and the next page's locator."""
        announced = response.headers.get("Sforce-NumberOfRecords", "")
        locator = response.headers.get("Sforce-Locator", "")
        if not announced.isdigit() or not locator:
            raise SalesforceError(
                "the results of a query job came without Sforce-NumberOfRecords or Sforce-Locator",
                status=response.status_code,
            )
        start = self._file.tell()
        records = _Records(unpacked(response))
        try:
            with gzip_writer(self._file) as packed:
                if self._header is None:
                    packed.write(records.header())
                elif records.header() != self._header:
                    raise BrokenOffError("the page has other columns than the one before")
                for block in records:
                    packed.write(block)
            if records.count != int(announced):
                raise BrokenOffError(
                    f"the page has {records.count:,} records, not the {announced} announced"
                )
        except BaseException:
            self._file.seek(start)
            self._file.truncate()
            raise
        self._header = records.header()
        return records.count, locator


class _Records:
    """The records of a CSV stream, counted on the way; a line break between quotes ends none."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._header: bytes | None = None
        self._rest = b""
        self.count = 0

    def header(self) -> bytes:
        """The first line; no name of a column has a line break."""
        if self._header is None:
            while b"\n" not in self._rest:
                block = next(self._blocks, None)
                if block is None:
                    raise BrokenOffError("the page ends before its header does")
                self._rest += block
            line, _, self._rest = self._rest.partition(b"\n")
            self._header = line + b"\n"
        return self._header

    def __iter__(self) -> Iterator[bytes]:
        """What follows the header."""
        self.header()
        quotes, last = 0, b"\n"
        block: bytes | None = self._rest
        while block is not None:
            if block:
                *lines, rest = block.split(b"\n")
                for line in lines:
                    quotes += line.count(b'"')
                    self.count += quotes % 2 == 0
                quotes += rest.count(b'"')
                last = block[-1:]
                yield block
            block = next(self._blocks, None)
        if last != b"\n":
            self.count += 1
            yield b"\n"
