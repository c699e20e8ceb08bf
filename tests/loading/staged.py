"""An org of items with two parents, chunks staged for it, and what the two have to agree in."""

from __future__ import annotations

import csv
import gzip
import io
import re
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import polars as pl

from kpcluigi.chunkfile import writing
from kpcluigi.csvframes import header_line
from kpcluigi.errors import SalesforceError
from kpcluigi.markers import ChunkManifest, LoadJournal, LoadResult, RetryResult
from kpcluigi.rehearsal.salesforce import SalesforceStandIn
from kpcluigi.rehearsal.salesforce.schema import Field, SObject, create_object, insert_rows
from kpcluigi.salesforce import Client, job_info, query
from kpcluigi.staging import RunFolder, TableFolder, read_marker, write_marker
from kpcluigi.tables import Table, parse_tables
from kpcluigi.transform import to_csv
from tests.loading.process import Command

TWINS = "twin"
"""An external id that two records of the org have."""
PARENTS = ("N", "S")
"""Codes of the parents that the org has."""
Row = dict[str, str]


def make_org(database: Path) -> None:
    parent = SObject("Parent__c", (Field("Code__c", "string", 40, external_id=True),), "a0P")
    item = SObject(
        "Item__c",
        (
            Field("External_ID__c", "string", 40, external_id=True),
            Field("Note__c", "textarea", 131_072),
            Field("Short__c", "string", 20),
            Field("First__c", "reference", reference_to="Parent__c", relationship="First__r"),
            Field("Second__c", "reference", reference_to="Parent__c", relationship="Second__r"),
        ),
        "a0I",
    )
    with duckdb.connect(str(database)) as connection:
        create_object(connection, parent)
        create_object(connection, item)
        codes = ", ".join(f"('{code}')" for code in PARENTS)
        insert_rows(connection, "Parent__c", f"SELECT * FROM (VALUES {codes}) t(Code__c)")
        twins = f"SELECT '{TWINS}' AS External_ID__c FROM range(2)"
        insert_rows(connection, "Item__c", twins)


def item_table(**options: object) -> Table:
    document = {
        "phase": 1,
        "object": "Item__c",
        "external_id": "External_ID__c",
        "key": ["ID"],
        "partition_column": "D",
        "columns": {
            "ID": {"field": "External_ID__c", "type": "text"},
            "NOTE": {"field": "Note__c", "type": "text"},
            "SHORT": {"field": "Short__c", "type": "text"},
        },
        "lookups": {"ONE": "First__r.Code__c", "TWO": "Second__r.Code__c"},
    }
    return parse_tables({"tables": {"ITEMS": {**document, **options}}})["ITEMS"]


