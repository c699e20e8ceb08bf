"""The server process: routes, command line, start and stop."""

from __future__ import annotations

import argparse
import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tornado.httpserver
import tornado.netutil
import tornado.web

from kpcluigi.rehearsal.salesforce import CLIENT_ID_VARIABLE, CLIENT_SECRET_VARIABLE
from kpcluigi.rehearsal.salesforce.endpoint import Unknown
from kpcluigi.rehearsal.salesforce.handlers_ingest import (
    GZIP,
    IngestJob,
    IngestJobs,
    IngestResults,
    IngestUpload,
)
from kpcluigi.rehearsal.salesforce.handlers_oauth import Token, UserInfo
from kpcluigi.rehearsal.salesforce.handlers_query import NextRecords, RunQuery
from kpcluigi.rehearsal.salesforce.handlers_query_jobs import (
    BulkQueryJob,
    BulkQueryJobs,
    BulkQueryResults,
)
from kpcluigi.rehearsal.salesforce.handlers_rest import (
    Describe,
    Limits,
    NewRecord,
    Record,
    RecordByExternalId,
    RecordCollection,
    RecordCount,
    Resources,
    SObjects,
    Versions,
)
from kpcluigi.rehearsal.salesforce.org import Org, Settings
from kpcluigi.rehearsal.standin import serve_until_stdin_closes

RESULT = "(?P<result>(?i:successfulResults|failedResults|unprocessedRecords))"


def application(org: Org) -> tornado.web.Application:
    """Every resource that the stand-in has; a trailing slash is optional."""
    shared = {"org": org}
    base = r"/services/data/v(?P<version>\d+\.\d)"
    job = base + r"/jobs/ingest/(?P<job_id>\w+)"
    query_job = base + r"/jobs/query/(?P<query_job_id>\w+)"
    sobject = base + r"/sobjects/(?P<sobject>\w+)"
    routes: list[tuple[str, type[tornado.web.RequestHandler], dict[str, Any]]] = [
        (r"/services/oauth2/token", Token, shared),
        (r"/services/oauth2/userinfo", UserInfo, shared),
        (r"/services/data", Versions, shared),
        (base, Resources, shared),
        (base + r"/limits", Limits, shared),
        (base + r"/limits/recordCount", RecordCount, shared),
        (base + r"/query", RunQuery, shared),
        (base + r"/query/(?P<locator>01g\w{15})-(?P<start>\d+)", NextRecords, shared),
        (base + r"/jobs/ingest", IngestJobs, shared),
        (job, IngestJob, shared),
        (job + r"/batches", IngestUpload, shared),
        (job + "/" + RESULT, IngestResults, shared),
        (base + r"/jobs/query", BulkQueryJobs, shared),
        (query_job, BulkQueryJob, shared),
        (query_job + r"/results", BulkQueryResults, shared),
        (
            base + r"/composite/sobjects/(?P<sobject>\w+)/(?P<field>\w+)",
            RecordCollection,
            shared,
        ),
        (base + r"/sobjects", SObjects, shared),
        (sobject, NewRecord, shared),
        (sobject + r"/describe", Describe, shared),
        (sobject + r"/(?P<record_id>\w+)", Record, shared),
        (sobject + r"/(?P<field>\w+)/(?P<value>[^/]+)", RecordByExternalId, shared),
    ]
    return tornado.web.Application(
        [(pattern + "/?", handler, arguments) for pattern, handler, arguments in routes],
        default_handler_class=Unknown,
        default_handler_args=shared,
        transforms=[FastGzip],
        log_function=lambda handler: None,
    )


class FastGzip(tornado.web.GZipContentEncoding):
    """Compressed answers, as small as a little of the server's time makes them."""

    GZIP_LEVEL = 1


class Server:
    """The event loop in a thread of its own; the main thread has the control port."""

    def __init__(self, org: Org, port: int) -> None:
        self._org = org
        self._port = port
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="salesforce")

    def start(self) -> int:
        """Serve, and return the port."""
        self._thread.start()
        self._started.wait()
        return self._port

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._started.set()
            self._loop.close()

    async def _serve(self) -> None:
        sockets = tornado.netutil.bind_sockets(self._port, "127.0.0.1")
        self._port = sockets[0].getsockname()[1]
        self._org.url = f"http://127.0.0.1:{self._port}"
        server = tornado.httpserver.HTTPServer(application(self._org))
        server.add_sockets(sockets)
        self._started.set()
        await self._stopping.wait()
        server.stop()
        await server.close_all_connections()
        await self._org.close()


def main(argv: Sequence[str] | None = None) -> None:
    """Serve an org until standard input closes."""
    parser = argparse.ArgumentParser(
        prog="python -m kpcluigi.rehearsal.salesforce",
        description="A Salesforce stand-in on 127.0.0.1. It ends when its standard input closes.",
        epilog=f"{CLIENT_ID_VARIABLE} and {CLIENT_SECRET_VARIABLE} have the credentials.",
    )
    parser.add_argument("database", type=Path, help="DuckDB file made with schema.create_object")
    parser.add_argument("--port", type=int, default=0, help="0 for a free one")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds a job takes")
    parser.add_argument("--batch-latency", type=float, default=0.0, help="and each of its batches")
    parser.add_argument("--daily-batches", type=int, default=15_000, help="DailyBulkApiBatches")
    parser.add_argument("--daily-requests", type=int, default=100_000, help="DailyApiRequests")
    parser.add_argument("--daily-query-jobs", type=int, default=10_000, help="DailyBulkV2QueryJobs")
    parser.add_argument("--session-seconds", type=float, default=7200, help="life of a token")
    parser.add_argument("--gzip", choices=GZIP, default=GZIP[0], help="what an upload's gzip meets")
    given = parser.parse_args(argv)
    if not given.database.is_file():
        parser.error(f"{given.database} is not a file: make it with schema.create_object")
    for variable in (CLIENT_ID_VARIABLE, CLIENT_SECRET_VARIABLE):
        if not os.environ.get(variable):
            parser.error(f"the environment variable {variable} is not set")
    settings = Settings(
        client_id=os.environ[CLIENT_ID_VARIABLE],
        client_secret=os.environ[CLIENT_SECRET_VARIABLE],
        latency=given.latency,
        batch_latency=given.batch_latency,
        daily_batches=given.daily_batches,
        daily_requests=given.daily_requests,
        daily_query_jobs=given.daily_query_jobs,
        session_seconds=given.session_seconds,
        gzip=given.gzip,
    )
    org = Org(given.database, settings)
    server = Server(org, given.port)
    actions: dict[str, Callable[..., Any]] = {
        "advance": org.advance,
        "alter": org.alter,
        "automate": org.automate,
        "use_batches": org.use_batches,
        "use_requests": org.use_requests,
    }
    serve_until_stdin_closes(org, server.start(), server.stop, actions)
