"""Bulk API 2.0 ingest: /jobs/ingest and everything below it."""

from __future__ import annotations

import re
import zlib
from typing import Any, BinaryIO

import tornado.web

from kpcluigi.rehearsal.salesforce.batches import RESULTS
from kpcluigi.rehearsal.salesforce.csvfile import DELIMITERS, LINE_ENDINGS
from kpcluigi.rehearsal.salesforce.endpoint import (
    NOT_FOUND,
    PIECE,
    Endpoint,
    Refusal,
    bad_value,
    not_covered,
    one_of,
    page_of_jobs,
)
from kpcluigi.rehearsal.salesforce.jobs import Job
from kpcluigi.rehearsal.salesforce.org import READ_ONLY_OBJECTS, REST_ONLY_OBJECTS

OPERATIONS = ("insert", "update", "upsert", "delete")
MAX_RAW_BYTES = 112_500_000
"""150,000,000 bytes of base64 are 112,500,000 of CSV (Bulk API 2.0 Developer Guide, "Limits":
"150 MB of base64 encoded content"; the guide recommends 100 MB of raw data at most)."""
MAX_MULTIPART = 100_000
"""Characters of the data that come with the job's description in one request (Bulk API 2.0
Developer Guide, "Upload Job Data", multipart)."""
GZIP = ("refused", "accepted", "taken_raw")
"""What becomes of an upload with Content-Encoding: gzip."""
GZIP_BITS = 16 + zlib.MAX_WBITS
"""What tells zlib to expect gzip's header."""
DELETABLE = frozenset({"UploadComplete", "JobComplete", "Aborted", "Failed"})


class IngestEndpoint(Endpoint):
    """Base of the handlers below one job."""

    @property
    def the_job(self) -> Job:
        if self.job is None:
            raise Refusal(404, "NOT_FOUND", NOT_FOUND)
        return self.job


class IngestJobs(Endpoint):
    """POST /jobs/ingest makes a job, GET lists them."""

    def find_kind(self) -> str:
        return "create" if self.request.method == "POST" else "list"

    def object_name(self) -> str:
        if self.request.method != "POST":
            return ""
        found = re.search(rb'"object"\s*:\s*"(\w+)"', self.request.body)
        return found.group(1).decode() if found else ""

    async def post(self, version: str) -> None:
        if not self.request.headers.get("Content-Type", "").startswith("multipart/"):
            job = self.org.jobs.create(*self._description(self.json_body()), float(version))
            self.job = job
            self.answer(job.created_body())
            return
        description, data = self._part("job"), self._part("content")
        if len(data.decode(errors="replace")) > MAX_MULTIPART:
            # Worded by the stand-in: the guide only has the limit.
            message = f"ClientInputError : The data is over {MAX_MULTIPART} characters"
            raise Refusal(400, "CLIENTINPUTERROR", message)
        job = self.org.jobs.create(
            *self._description(self.json_object(description)), float(version)
        )
        self.job = job
        job.data.write_bytes(data)
        self.org.jobs.take_data(job)
        self.org.jobs.close(job)
        self.answer(job.created_body())

    def _part(self, name: str) -> bytes:
        """One part of a multipart request, with or without the name of a file."""
        files = self.request.files.get(name)
        found = [file.body for file in files] if files else self.request.body_arguments.get(name)
        if not found or len(found) != 1:
            message = f"ClientInputError : One part named {name} is expected"
            raise Refusal(400, "CLIENTINPUTERROR", message)
        return found[0]

    async def get(self, version: str) -> None:
        if self.get_query_argument("isPkChunkingEnabled", "false").lower() != "false":
            raise not_covered("isPkChunkingEnabled=true")
        jobs = self.org.jobs.present()
        job_type = self.get_query_argument("jobType", "V2Ingest")
        if job_type in ("Classic", "BigObjectIngest"):
            jobs = []
        elif job_type != "V2Ingest":
            raise Refusal(400, "API_ERROR", bad_value(job_type, "jobType"))
        locator = self.get_query_argument("queryLocator", "0")
        bodies = [job.listed_body() for job in jobs]
        self.answer(page_of_jobs(bodies, locator, f"{self.base}/jobs/ingest"))

    def _description(self, body: dict[str, Any]) -> tuple[str, str, str, str, str]:
        """Operation, object, external id field, line ending and delimiter, all checked."""
        known = {
            "object", "operation", "externalIdFieldName", "contentType", "columnDelimiter",
            "lineEnding", "assignmentRuleId",
        }  # fmt: skip
        for name in body:
            if name not in known:
                message = f'Unrecognized field "{name}" (Class JobInfo), not marked as ignorable'
                raise Refusal(400, "API_ERROR", message)
        operation = one_of(body, "operation", (*OPERATIONS, "hardDelete"), None)
        one_of(body, "contentType", ("CSV",), "CSV")
        line_ending = one_of(body, "lineEnding", tuple(LINE_ENDINGS), "LF")
        delimiter = one_of(body, "columnDelimiter", tuple(DELIMITERS), "COMMA")
        if operation == "hardDelete":
            message = "FeatureNotEnabled : hardDelete is not permitted to the user"
            raise Refusal(400, "FEATURENOTENABLED", message)
        if body.get("assignmentRuleId"):
            raise not_covered("assignmentRuleId")
        name = body.get("object") or ""
        sobject = self.org.objects.get(name) if isinstance(name, str) else None
        if sobject is None or sobject.name in READ_ONLY_OBJECTS:
            raise Refusal(400, "INVALIDJOB", f"InvalidJob : Unable to find object: {name}")
        if sobject.custom_setting or sobject.name in REST_ONLY_OBJECTS:
            # Code and words are recorded of query jobs.
            message = f"Entity '{sobject.name}' is not supported by the Bulk API."
            raise Refusal(400, "INVALIDENTITY", message)
        external_id = body.get("externalIdFieldName") or ""
        if operation == "upsert":
            field = sobject.field(external_id)
            if field is None or not (field.external_id or field.name == "Id"):
                message = (
                    f"InvalidJob : Field name provided, {external_id} does not match an "
                    f"External ID, Salesforce Id, or indexed field for {sobject.name}"
                )
                raise Refusal(400, "INVALIDJOB", message)
        elif external_id:
            message = f"InvalidJob : externalIdFieldName cannot be set for {operation}"
            raise Refusal(400, "INVALIDJOB", message)
        return operation, sobject.name, external_id, line_ending, delimiter


