"""A table of sales in Oracle, staged and in the org, as a finished load leaves it.

The rows are extracted by the real driver from the stand-in, chunk by chunk; the org is filled with
what the chunk files hold, instead of by Bulk jobs, which tests/loading are about.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb

from kpcluigi.extract import extract_chunk
from kpcluigi.load import standing
from kpcluigi.markers import ChunkManifest, JobOutcome, LoadResult, Plan, Reconciled, SourceTotals
from kpcluigi.oracle import Window, connect, describe_source, plan_chunks, read_totals
from kpcluigi.oracle.strata import stratum_by_chunk
from kpcluigi.reconcile import Ends, QueryRules, reconcile_table
from kpcluigi.rehearsal.oracle import OracleStandIn
from kpcluigi.rehearsal.oracle.catalog import Column, create_table
from kpcluigi.rehearsal.oracle.catalog import Table as OracleTable
from kpcluigi.rehearsal.salesforce import SalesforceStandIn
from kpcluigi.rehearsal.salesforce.schema import Field, SObject, create_object, insert_rows
from kpcluigi.salesforce import Client, ClientCredentials
from kpcluigi.staging import RunFolder, TableFolder, read_marker, write_marker
from kpcluigi.tables import Table, parse_tables

USER, PASSWORD = "TMS", "test-password"
CLIENT_ID, CLIENT_SECRET = "test-client", "test-secret"
DAYS = 40
WINDOW = Window(date(2024, 1, 1), date(2024, 2, 9))
TENANTS = 50

SALES = OracleTable(
    USER,
    "SALES",
    (
        Column("SALES_ID", "NUMBER(20)", nullable=False),
        Column("AMOUNT", "NUMBER(14,2)"),
        Column("WEIGHT", "NUMBER"),
        Column("SALES_DATE", "DATE"),
        Column("SOLD_AT", "DATE"),
        Column("CARD_NO", "VARCHAR2(30)"),
        Column("NOTE", "VARCHAR2(40 CHAR)"),
        Column("VOID", "CHAR(1)"),
        Column("TENANT_CODE", "CHAR(8)"),
        Column("CREATED_DATE", "DATE", nullable=False),
    ),
)
MAPPING = {
    "phase": 1,
    "object": "Sale__c",
    "external_id": "External_ID__c",
    "key": ["SALES_ID"],
    "partition_column": "CREATED_DATE",
    "chunk_size": 50_000,
    "source_zone": "Asia/Bangkok",
    "columns": {
        "SALES_ID": {"field": "External_ID__c", "type": "text", "length": 20},
        "AMOUNT": {"field": "Amount__c", "type": "decimal", "scale": 2},
        "WEIGHT": {"field": "Weight__c", "type": "decimal", "scale": 3},
        "SALES_DATE": {"field": "Sales_Date__c", "type": "date"},
        "SOLD_AT": {"field": "Sold_At__c", "type": "datetime"},
        "CARD_NO": {"field": "Card_No__c", "type": "text", "length": 30},
        "NOTE": {"field": "Note__c", "type": "text", "length": 40},
        "VOID": {"field": "Void__c", "type": "boolean"},
        "CREATED_DATE": {"field": "Created__c", "type": "datetime"},
    },
    "lookups": {"TENANT_CODE": "Tenant__r.Code__c"},
}
TENANT = SObject(
    "Tenant__c", (Field("Code__c", "string", 8, external_id=True, unique=True),), "a0P"
)
SALE = SObject(
    "Sale__c",
    (
        Field("External_ID__c", "string", 20, external_id=True, unique=True),
        Field("Amount__c", "double", precision=14, scale=2),
        Field("Weight__c", "double", precision=12, scale=3),
        Field("Sales_Date__c", "date"),
        Field("Sold_At__c", "datetime"),
        Field("Card_No__c", "string", 30),
        Field("Note__c", "string", 40),
        Field("Void__c", "boolean"),
        Field("Created__c", "datetime", indexed=True),
        Field("Tenant__c", "reference", reference_to="Tenant__c", relationship="Tenant__r"),
    ),
    "a0S",
)


def row_sql(rows: int) -> str:
    """The rows of Oracle's table, made of their number."""
    return f"""
        SELECT 8000000000 + i, CASE WHEN i % 97 <> 0 THEN (i * 7919 % 1000000)::DECIMAL(18,2) / 100
            - 300 END,
            ((i * 31 % 50000) / 1000)::DECIMAL(18,3) || CASE WHEN i % 5 = 0 THEN '4' ELSE '' END,
            CASE WHEN i % 11 <> 0 THEN DATE '2024-01-01' + (i % {DAYS})::INTEGER END,
            CASE WHEN i % 13 <> 0 THEN TIMESTAMP '2024-01-01' + to_days((i % {DAYS})::INTEGER)
                + to_seconds(i * 61 % 86400) END,
            '4' || lpad((i * 104729)::VARCHAR, 29, '0'),
            CASE WHEN i % 7 = 0 THEN NULL WHEN i % 3 = 0 THEN 'ร้านค้า ' || i
                ELSE 'note, "' || i || '"' END,
            CASE WHEN i % 50 = 0 THEN 'Y' ELSE 'N' END,
            CASE WHEN i % 17 = 0 THEN NULL ELSE rpad('T' || (i % {TENANTS}), 8, ' ') END,
            TIMESTAMP '2024-01-01' + to_days((i % {DAYS})::INTEGER) + to_seconds(i * 37 % 86400)
        FROM range({rows}) r(i)"""


