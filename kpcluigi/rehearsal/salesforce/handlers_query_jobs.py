"""Bulk API 2.0 query jobs: /jobs/query and everything below it."""

from __future__ import annotations

from typing import Any

from kpcluigi.rehearsal.salesforce.csvfile import DELIMITERS, LINE_ENDINGS
from kpcluigi.rehearsal.salesforce.endpoint import (
    NOT_FOUND,
    Endpoint,
    Refusal,
    bad_value,
    not_covered,
    one_of,
    page_of_jobs,
)
from kpcluigi.rehearsal.salesforce.org import REST_ONLY_OBJECTS
from kpcluigi.rehearsal.salesforce.query_jobs import PAGE, QueryJob, from_locator, locator
from kpcluigi.rehearsal.salesforce.soql import Query, SoqlError, parse
from kpcluigi.rehearsal.salesforce.soql_sql import compile_query

KNOWN = frozenset({"operation", "query", "contentType", "columnDelimiter", "lineEnding"})
DELETABLE = frozenset({"UploadComplete", "JobComplete", "Aborted", "Failed"})


class QueryJobEndpoint(Endpoint):
    """Base of the handlers below one query job."""

    kind = "query_job"

    @property
    def the_query_job(self) -> QueryJob:
        job = self.org.query_jobs.find(self.path_kwargs["query_job_id"])
        if job is None:
            raise Refusal(404, "NOT_FOUND", NOT_FOUND)
        return job

    def object_name(self) -> str:
        job = self.org.query_jobs.find(self.path_kwargs["query_job_id"])
        return job.object if job else ""


class BulkQueryJobs(Endpoint):
    """POST /jobs/query makes a job, GET lists them."""

    kind = "query_job"

    def object_name(self) -> str:
        return self.object_after_from(self.request.body.decode(errors="replace"))

    async def post(self, version: str) -> None:
        body = self.json_body()
        for name in body:
            if name not in KNOWN:
                message = f'Unrecognized field "{name}" (Class QueryJobInfo), not marked as '
                raise Refusal(400, "API_ERROR", message + "ignorable")
        operation = one_of(body, "operation", ("query", "queryAll"), None)
        one_of(body, "contentType", ("CSV",), "CSV")
        line_ending = one_of(body, "lineEnding", tuple(LINE_ENDINGS), "LF")
        delimiter = one_of(body, "columnDelimiter", tuple(DELIMITERS), "COMMA")
        if operation == "queryAll":
            raise not_covered("queryAll: nothing deleted is kept")
        text = body.get("query")
        if not isinstance(text, str) or not text.strip():
            raise Refusal(400, "API_ERROR", bad_value("", "query"))
        try:
            query = parse(text)
            _refuse_what_bulk_does_not_query(query)
            statement = compile_query(query, self.org.objects)
        except SoqlError as error:
            raise Refusal(400, error.code, str(error)) from error
        if statement.sobject.name in REST_ONLY_OBJECTS or statement.sobject.custom_setting:
            # Recorded of other objects that Bulk has no access to.
            message = f"Entity '{statement.sobject.name}' is not supported by the Bulk API."
            raise Refusal(400, "INVALIDENTITY", message)
        allocation = self.org.limits.query_jobs
        if not allocation.take():
            message = f"Max bulk v2 query jobs ({allocation.most}) per 24 hrs has been reached "
            raise Refusal(400, "LIMIT_EXCEEDED", f"{message}({allocation.used + 1})")
        job = self.org.query_jobs.create(
            operation, statement, line_ending, delimiter, float(version)
        )
        self.answer(job.created_body())

    async def get(self, version: str) -> None:
        job_type = self.get_query_argument("jobType", "V2Query")
        if job_type not in ("V2Query", "Classic"):
            raise Refusal(400, "API_ERROR", bad_value(job_type, "jobType"))
        bodies = [job.listed_body() for job in self.org.query_jobs.present()]
        self.answer(
            page_of_jobs(
                bodies if job_type == "V2Query" else [],
                self.get_query_argument("queryLocator", "0"),
                f"{self.base}/jobs/query",
            )
        )


class BulkQueryJob(QueryJobEndpoint):
    """GET, PATCH (abort) and DELETE of one query job."""

    async def get(self, version: str, query_job_id: str) -> None:
        self.answer(self.the_query_job.info_body())

    async def patch(self, version: str, query_job_id: str) -> None:
        job = self.the_query_job
        body: dict[str, Any] = self.json_body()
        if body != {"state": "Aborted"}:
            raise Refusal(400, "API_ERROR", bad_value(body.get("state", ""), "state"))
        if job.is_finished:
            message = "Aborting already Completed Job not allowed"
            raise Refusal(400, "INVALIDJOBSTATE", message)
        job.enter("Aborted")
        self.answer(job.created_body())

    async def delete(self, version: str, query_job_id: str) -> None:
        job = self.the_query_job
        if job.state not in DELETABLE:
            message = f"InvalidJobState : A job in state {job.state} cannot be deleted"
            raise Refusal(400, "INVALIDJOBSTATE", message)
        self.org.query_jobs.delete(job)
        self.set_status(204)


class BulkQueryResults(QueryJobEndpoint):
    """GET of a page of the rows."""

    kind = "query_results"

    async def get(self, version: str, query_job_id: str) -> None:
        job = self.the_query_job
        if job.state != "JobComplete":
            # Worded by the stand-in: the guide only says that results are those of finished jobs.
            message = f"InvalidJobState : Job has no results: state is {job.state}"
            raise Refusal(400, "INVALIDJOBSTATE", message)
        most = self.get_query_argument("maxRecords", str(PAGE))
        if not most.isdigit() or not int(most):
            raise Refusal(400, "API_ERROR", bad_value(most, "maxRecords"))
        given = self.get_query_argument("locator", "")
        start = from_locator(job, given) if given else 0
        if start is None:
            raise Refusal(400, "API_ERROR", bad_value(given, "locator"))
        path, rows = await self.org.query_jobs.page(job, start, int(most))
        after = start + rows
        self.set_header("Content-Type", "text/csv")
        self.set_header("Sforce-NumberOfRecords", str(rows))
        self.set_header("Sforce-Locator", locator(job, after) if after < job.rows else "null")
        try:
            await self.send_file(path)
        finally:
            path.unlink()


def _refuse_what_bulk_does_not_query(query: Query) -> None:
    """Bulk API 2.0 Developer Guide, "Create a Query Job": what queries must not have."""
    if query.is_aggregate or query.is_count:
        # Recorded by Data Loader's tests.
        message = "Aggregate Relationships not supported in Bulk Query"
        raise Refusal(400, "API_ERROR", message)
    if query.offset:
        # Worded by the stand-in.
        raise Refusal(400, "API_ERROR", "OFFSET not supported in Bulk Query")