@tornado.web.stream_request_body
class IngestUpload(IngestEndpoint):
    """PUT /jobs/ingest/{id}/batches: the data, once.

    The body goes to the disk as it comes. A refusal is kept back until the body is over, so that
    the client gets to read it.
    """

    kind = "upload"

    async def prepare(self) -> None:
        self.refusal: Refusal | None = None
        self.file: BinaryIO | None = None
        self.inflater: zlib._Decompress | None = None
        self.stored = 0
        # The application's own limit is the one that counts: Tornado's would cut the connection.
        self.request.connection.set_max_body_size(1 << 40)  # type: ignore[union-attr]
        try:
            await self.enter()
            if not self.is_cut and self.request.method == "PUT":
                self._check()
                self.the_job.is_uploading = True
                self.file = self.the_job.data.open("wb")
        except Refusal as refusal:
            self.refusal = refusal

    def _check(self) -> None:
        job = self.the_job
        if job.state == "Open" and (job.is_uploading or job.is_uploaded):
            raise Refusal(
                400,
                "INVALIDJOB",
                f"Found multipe contents for job: <{job.id[:15]}>, please 'Close' / 'Abort' / "
                "'Delete' the current Job then create a new Job and make sure you only do 'PUT' "
                "once on a given Job.",
            )
        if job.state != "Open":
            message = f"InvalidJobState : Job is not open: state is {job.state}"
            raise Refusal(400, "INVALIDJOBSTATE", message)
        _refuse_stale(job)
        encoding = self.request.headers.get("Content-Encoding", "identity").lower()
        if encoding not in ("identity", "gzip"):
            raise not_covered(f"Content-Encoding: {encoding} on the upload")
        job.is_packed = False
        if encoding == "gzip":
            if self.org.settings.gzip == "refused":
                # Status and text are the stand-in's: no record of an org's answer was found.
                message = "Content-Encoding gzip is not supported for the data of a job"
                raise Refusal(415, "UNSUPPORTED_MEDIA_TYPE", message)
            job.is_packed = self.org.settings.gzip == "taken_raw"
            if not job.is_packed:
                self.inflater = zlib.decompressobj(GZIP_BITS)
        content_type = self.request.headers.get("Content-Type", "").split(";")[0].strip()
        if content_type != "text/csv":
            # The words of a ZIP_CSV refusal (forcedotcom/dataloader pull request 1152).
            message = "InvalidJob : The only content type supported is CSV"
            raise Refusal(400, "INVALIDJOB", message)

    def data_received(self, chunk: bytes) -> None:
        self.received += len(chunk)
        fault = self.fault
        if fault is not None and fault.reset and fault.after_bytes is not None:
            if self.received >= fault.after_bytes and not self.is_cut:
                self._give_up()
                self.cut()
            return
        if self.inflater is None:
            self._store(chunk)
            return
        while chunk and self.refusal is None:
            if self.inflater.eof:  # a gzip file may have several members (RFC 1952, 2.2)
                self.inflater = zlib.decompressobj(GZIP_BITS)
            try:
                self._store(self.inflater.decompress(chunk, PIECE))
            except zlib.error as error:
                self._refuse(f"The gzip data cannot be inflated: {error}")
            chunk = self.inflater.unconsumed_tail or self.inflater.unused_data

    def _store(self, piece: bytes) -> None:
        self.stored += len(piece)
        if self.stored > MAX_RAW_BYTES:
            # Status and text are the stand-in's: no record of an org's answer was found.
            self._refuse(f"Data is over 150 MB when base64 encoded ({MAX_RAW_BYTES} bytes of CSV)")
        if self.file is not None:
            self.file.write(piece)

    def _refuse(self, reason: str) -> None:
        if self.refusal is None:
            self.refusal = Refusal(400, "CLIENTINPUTERROR", f"ClientInputError : {reason}")
            self._give_up()

    async def put(self, version: str, job_id: str) -> None:
        if self.inflater is not None:
            self._store(self.inflater.flush())
            if not self.inflater.eof:
                self._refuse("The gzip data is not complete")
        if self.refusal is not None:
            raise self.refusal
        if self.fault is not None and self.fault.after_bytes is not None:
            self._give_up()
            self.cut()
            return
        if self.file is not None:
            self.file.close()
            self.file = None
            self.org.jobs.take_data(self.the_job)
        self.set_status(201)
        self.clear_header("Content-Type")

    def on_connection_close(self) -> None:
        """The client went away in the middle: the job has no data."""
        self._give_up()

    def _give_up(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None
            self.the_job.data.unlink(missing_ok=True)
            self.the_job.is_uploading = False


class IngestJob(IngestEndpoint):
    """GET, PATCH and DELETE of one job."""

    def find_kind(self) -> str:
        method = self.request.method or ""
        if method == "PATCH":
            return "abort" if b"Aborted" in self.request.body else "close"
        return {"GET": "info", "DELETE": "delete"}.get(method, "any")

    async def get(self, version: str, job_id: str) -> None:
        self.answer(self.the_job.info_body())

    async def patch(self, version: str, job_id: str) -> None:
        job = self.the_job
        body = self.json_body()
        state = body.get("state", "")
        if state not in ("UploadComplete", "Aborted") or len(body) != 1:
            raise Refusal(400, "API_ERROR", bad_value(state, "state"))
        if state == "Aborted":
            if job.is_finished:
                message = "Aborting already Completed Job not allowed"
                raise Refusal(400, "INVALIDJOBSTATE", message)
            self.org.jobs.abort(job)
        else:
            if job.state != "Open":
                message = f"InvalidJobState : Job is not open: state is {job.state}"
                raise Refusal(400, "INVALIDJOBSTATE", message)
            _refuse_stale(job)
            if not job.is_uploaded:
                # Worded by the stand-in: no record of an org's answer was found.
                message = f"InvalidJobState : No data was uploaded to job {job.id[:15]}"
                raise Refusal(400, "INVALIDJOBSTATE", message)
            self.org.jobs.close(job)
        self.answer(job.closed_body())

    async def delete(self, version: str, job_id: str) -> None:
        job = self.the_job
        if job.state not in DELETABLE:
            message = f"InvalidJobState : A job in state {job.state} cannot be deleted"
            raise Refusal(400, "INVALIDJOBSTATE", message)
        self.org.jobs.delete(job)
        self.set_status(204)


class IngestResults(IngestEndpoint):
    """GET of the three result files, streamed from the disk."""

    kind = "results"

    async def get(self, version: str, job_id: str, result: str) -> None:
        job = self.the_job
        if not job.is_finished:
            # Worded by the stand-in: the guide only says that results are those of finished jobs.
            message = f"InvalidJobState : Job is not finished: state is {job.state}"
            raise Refusal(400, "INVALIDJOBSTATE", message)
        await job.settled.wait()
        name = next(r for r in RESULTS if r.lower() == result.lower())
        self.set_header("Content-Type", "text/csv")
        await self.send_file(job.folder / name)


def _refuse_stale(job: Job) -> None:
    if job.is_stale:
        # Worded by the stand-in: the limit is documented, an org's answer was not found.
        message = (
            f"InvalidJobState : Job {job.id[:15]} was opened more than 24 hours ago: it takes no "
            "data and cannot be closed"
        )
        raise Refusal(400, "INVALIDJOBSTATE", message)
