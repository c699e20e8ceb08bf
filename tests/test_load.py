"""A chunk reaches the org once, whatever happens on the way, and every row has an outcome."""

from __future__ import annotations

import csv
import gzip
import io
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from kpcluigi.chunkfile import writing
from kpcluigi.errors import (
    ChunkChangedError,
    JobFailedError,
    JobTimeoutError,
    SalesforceError,
)
from kpcluigi.load import Compression
from kpcluigi.markers import ChunkManifest, GzipVerdict, LoadJournal, LoadResult, Part
from kpcluigi.rehearsal.salesforce import SalesforceStandIn
from kpcluigi.salesforce import Client, count, delete_job
from kpcluigi.staging import RunFolder, TableFolder, read_marker, write_marker
from kpcluigi.tables import Table, parse_tables
from tests.loading import RULES, OpenGate, load_chunk


@pytest.fixture
def table(request: pytest.FixtureRequest) -> Table:
    document = {
        "tables": {
            "THINGS": {
                "phase": 1,
                "object": "Thing__c",
                "external_id": "External_ID__c",
                "key": ["ID"],
                "partition_column": "D",
                "columns": {
                    "ID": {"field": "External_ID__c", "type": "text"},
                    "NOTE": {"field": "Note__c", "type": "text"},
                },
            }
        }
    }
    return parse_tables(document)["THINGS"]


class Staged:
    """A chunk of one test's own external ids, ready to be loaded as often as it takes."""

    def __init__(self, client: Client, table: Table, run: RunFolder, prefix: str) -> None:
        self.client = client
        self.table = table
        self.run = run
        self.prefix = prefix
        self.folder: TableFolder = run.table(table.name)
        self.job_timeout = 60.0
        self.said: list[str] = []
        self.stages: list[str] = []
        self.gate = OpenGate()
        self.gzip = False

    def write(self, notes: list[str], *, first: int = 0) -> ChunkManifest:
        keys = [f"{self.prefix}-{first + i}" for i in range(len(notes))]
        header = b"External_ID__c,Note__c\n"
        with writing(self.folder.chunk_file(1), header) as writer:
            writer.add(pl.DataFrame({"External_ID__c": keys, "Note__c": notes}))
            written = writer.close()
        self.manifest = ChunkManifest(
            table=self.table.name,
            n=1,
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
            cuts=written.cuts,
            seconds=0.1,
        )
        write_marker(self.folder.chunk_manifest(1), self.manifest)
        return self.manifest

    def load(self) -> LoadResult:
        return load_chunk(
            self.client,
            self.table,
            self.manifest,
            self.run,
            rules=replace(RULES, job_timeout=self.job_timeout),
            compression=Compression(self.run.gzip_verdict, wanted=self.gzip),
            gate=self.gate,
            stage=self.stages.append,
            tell=lambda line, share, job_id: self.said.append(line),
        )

    def in_org(self) -> int:
        return count(self.client, "Thing__c", where=f"External_ID__c LIKE '{self.prefix}-%'")

    @property
    def journal(self) -> LoadJournal | None:
        return read_marker(self.folder.load_journal(1), LoadJournal)


@pytest.fixture
def staged(client: Client, table: Table, tmp_path: Path, request: pytest.FixtureRequest) -> Staged:
    prefix = f"t{abs(hash(request.node.name)) % 10**8}"
    return Staged(client, table, RunFolder(tmp_path), prefix)


def test_rows_arrive_and_are_accounted_for(org: SalesforceStandIn, staged: Staged) -> None:
    staged.write(["a"] * 25_000)
    result = staged.load()
    assert (result.extracted, result.created, result.failed) == (25_000, 25_000, 0)
    assert staged.in_org() == 25_000
    assert org.stats()["jobs"] == 1
    assert staged.journal is None
    job = result.jobs[0].id
    logs = sorted(path.name for path in staged.run.job_logs.iterdir())
    assert logs == [
        f"Thing__c_{job}_{kind}.csv.gz" for kind in ("failed", "successful", "unprocessed")
    ]
    assert any("uploading 25,000 rows" in line for line in staged.said)


def test_a_small_job_cap_gives_several_jobs_one_after_another(
    org: SalesforceStandIn, staged: Staged
) -> None:
    staged.table = staged.table.model_copy(update={"records_per_job": 10_000})
    staged.write(["a"] * 25_000)
    assert [job.rows for job in staged.load().jobs] == [10_000, 10_000, 5_000]
    assert org.stats()["peak_open_jobs"] == 1
    assert staged.in_org() == 25_000


def test_a_second_load_updates(staged: Staged) -> None:
    staged.write(["a"] * 10)
    staged.load()
    staged.write(["b"] * 12)
    result = staged.load()
    assert (result.created, result.updated) == (2, 10)


