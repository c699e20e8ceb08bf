"""What every request goes through: faults, token, API allocation, error bodies and the log."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, cast

import tornado.web
from tornado.concurrent import Future
from tornado.http1connection import HTTP1Connection
from tornado.httputil import format_timestamp
from tornado.iostream import StreamClosedError

from kpcluigi.rehearsal.salesforce.faults import STATUS_BODIES, Fault
from kpcluigi.rehearsal.salesforce.jobs import Job
from kpcluigi.rehearsal.salesforce.org import Org
from kpcluigi.rehearsal.salesforce.schema import SObject

NEWEST_VERSION = 66.0
OLDEST_VERSION = 31.0
"""Versions an org of 2026 serves: 21.0 to 30.0 are retired (REST API Developer Guide)."""


class Refusal(Exception):
    """An answer that is an error: HTTP status, errorCode, message and, where given, fields."""

    def __init__(
        self, status: int, code: str, message: str, fields: list[str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.fields = fields

    def body(self) -> list[dict[str, Any]]:
        entry: dict[str, Any] = {"message": self.message, "errorCode": self.code}
        return [entry if self.fields is None else entry | {"fields": self.fields}]


MAX_URI = 16_384
"""Characters of a request's URI (limits cheat sheet, "API Request Limits")."""

JOBS_PAGE = 1000
"""Jobs in one answer of a list (Bulk API 2.0 Developer Guide, "Get All Jobs")."""

PIECE = 256 << 10
"""Bytes of a file that are sent at a time."""

NOT_FOUND = "The requested resource does not exist"


def bad_value(value: object, name: str) -> str:
    """What the Bulk resources say of a value that a property or parameter does not take."""
    return f"Invalid value: '{value}' supplied for property: '{name}'"


def one_of(body: dict[str, Any], name: str, allowed: tuple[str, ...], default: str | None) -> str:
    """A job's property that has one of few values."""
    value = body.get(name, default)
    if value not in allowed:
        raise Refusal(400, "API_ERROR", bad_value("" if value is None else value, name))
    return str(value)