@dataclass
class Bed:
    """A loaded table, and both ends of it."""

    rows: int
    org: SalesforceStandIn
    client: Client
    folder: TableFolder
    table: Table
    plan: Plan
    totals: SourceTotals
    files_gone: set[int] = field(default_factory=set)

    def ends(self, *, full: bool = False, **changes: Any) -> Ends:
        """What a reconciliation of it is given."""
        given = Ends(
            client=self.client,
            table=self.table,
            window=WINDOW,
            plan=self.plan,
            totals=self.totals,
            loads=standing(self.folder, self.plan),
            folder=self.folder,
            file_of=lambda n: None if n in self.files_gone else self.folder.chunk_file(n),
            rules=QueryRules(poll_interval=0.02, poll_interval_max=0.2, job_timeout=120),
            full=full,
            tell=lambda line, share: None,
        )
        return replace(given, **changes)

    def reconcile(self, *, full: bool = False, **changes: Any) -> Reconciled:
        return reconcile_table(self.ends(full=full, **changes))

    @contextmanager
    def planted(self, sql: str, *keys: str) -> Iterator[None]:
        """A difference that no API call made, so that it is not later than the load.

        Args:
            keys: the records that it changes, adds or removes; they are put back afterwards.
        """
        assert self.org.alter(sql) == len(keys), sql
        try:
            yield
        finally:
            self.put_back(*keys)

    def put_back(self, *keys: str) -> None:
        """These records are as they were loaded."""
        which = f"External_ID__c IN ({', '.join(repr(key) for key in keys)})"
        self.org.alter(f"DELETE FROM Sale__c WHERE {which}")
        self.org.alter(f"INSERT INTO Sale__c SELECT * FROM before WHERE {which}")

    def key(self, i: int) -> str:
        """External id of row i."""
        return str(8_000_000_000 + i)