def test_failed_rows_are_in_the_dead_letter_with_their_reason(staged: Staged) -> None:
    staged.write(["fine", "much too long for this field", "fine"])
    result = staged.load()
    assert (result.created, result.failed) == (2, 1)
    text = gzip.decompress(staged.folder.dead_letter(1).read_bytes()).decode()
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["External_ID__c"] == f"{staged.prefix}-1"
    assert row["Note__c"] == "much too long for this field"
    assert row["sf__Error"].startswith("STRING_TOO_LONG:")


def test_a_changed_file_is_not_sent(org: SalesforceStandIn, staged: Staged) -> None:
    staged.write(["a"] * 10)
    file = staged.folder.chunk_file(1)
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(ChunkChangedError, match="kpcluigi reextract --table THINGS --chunk 1"):
        staged.load()
    assert org.stats()["jobs"] == 0


@pytest.mark.parametrize(
    "fault",
    [
        {"on": "upload", "reset": True},
        {"on": "upload", "reset": True, "after_bytes": 20},
        {"on": "upload", "reset": True, "processed": True},
        {"on": "upload", "status": 503},
    ],
)
def test_a_broken_upload_costs_its_job_and_nothing_else(
    org: SalesforceStandIn, staged: Staged, fault: dict[str, object]
) -> None:
    staged.write(["a"] * 50)
    org.arm(**fault)
    result = staged.load()
    assert result.created == 50
    assert [job.state for job in result.jobs] == ["Aborted", "JobComplete"]
    assert staged.in_org() == 50


@pytest.mark.parametrize(
    "fault",
    [
        {"on": "close", "reset": True, "processed": True},
        {"on": "close", "status": 503},
        {"on": "info", "status": 503, "times": 2},
        {"on": "results", "reset": True, "times": 2},
        {"on": "create", "status": 503, "times": 2},
        {"on": "create", "status": 401},
        {"on": "upload", "status": 401},
    ],
)
def test_a_passing_error_costs_nothing(
    org: SalesforceStandIn, staged: Staged, fault: dict[str, object]
) -> None:
    staged.write(["a"] * 50)
    org.arm(**fault)
    result = staged.load()
    assert (result.created, len(result.jobs)) == (50, 1)
    assert org.stats()["jobs"] == 1


def test_a_job_that_outlasts_its_time_is_left_alone_and_picked_up(
    org: SalesforceStandIn, staged: Staged
) -> None:
    staged.write(["a"] * 50)
    org.arm(on="job", latency=1.5)
    staged.job_timeout = 0.3
    with pytest.raises(JobTimeoutError, match="picks it up"):
        staged.load()
    journal = staged.journal
    assert journal is not None
    assert journal.parts[0].job_id is not None
    staged.job_timeout = 60
    result = staged.load()
    assert [job.id for job in result.jobs] == [journal.parts[0].job_id]
    assert result.created == 50
    assert org.stats()["jobs"] == 1
    assert org.stats()["uploads"] == 1


def test_the_rows_that_a_failed_job_left_are_sent_again(
    org: SalesforceStandIn, staged: Staged
) -> None:
    staged.write(["a"] * 25_000)
    org.arm(on="job", job_state="Failed", after_batches=1, message="TooManyLockFailure : 200")
    result = staged.load()
    assert (result.created, result.updated) == (25_000, 0)
    assert [(job.state, job.rows, job.created) for job in result.jobs] == [
        ("Failed", 25_000, 10_000),
        ("JobComplete", 15_000, 15_000),
    ]
    assert staged.in_org() == 25_000


def test_a_job_that_keeps_failing_stops_the_load_and_loses_nothing(
    org: SalesforceStandIn, staged: Staged
) -> None:
    staged.write(["a"] * 25_000)
    org.arm(on="job", job_state="Failed", after_batches=1, message="TooManyLockFailure : 200")
    org.arm(on="job", times=-1, job_state="Failed", message="TooManyLockFailure : 200")
    with pytest.raises(JobFailedError, match=r"chunk 1.*TooManyLockFailure.*of 15,000 rows"):
        staged.load()
    assert staged.folder.load_result(1).exists() is False
    org.disarm()
    result = staged.load()
    assert (result.created, result.updated) == (25_000, 0)
    assert staged.in_org() == 25_000


def test_a_job_refused_for_its_columns_is_not_sent_again(
    org: SalesforceStandIn, staged: Staged
) -> None:
    staged.write(["a"] * 50)
    org.arm(
        on="job", times=-1, job_state="Failed", message="InvalidBatch : Field name not found : X__c"
    )
    with pytest.raises(JobFailedError, match="Field name not found : X__c"):
        staged.load()
    assert org.stats()["jobs"] == 1