@dataclass
class Items:
    """The items of one test: its chunks on disk, its rows in the org."""

    org: SalesforceStandIn
    client: Client
    database: Path
    run: RunFolder
    prefix: str
    table: Table = field(default_factory=item_table)
    staged: dict[str, Row] = field(default_factory=dict)
    """By external id."""

    @property
    def folder(self) -> TableFolder:
        return self.run.table(self.table.name)

    @property
    def journal(self) -> LoadJournal | None:
        return read_marker(self.folder.load_journal(1), LoadJournal)

    def key(self, i: int) -> str:
        return f"{self.prefix}-{i}"

    def row(self, i: int, **values: str) -> Row:
        row = dict.fromkeys(self.table.fields, "N")
        return row | {"External_ID__c": self.key(i), "Note__c": f"note {i}"} | values

    def rows(self, first: int, after: int) -> list[Row]:
        return [self.row(i) for i in range(first, after)]

    def stage(self, rows: list[Row], *, n: int = 1, per_job: int = 0) -> ChunkManifest:
        """Write a chunk as extraction does, but with a cut behind every `per_job` rows."""
        frame = pl.DataFrame(rows)
        header = header_line(self.table.fields)
        with writing(self.folder.chunk_file(n), header) as writer:
            writer.add(frame)
            written = writer.close()
        cuts, end = [], len(header)
        for first in range(0, len(rows), per_job or len(rows)):
            part = frame[first : first + (per_job or len(rows))]
            end += len(to_csv(part))
            cuts.append((first + part.height, end))
        assert end == written.raw_bytes
        if per_job:  # fewer than a batch, which no mapping may say
            self.table = self.table.model_copy(update={"records_per_job": per_job})
        manifest = ChunkManifest(
            table=self.table.name,
            n=n,
            scn=1,
            fingerprint="f",
            sql="SELECT",
            rows=written.rows,
            rejected=0,
            fitted={},
            raw_bytes=written.raw_bytes,
            file_bytes=written.file_bytes,
            sha256=written.sha256,
            header_bytes=written.header_bytes,
            cuts=cuts,
            seconds=0.1,
        )
        write_marker(self.folder.chunk_manifest(n), manifest)
        self.staged |= {row["External_ID__c"]: row for row in rows}
        return manifest

    def command(self, **options: object) -> Command:
        given = {"url": self.org.url, "run": self.run.path, "table": self.table}
        return Command(**{**given, **options})  # type: ignore[arg-type]

    def in_org(self) -> dict[str, Row]:
        """The rows of this test as the org has them, by external id."""
        names = ", ".join(self.table.fields)
        soql = f"SELECT {names} FROM Item__c WHERE External_ID__c LIKE '{self.prefix}-%'"
        found = [_flat(record, self.table) for record in query(self.client, soql)]
        assert len({row["External_ID__c"] for row in found}) == len(found), "a row is doubled"
        return {row["External_ID__c"]: row for row in found}

    def dead(self) -> dict[str, Row]:
        """The rows of all dead letters, with their error."""
        found = [row for path in self.folder.dead_letters for row in rows_of(path)]
        assert len({row["External_ID__c"] for row in found}) == len(found), "a row is dead twice"
        return {row["External_ID__c"]: row for row in found}

    def require_sound(self, *, attempts: int = 0) -> None:
        """The org and the dead letter are the source; every row counts once; nothing is left."""
        in_org, dead = self.in_org(), self.dead()
        for row in dead.values():
            assert row.pop("sf__Error")
        assert dead.keys().isdisjoint(in_org), "what is dead is not in the org"
        assert {**in_org, **dead} == self.staged
        results = [
            read_marker(self.folder.load_result(n), LoadResult)
            for n in range(1, 1 + len(list(self.folder.path.glob("chunks/*.json"))))
        ]
        arrived = 0
        failed = 0
        for result in results:
            assert result is not None
            parts = result.created, result.updated, result.failed, result.unprocessed
            assert result.extracted == sum(parts) + result.rejected
            arrived += result.created + result.updated
            failed += result.failed + result.unprocessed
        for attempt in range(1, 1 + attempts):
            retry = read_marker(self.folder.retry_result(attempt), RetryResult)
            assert retry is not None
            again = retry.created + retry.updated
            assert retry.rows == again + retry.failed + retry.unprocessed
            arrived += again
            failed -= again
        assert (arrived, failed) == (len(in_org), len(dead))
        self.require_sent_in_turn()
        assert self.org.stats()["open_with_data"] == []
        left = [*self.folder.path.glob("loads/*journal*"), *self.folder.path.glob("*/*.again")]
        assert left == []

    def require_sent_in_turn(self) -> None:
        """No row was sent while a job that had it was in flight.

        A job has its rows from its upload until it is aborted, or until its results are read,
        which Salesforce refuses before its end; or is seen to have failed unread, or to be gone.
        """
        log = self.org.log()
        sent: dict[str, tuple[int, int]] = {}
        for entry in log:
            found = re.search("/(750[^/]*)", entry["path"])
            if found is None:
                continue
            job, n, status = found[1], entry["n"], entry["status"]
            if entry["kind"] == "upload" and status in (0, 201) and self.keys_sent(job):
                sent[job] = (n, len(log))
            elif job in sent and (
                status == 404
                or (status == 200 and entry["kind"] == "results")
                or (status in (200, 400) and entry["kind"] == "abort")  # 400: it has ended before
                or (status == 0 and entry["kind"] == "abort" and self._is_aborted(job))
            ):
                start, end = sent[job]
                sent[job] = (start, min(end, n))
        for job, (start, end) in sent.items():
            if end == len(log) and self._failed_unread(job):
                seen = [e["n"] for e in log if e["kind"] == "info" and job in e["path"]]
                sent[job] = (start, seen[-1])
        keys = {job: self.keys_sent(job) for job in sent}
        jobs = sorted(sent, key=lambda job: sent[job])
        for i, job in enumerate(jobs):
            for later in jobs[i + 1 :]:
                if sent[later][0] < sent[job][1]:
                    assert not keys[job] & keys[later], f"{later} sent what {job} had in flight"

    def _failed_unread(self, job: str) -> bool:
        try:
            info = job_info(self.client, job)
        except SalesforceError:
            return False
        return info.state == "Failed" and info.message.startswith("InvalidBatch")

    def _is_aborted(self, job: str) -> bool:
        """Of an abort whose answer was lost: it had its effect."""
        return job_info(self.client, job).state == "Aborted"

    def keys_sent(self, job: str) -> set[str]:
        """External ids of the data that the org holds of a job."""
        for path in self.database.parent.glob(f"{self.database.stem}-jobs-*/{job}/upload.csv"):
            text = io.StringIO(path.read_bytes().decode(errors="replace"), newline="")
            return {row["External_ID__c"] for row in csv.DictReader(text) if "Note__c" in row}
        return set()


def rows_of(path: Path) -> list[Row]:
    """The rows of a gzip CSV."""
    text = gzip.decompress(path.read_bytes()).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def _flat(record: dict[str, object], table: Table) -> Row:
    row: Row = {}
    for name in table.fields:
        relationship, _, parent_field = name.partition(".")
        value = record[relationship]
        if parent_field and isinstance(value, dict):
            value = value[parent_field]
        row[name] = "#N/A" if value is None else str(value)
    return row
