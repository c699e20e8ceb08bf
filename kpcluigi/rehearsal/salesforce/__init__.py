"""The Salesforce stand-in: an org's REST API and Bulk API 2.0 ingest, on 127.0.0.1.

    schema.py      objects, fields and their DuckDB tables; `create_object`, `insert_rows`
    ids.py         record ids of 15 and 18 characters
    csvfile.py     the strict reading of an uploaded CSV
    field_rules.py what is no value of its field, and the sf__Error it earns
    rows.py        row rules: what becomes of one batch of 10,000 rows
    batches.py     batch after batch of a job, and its result files
    jobs.py        jobs, their states, the daily allocation of batches
    soql.py        the grammar of SOQL; soql_sql.py runs it on DuckDB
    limits.py      API calls, batches and the counters of /limits
    faults.py      what can be made to go wrong, and how to say so
    org.py         the state that all requests share
    records.py     single records by REST, through the same rules
    describe.py    objects and fields in the shape of a describe
    endpoint.py    what every request goes through: token, faults, log, errors
    handlers_*.py  the resources: oauth, rest, ingest, query
    server.py      the process

Start it from a test or a rehearsal with `SalesforceStandIn`; drive it by the methods of `StandIn`.
What is not covered is refused with an error of the stand-in's own (`STANDIN_NOT_COVERED`).
"""

from __future__ import annotations

from pathlib import Path

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
            ],
            secrets={CLIENT_ID_VARIABLE: client_id, CLIENT_SECRET_VARIABLE: client_secret},
        )

    @property
    def url(self) -> str:
        """Where the org is: base of the token endpoint and of /services/data."""
        return f"http://127.0.0.1:{self.port}"