@contextmanager
def loaded(folder: Path, rows: int, *, sample_rows: int = 1000) -> Iterator[Bed]:
    """Everything from Oracle's table to the load markers, and a client of the org."""
    begun = datetime.now(UTC)
    mapping = parse_tables({"tables": {"SALES": MAPPING}})["SALES"]
    run = RunFolder(folder / "full_2024-01-01_2024-02-09")
    source_file = folder / "oracle.duckdb"
    with duckdb.connect(str(source_file)) as con:
        create_table(con, SALES)
        columns = ", ".join(column.name for column in SALES.columns)
        con.execute(f'INSERT INTO "{USER}"."SALES" ({columns}) {row_sql(rows)}')
    plan, totals = _extract(source_file, run.table("SALES"), mapping, sample_rows)
    org_file = folder / "org.duckdb"
    _fill(org_file, run.table("SALES"))
    _mark_loaded(run.table("SALES"), mapping, plan, begun)
    with (
        SalesforceStandIn(org_file, client_id=CLIENT_ID, client_secret=CLIENT_SECRET) as org,
        Client(
            org.url,
            credentials=ClientCredentials(CLIENT_ID, CLIENT_SECRET),
            retry_delay=0.01,
            timeout=60,
        ) as client,
    ):
        yield Bed(rows, org, client, run.table("SALES"), mapping, plan, totals)


def _extract(
    database: Path, folder: TableFolder, mapping: Table, sample_rows: int
) -> tuple[Plan, SourceTotals]:
    with (
        OracleStandIn(database, user=USER, password=PASSWORD) as oracle,
        connect(dsn=oracle.dsn, user=USER, password=PASSWORD, module="test") as connection,
    ):
        source = describe_source(connection, owner=USER, table=mapping, window=WINDOW)
        plan = plan_chunks(connection, source, fingerprint="f")
        write_marker(folder.plan, plan)
        for chunk in plan.chunks:
            extract_chunk(
                connection,
                source,
                plan,
                chunk,
                folder,
                min_free_bytes=0,
                tell=lambda rows: None,
            )
        totals = read_totals(
            connection,
            source,
            scn=plan.scn,
            rows=plan.rows,
            sample_rows=sample_rows,
            strata=len(plan.chunks),
            stratum_of=stratum_by_chunk(plan),
        )
    write_marker(folder.source_totals, totals)
    return plan, totals


def _fill(database: Path, folder: TableFolder) -> None:
    """The org has what the chunk files hold."""
    with duckdb.connect(str(database)) as con:
        create_object(con, TENANT)
        create_object(con, SALE)
        insert_rows(con, "Tenant__c", f"SELECT 'T' || i AS Code__c FROM range({TENANTS}) r(i)")
        fields = [f"{f.name}: 'VARCHAR'" for f in SALE.fields if f.name != "Tenant__c"]
        read = (
            f"read_csv('{folder.path}/chunks/*.csv.gz', nullstr='#N/A', "
            f"columns={{{', '.join(fields)}, Tenant: 'VARCHAR'}}, header=true)"
        )
        own = ", ".join(f"s.{f.name}" for f in SALE.fields if f.name != "Tenant__c")
        rows = (
            f"SELECT {own}, t.Id AS Tenant__c FROM {read} s LEFT JOIN Tenant__c t "
            f"ON t.Code__c = s.Tenant"
        )
        insert_rows(con, "Sale__c", rows)
        con.execute("CREATE TABLE before AS FROM Sale__c")


def _mark_loaded(folder: TableFolder, mapping: Table, plan: Plan, begun: datetime) -> None:
    for chunk in plan.chunks:
        manifest = read_marker(folder.chunk_manifest(chunk.n), ChunkManifest)
        assert manifest is not None
        now = datetime.now(UTC)
        job = JobOutcome(
            id=f"750{chunk.n:015d}",
            state="JobComplete",
            rows=manifest.rows,
            created=manifest.rows,
            sent_at=begun,
            ended_at=now,
            batches=-(-manifest.rows // 10_000),
        )
        result = LoadResult(
            table=mapping.name,
            n=chunk.n,
            object=mapping.object,
            chunk_sha256=manifest.sha256,
            extracted=manifest.rows + manifest.rejected,
            created=manifest.rows,
            updated=0,
            failed=0,
            unprocessed=0,
            rejected=manifest.rejected,
            changed_to_fit=manifest.changed_to_fit,
            jobs=[job],
            seconds=1,
        )
        write_marker(folder.load_result(chunk.n), result)