def page_of_jobs(bodies: list[dict[str, Any]], locator: str, path: str) -> dict[str, Any]:
    """One page of a list of jobs."""
    if not locator.isdigit() or int(locator) > len(bodies):
        raise Refusal(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    start = int(locator)
    done = start + JOBS_PAGE >= len(bodies)
    return {
        "done": done,
        "records": bodies[start : start + JOBS_PAGE],
        "nextRecordsUrl": None if done else f"{path}?queryLocator={start + JOBS_PAGE}",
    }


def not_covered(what: str) -> Refusal:
    """The stand-in's own refusal of what an org may well do."""
    return Refusal(501, "STANDIN_NOT_COVERED", f"the stand-in does not cover {what}")


class Endpoint(tornado.web.RequestHandler):
    """Base of all handlers.

    `kind` is the name of the request's kind, for faults and counters; a handler whose methods
    differ overrides `find_kind`.
    """

    kind: ClassVar[str] = "any"
    needs_token: ClassVar[bool] = True
    shows_limits: ClassVar[bool] = True

    org: Org

    def initialize(self, org: Org) -> None:
        self.org = org
        self.received = 0
        self.job: Job | None = None
        self.fault: Fault | None = None
        self.loses_answer = False
        self.is_cut = False

    async def prepare(self) -> None:
        await self.enter()

    async def enter(self) -> None:
        """Everything that comes before the handler's own work.

        Raises:
            Refusal: the request ends here.
        """
        self.job = self._find_job()
        if len(self.request.uri or "") > MAX_URI:
            # What an org's web server says, before anything of Salesforce runs.
            self.set_status(414)
            self.set_header("Content-Type", "text/html")
            self.finish("<h1>Bad Message 414</h1><pre>reason: URI Too Long</pre>")
            return
        self.fault = self.org.faults.take(
            self.find_kind(), self.object_name(), self.request.uri or ""
        )
        fault = self.fault
        if fault is not None:
            await asyncio.sleep(fault.delay)
            if fault.reset and fault.processed:
                self.loses_answer = True
            elif fault.reset and fault.after_bytes is None:  # the handler cuts in the middle
                self.cut()
                return
            elif fault.status:
                if fault.status == 401:
                    self.org.end_session(self._token())
                code, message = STATUS_BODIES[fault.status]
                raise Refusal(fault.status, fault.code or code, fault.message or message)
        if self.needs_token and not self.org.is_session(self._token()):
            code, message = STATUS_BODIES[401]
            raise Refusal(401, code, message)
        if self.needs_token and not self.org.limits.requests.take():
            code, message = STATUS_BODIES[403]
            raise Refusal(403, code, message)
        self._check_version()

    def find_kind(self) -> str:
        """The kind of this very request."""
        return self.kind

    def object_name(self) -> str:
        """The object that the request is about, for faults."""
        if self.job is not None:
            return self.job.object
        named = self.path_kwargs.get("sobject")
        found = self.org.find_object(named) if named else None
        return found.name if found else ""

    def object_after_from(self, text: str) -> str:
        """The object that a query asks, for faults."""
        named = re.search(r"\bFROM\s+(\w+)", text, re.IGNORECASE)
        found = self.org.find_object(named[1]) if named else None
        return found.name if found else ""

    def json_body(self) -> dict[str, Any]:
        """The request's JSON object."""
        return self.json_object(self.request.body)

    def json_object(self, text: bytes) -> dict[str, Any]:
        """A JSON object that came with the request."""
        try:
            body = json.loads(text)
        except ValueError as error:
            raise Refusal(400, "JSON_PARSER_ERROR", f"Unexpected input: {error}") from error
        if not isinstance(body, dict):
            raise Refusal(400, "JSON_PARSER_ERROR", "The request body must be a JSON object")
        return body

    def the_object(self, name: str) -> SObject:
        """The object of the path."""
        sobject = self.org.find_object(name)
        if sobject is None:
            raise Refusal(404, "NOT_FOUND", NOT_FOUND)
        return sobject

    @property
    def version(self) -> float:
        return float(self.path_kwargs["version"])

    @property
    def base(self) -> str:
        """The path of the API version that was asked for."""
        return f"/services/data/v{self.version:.1f}"

    def answer(self, body: Any, status: int = 200) -> None:
        """Send a JSON body."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json;charset=UTF-8")
        self.write(json.dumps(body, ensure_ascii=False, separators=(",", ":")))

    async def send_file(self, path: Path) -> None:
        """Send a file as the body, or that part of it that a fault lets through."""
        fault = self.fault
        left = fault.after_bytes if fault is not None and fault.reset else None
        with path.open("rb") as file:
            while piece := file.read(PIECE if left is None else min(PIECE, left)):
                self.write(piece)
                left = None if left is None else left - len(piece)
                try:
                    await self.flush()
                except StreamClosedError:
                    return
        if left is not None:
            self.cut()

    def cut(self) -> None:
        """Reset the connection; there is no answer. Tornado takes the request as finished."""
        self.is_cut = True
        self._auto_finish = False
        self._finished = True
        stream = cast(HTTP1Connection, self.request.connection).stream
        if not stream.closed():  # the client may have gone first
            # Linger for 0 s: closing sends a reset instead of an orderly end.
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.close()
        self._note(0)

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> Future[None]:
        if self.loses_answer:
            self.cut()
            return _done()
        if self.shows_limits and self.needs_token:
            self.set_header("Sforce-Limit-Info", self.org.limits.header)
        self._note(self.get_status())  # before the client can ask for the log
        return super().finish(chunk)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, Refusal):
            refusal = error
        elif status_code == 405:
            message = f"HTTP Method '{self.request.method}' not allowed"
            refusal = Refusal(405, "METHOD_NOT_ALLOWED", message)
        else:
            refusal = Refusal(status_code, "UNKNOWN_EXCEPTION", f"{self._reason}: {error}")
        self.answer(refusal.body(), refusal.status)
        self.finish()

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """A refusal is an answer; anything else is a defect, and shows on standard error."""
        if not isinstance(value, (Refusal, tornado.web.HTTPError)):
            traceback.print_exception(typ, value, tb, file=sys.stderr)

    def flush(self, include_footers: bool = False) -> Future[None]:
        if not self._headers_written:
            self.set_header("Date", format_timestamp(self.org.clock.now()))
        return super().flush(include_footers)

    def compute_etag(self) -> str | None:
        """An org sends no ETag on data."""
        return None

    def set_default_headers(self) -> None:
        self.clear_header("Server")

    def _token(self) -> str:
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        return token if scheme in ("Bearer", "OAuth") else ""

    def _find_job(self) -> Job | None:
        given = self.path_kwargs.get("job_id")
        return self.org.jobs.find(given) if given else None

    def _check_version(self) -> None:
        if "version" not in self.path_kwargs:
            return
        if not (OLDEST_VERSION <= self.version <= NEWEST_VERSION and self.version % 1 == 0):
            raise Refusal(404, "NOT_FOUND", NOT_FOUND)

    def _note(self, status: int) -> None:
        entry: dict[str, Any] = {
            "method": self.request.method,
            "path": self.request.uri,
            "status": status,
        }
        if self.job is not None:
            entry["job"] = self.job.id
        if self.received or self.request.body:
            entry["bytes"] = self.received or len(self.request.body)
        self.org.note(self.find_kind(), entry)


class Unknown(Endpoint):
    """Every path that no handler has."""

    async def prepare(self) -> None:
        await self.enter()
        if not self.is_cut:
            raise Refusal(404, "NOT_FOUND", NOT_FOUND)


def _done() -> Future[None]:
    future: Future[None] = Future()
    future.set_result(None)
    return future
