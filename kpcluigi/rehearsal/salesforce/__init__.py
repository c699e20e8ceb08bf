"""The Salesforce stand-in: an org's REST API and Bulk API 2.0 ingest, on 127.0.0.1.

    schema.py      objects, fields and their DuckDB tables; `create_object`, `insert_rows`
    ids.py         record ids of 15 and 18 characters
    clock.py       the org's clock, which a test can move on
    csvfile.py     the strict reading of an uploaded CSV
    field_rules.py what is no value of its field, and the sf__Error it earns
    rows.py        row rules: what becomes of one batch of 10,000 rows
    batches.py     batch after batch of a job, and its result files
    jobs.py        jobs, their states, the daily allocation of batches
    query_jobs.py  query jobs, their states and the pages of their results
    csvlines.py    those pages' lines
    soql.py        the grammar of SOQL; soql_sql.py runs it on DuckDB
    plans.py       the indexes that a query takes, and what it has to read
    limits.py      what is used of the rolling 24 hours: API calls, batches, query jobs
    automations.py what rejects rows or slows batches unless it is bypassed
    faults.py      what can be made to go wrong, and how to say so
    org.py         the state that all requests share
    records.py     single records by REST, through the same rules
    describe.py    objects and fields in the shape of a describe
    endpoint.py    what every request goes through: token, faults, log, errors
    handlers_*.py  the resources: oauth, rest, ingest, query, query_jobs
    server.py      the process

Start it from a test or a rehearsal with `SalesforceStandIn`; drive it by the methods of `StandIn`.
What is not covered is refused with an error of the stand-in's own (`STANDIN_NOT_COVERED`).
"""

from __future__ import annotations

import json
import urllib.error
from pathlib import Path
from typing import Any, Literal

from kpcluigi.rehearsal.standin import StandIn

CLIENT_ID_VARIABLE = "KPCLUIGI_STANDIN_CLIENT_ID"
CLIENT_SECRET_VARIABLE = "KPCLUIGI_STANDIN_CLIENT_SECRET"


class SalesforceStandIn(StandIn):
    """A running org. Use it as a context manager, or call `stop()`.

    Args:
        database: a DuckDB file prepared with `schema.create_object` and `schema.insert_rows`.
            The server has it for itself until it stops.
        client_id, client_secret: what the token endpoint accepts; passed by the environment.
        port: 0 for a free one.
        latency: seconds that a job spends between its closing and its final state.
        batch_latency: seconds more for each batch of 10,000 rows.
        daily_batches: allocation of Bulk API batches (`DailyBulkApiBatches`).
        daily_requests: allocation of API calls (`DailyApiRequests`).
        daily_query_jobs: allocation of Bulk API query jobs (`DailyBulkV2QueryJobs`).
        session_seconds: life of an access token.
        gzip: what an upload with Content-Encoding: gzip meets, since no record of an org's answer
            was found: "refused" (415), "accepted" (inflated; the size cap is on what comes out), or
            "taken_raw" (the compressed bytes are the CSV, and the job fails).
    """

    def __init__(
        self,
        database: Path,
        *,
        client_id: str,
        client_secret: str,
        port: int = 0,
        latency: float = 0.0,
        batch_latency: float = 0.0,
        daily_batches: int = 15_000,
        daily_requests: int = 100_000,
        daily_query_jobs: int = 10_000,
        session_seconds: float = 7200.0,
        gzip: Literal["refused", "accepted", "taken_raw"] = "refused",
    ) -> None:
        super().__init__(
            "kpcluigi.rehearsal.salesforce",
            [
                str(database),
                f"--port={port}",
                f"--latency={latency}",
                f"--batch-latency={batch_latency}",
                f"--daily-batches={daily_batches}",
                f"--daily-requests={daily_requests}",
                f"--daily-query-jobs={daily_query_jobs}",
                f"--session-seconds={session_seconds}",
                f"--gzip={gzip}",
            ],
            secrets={CLIENT_ID_VARIABLE: client_id, CLIENT_SECRET_VARIABLE: client_secret},
        )

    @property
    def url(self) -> str:
        """Where the org is: base of the token endpoint and of /services/data."""
        return f"http://127.0.0.1:{self.port}"

    def advance(self, seconds: float) -> None:
        """Move the org's clock on: allocations roll, jobs and tokens age."""
        self._call("POST", "/advance", {"seconds": seconds})

    def alter(self, sql: str) -> int:
        """Change records behind the org's back, by one UPDATE, INSERT or DELETE of DuckDB's SQL.

        It is nobody's action: no automation sees it, SystemModstamp stays, the log has no entry.
        Tables and columns are named like objects and fields; numbers, dates and UTC timestamps are
        stored as the module `schema` says, an empty text as NULL.

        A record that is inserted needs Id ('a01…', 18 characters: `ids.make_id(key_prefix, n)`
        with an n that the org will not reach), OwnerId, CreatedById and LastModifiedById
        (`schema.USER_ID`), IsDeleted and every other checkbox (false, not NULL), CreatedDate,
        LastModifiedDate and SystemModstamp, and Name.

        Returns:
            How many rows were changed.
        Raises:
            ValueError: it is no such statement, or DuckDB refuses it.
        """
        try:
            answer: dict[str, int] = self._call("POST", "/alter", {"sql": sql})
        except urllib.error.HTTPError as refused:
            with refused:
                raise ValueError(json.load(refused)["error"]) from refused
        return answer["changed"]

    def use_batches(self, number: int) -> int:
        """Let another user of the org take Bulk API batches now, at most those that are left; a
        negative number gives back.

        Returns:
            How many were taken, below zero what was given back.
        """
        answer: dict[str, int] = self._call("POST", "/use_batches", {"number": number})
        return answer["used"]

    def use_requests(self, number: int) -> int:
        """The same for API calls."""
        answer: dict[str, int] = self._call("POST", "/use_requests", {"number": number})
        return answer["used"]

    def automate(self, **automation: Any) -> None:
        """Give an object an automation, or take it away.

        Args:
            object: the object's name.
            error: sf__Error of the rows it rejects; "" (as when not given) rejects none.
            match: rejects only rows in whose external id this regular expression is found.
            seconds_per_batch: makes each batch longer by so much.
            setting, permission_set: what bypasses it; see the module `automations`. Without
                either: KPC_Automation__c.Bypass_All__c (where the org has it) and KPC_Data_Load,
                whichever is on.
            remove: true takes the object's automation away.
        """
        self._call("POST", "/automate", automation)