def test_a_job_left_open_by_a_crash_is_aborted_and_sent_anew(
    org: SalesforceStandIn, staged: Staged
) -> None:
    staged.write(["a"] * 50)
    org.arm(on="upload", reset=True, times=-1)
    with pytest.raises(Exception, match="no answer"):
        staged.load()
    org.disarm()
    # as if the process had died between the journal and the upload
    from kpcluigi.salesforce import create_job

    left = create_job(staged.client, "Thing__c", external_id="External_ID__c")
    journal = staged.journal
    assert journal is not None
    part = journal.parts[0].model_copy(update={"job_id": left.id})
    write_marker(staged.folder.load_journal(1), journal.model_copy(update={"parts": [part]}))
    result = staged.load()
    assert (left.id, "Aborted") in [(job.id, job.state) for job in result.jobs]
    assert staged.in_org() == 50
    assert org.stats()["open_jobs"] == 0


def test_a_job_that_salesforce_no_longer_knows_is_sent_anew(staged: Staged) -> None:
    staged.write(["a"] * 50)
    staged.load()
    staged.folder.load_result(1).unlink()
    journal = LoadJournal.model_validate(
        {
            "table": "THINGS",
            "n": 1,
            "chunk_sha256": staged.manifest.sha256,
            "parts": [
                {
                    "rows": 50,
                    "start": staged.manifest.header_bytes,
                    "end": staged.manifest.raw_bytes,
                    "job_id": "750000000000000AAA",
                }
            ],
        }
    )
    write_marker(staged.folder.load_journal(1), journal)
    result = staged.load()
    assert [job.state for job in result.jobs] == ["Gone", "JobComplete"]
    assert result.updated == 50


def test_a_chunk_extracted_anew_waits_for_the_job_of_the_old_one(
    org: SalesforceStandIn, staged: Staged
) -> None:
    staged.write(["old"] * 50)
    org.arm(on="job", latency=1.0)
    staged.job_timeout = 0.2
    with pytest.raises(JobTimeoutError):
        staged.load()
    staged.job_timeout = 60
    staged.write(["new"] * 50)
    result = staged.load()
    assert result.updated == 50, "the old job ended before the new one began"
    new = f"External_ID__c LIKE '{staged.prefix}-%' AND Note__c = 'new'"
    assert count(staged.client, "Thing__c", where=new) == 50


def test_caps_that_are_lowered_hold_for_what_is_not_sent_yet(
    org: SalesforceStandIn, staged: Staged
) -> None:
    staged.write(["a"] * 35_000)
    org.arm(on="create", status=503, times=-1)
    with pytest.raises(SalesforceError):
        staged.load()
    org.disarm()
    staged.table = staged.table.model_copy(update={"records_per_job": 10_000})
    result = staged.load()
    assert sorted(job.rows for job in result.jobs) == [5_000, 10_000, 10_000, 10_000]
    assert staged.in_org() == 35_000


def test_results_that_were_fetched_settle_a_job_that_is_gone(
    org: SalesforceStandIn, staged: Staged
) -> None:
    staged.write(["a"] * 50)
    result = staged.load()
    (job,) = result.jobs
    delete_job(staged.client, job.id)
    staged.folder.load_result(1).unlink()
    part = Part(
        rows=50,
        start=staged.manifest.header_bytes,
        end=staged.manifest.raw_bytes,
        job_id=job.id,
        uploaded=True,
    )
    journal = LoadJournal(table="THINGS", n=1, chunk_sha256=staged.manifest.sha256, parts=[part])
    write_marker(staged.folder.load_journal(1), journal)
    again = staged.load()
    assert (again.created, again.updated) == (50, 0)
    assert org.stats()["uploads"] == 1


def test_an_org_that_takes_gzip_no_more_gets_it_plain(
    org: SalesforceStandIn, staged: Staged
) -> None:
    """The stand-in never did; the marker says that it once was understood."""
    staged.gzip = True
    verdict = GzipVerdict(accepted=True, job_id="750", reason="")
    write_marker(staged.run.gzip_verdict, verdict)
    staged.write(["a"] * 50)
    result = staged.load()
    assert [(job.state, job.created) for job in result.jobs] == [
        ("Aborted", 0),
        ("JobComplete", 50),
    ]
    found = read_marker(staged.run.gzip_verdict, GzipVerdict)
    assert found is not None
    assert not found.accepted


@pytest.mark.parametrize("on", ["create", "close"])
def test_an_allocation_refused_over_http_holds_the_gate(
    org: SalesforceStandIn, staged: Staged, on: str
) -> None:
    staged.write(["a"] * 50)
    org.arm(
        on=on,
        status=403,
        code="EXCEEDEDQUOTA",
        message="ExceededQuota : ApiBatchItems Limit exceeded",
    )
    result = staged.load()
    assert result.created == 50
    assert len(staged.gate.exceeded) == 1
    assert staged.in_org() == 50
