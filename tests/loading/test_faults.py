"""Every fault alone: the load comes to its end, loses nothing and doubles nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kpcluigi.errors import JobFailedError
from kpcluigi.load import Compression
from kpcluigi.markers import ChunkManifest, GzipVerdict, LoadResult
from kpcluigi.quota import Admission
from kpcluigi.rehearsal.salesforce import SalesforceStandIn
from kpcluigi.rehearsal.salesforce.faults import STATUS_BODIES
from kpcluigi.salesforce import Client, ClientCredentials, abort_job, allocation_of, delete_job
from kpcluigi.staging import RunFolder, read_marker
from tests.conftest import CLIENT_ID, CLIENT_SECRET
from tests.loading import RULES, OpenGate, load_chunk
from tests.loading.staged import Items, make_org

LOCKED = "UNABLE_TO_LOCK_ROW:unable to obtain exclusive access to this record:--"


def load(items: Items, manifest: ChunkManifest, **options: Any) -> LoadResult:
    client = options.pop("client", items.client)
    return load_chunk(client, items.table, manifest, items.run, **options)


REQUESTS = ("create", "upload", "close", "info", "results", "token", "limits")
LOST = ({"reset": True}, {"reset": True, "processed": True})
REFUSED = tuple({"status": status} for status in STATUS_BODIES)


@pytest.mark.parametrize("fault", [*REFUSED, *LOST], ids=str)
def test_a_fault_on_every_kind_of_request(items: Items, fault: dict[str, Any]) -> None:
    manifest = items.stage(items.rows(0, 4), per_job=2)
    for on in REQUESTS:
        if on != "token" or fault.get("status") not in (401, 403):
            items.org.arm(on=on, **fault)
    gate = Admission(
        items.run.path.parent, ask_org=lambda: allocation_of(items.client), reserve=0.1, recheck=1.0
    )
    result = load(items, manifest, gate=gate)
    assert result.created == 4
    items.require_sound()


@pytest.mark.parametrize("on", ["create", "upload", "close"])
def test_an_answer_that_comes_too_late(items: Items, on: str) -> None:
    manifest = items.stage(items.rows(0, 4))
    items.org.arm(on=on, delay=0.6)
    with Client(
        items.org.url,
        credentials=ClientCredentials(CLIENT_ID, CLIENT_SECRET),
        retry_delay=0.01,
        timeout=0.3,
    ) as hasty:
        assert load(items, manifest, client=hasty).created == 4
    items.require_sound()


@pytest.mark.parametrize("after", [0, 30, 200])
def test_a_download_that_breaks_off(items: Items, after: int) -> None:
    manifest = items.stage(items.rows(0, 10))
    items.org.arm(on="results", reset=True, after_bytes=after, times=3)
    assert load(items, manifest).created == 10
    items.require_sound()


@pytest.mark.parametrize("state", ["Failed", "Aborted"])
def test_a_job_that_ends_with_nothing_loaded(items: Items, state: str) -> None:
    manifest = items.stage(items.rows(0, 4))
    message = "TooManyLockFailure : 200" if state == "Failed" else ""
    items.org.arm(on="job", job_state=state, message=message)
    result = load(items, manifest)
    assert [(job.state, job.created) for job in result.jobs] == [(state, 0), ("JobComplete", 4)]
    items.require_sound()


def test_a_job_that_is_aborted_in_the_middle(items: Items) -> None:
    manifest = items.stage(items.rows(0, 10_010))
    items.org.arm(on="job", job_state="Aborted", after_batches=1)
    result = load(items, manifest)
    assert [(job.state, job.created, job.again) for job in result.jobs] == [
        ("Aborted", 10_000, 10),
        ("JobComplete", 10, 0),
    ]
    items.require_sound()


def test_a_job_that_is_aborted_while_it_is_queued(items: Items) -> None:
    manifest = items.stage(items.rows(0, 4))
    items.org.arm(on="job", latency=1.0)

    def tell(line: str, share: float, job_id: str | None) -> None:
        if job_id and line.startswith("UploadComplete"):
            abort_job(items.client, job_id)

    result = load(items, manifest, tell=tell)
    assert [job.state for job in result.jobs] == ["Aborted", "JobComplete"]
    items.require_sound()


def test_a_row_that_is_locked_for_a_while(items: Items) -> None:
    manifest = items.stage(items.rows(0, 10))
    items.org.arm(on="row", match=f"^{items.key(7)}$", times=3, row_error=LOCKED)
    result = load(items, manifest)
    assert [(job.rows, job.created, job.again) for job in result.jobs] == [
        (10, 9, 1), (1, 0, 1), (1, 0, 1), (1, 1, 0),
    ]  # fmt: skip
    items.require_sound()


def test_a_row_that_stays_locked_is_dead_lettered(items: Items) -> None:
    manifest = items.stage(items.rows(0, 10))
    items.org.arm(on="row", match=f"^{items.key(7)}$", times=-1, row_error=LOCKED)
    result = load(items, manifest)
    assert (result.created, result.failed, len(result.jobs)) == (9, 1, 4)
    assert items.dead().keys() == {items.key(7)}
    items.require_sound()


def test_an_unreadable_row_is_found_by_halving(items: Items) -> None:
    poison = 'poison, "quoted"\nand two lines'
    manifest = items.stage([*items.rows(0, 6), items.row(6, Note__c=poison), *items.rows(7, 10)])
    items.org.arm(on="job", unreadable="poison", times=-1)
    result = load(items, manifest)
    assert (result.created, result.failed) == (9, 1)
    assert items.dead()[items.key(6)]["sf__Error"].startswith("UNREADABLE:InvalidBatch")
    items.require_sound()


def test_the_search_for_unreadable_rows_is_bounded(
    items: Items, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kpcluigi.load.fileload.MOST_HALVES", 6)
    manifest = items.stage(items.rows(0, 64))
    items.org.arm(on="job", unreadable=items.prefix, times=-1)
    result = load(items, manifest)
    assert (result.created, result.failed, len(result.jobs)) == (0, 64, 7)
    items.require_sound()


def test_a_column_that_is_refused_costs_one_job(items: Items) -> None:
    items.table = items.table.model_copy(
        update={"columns": {**items.table.columns, "X": items.table.columns["NOTE"].model_copy(
            update={"field": "Unknown__c"})}}
    )  # fmt: skip
    manifest = items.stage(items.rows(0, 64))
    with pytest.raises(JobFailedError, match="Field name not found : Unknown__c"):
        load(items, manifest)
    assert items.org.stats()["jobs"] == 1


def test_an_external_id_that_two_records_have(items: Items) -> None:
    manifest = items.stage([*items.rows(0, 4), items.row(4, External_ID__c="twin")])
    result = load(items, manifest)
    (error,) = result.errors
    assert (result.created, result.failed) == (4, 1)
    assert (error.code, error.sample_keys) == ("DUPLICATE_EXTERNAL_ID", ["twin"])
    items.require_sound()


WEEK = 8 * 86_400
"""Longer than Salesforce keeps a job."""


def test_results_that_are_gone_have_the_rows_sent_once_more(items: Items) -> None:
    manifest = items.stage(items.rows(0, 4))
    past: list[str] = []

    def tell(line: str, share: float, job_id: str | None) -> None:
        if line.startswith("JobComplete") and not past:
            past.append(line)
            items.org.advance(WEEK)

    result = load(items, manifest, tell=tell)
    assert [(job.state, job.updated) for job in result.jobs] == [("Gone", 0), ("JobComplete", 4)]
    assert result.jobs[0].batches == 1, "it took what it took of the allocation"
    items.require_sound()


def test_results_that_are_never_there_end_the_load(items: Items) -> None:
    manifest = items.stage(items.rows(0, 4))

    def tell(line: str, share: float, job_id: str | None) -> None:
        if line.startswith("JobComplete"):
            items.org.advance(WEEK)

    with pytest.raises(JobFailedError, match="no longer known to Salesforce"):
        load(items, manifest, tell=tell)
    assert items.org.stats()["jobs"] == 1 + RULES.retries + 1
    assert load(items, manifest).updated == 4
    items.require_sound()


def test_a_job_that_is_deleted_while_it_is_waited_for(items: Items) -> None:
    manifest = items.stage(items.rows(0, 4))
    items.org.arm(on="job", latency=0.5)
    deleted: list[str] = []

    def tell(line: str, share: float, job_id: str | None) -> None:
        if job_id and line.startswith("UploadComplete") and not deleted:
            deleted.append(job_id)
            delete_job(items.client, job_id)

    result = load(items, manifest, tell=tell)
    assert [job.state for job in result.jobs] == ["Gone", "JobComplete"]
    items.require_sound()


def test_the_allocation_ends_in_the_middle_of_a_job(items: Items) -> None:
    manifest = items.stage(items.rows(0, 10_010))
    used = items.org.use_batches(14_999)
    gate = OpenGate()

    def more(reason: str, tell: object) -> None:
        gate.exceeded.append(reason)
        items.org.use_batches(-used)

    gate.note_exceeded = more  # type: ignore[method-assign]
    result = load(items, manifest, gate=gate)
    assert gate.exceeded == ["ExceededQuota : ApiBatchItems Limit exceeded"]
    assert [job.created for job in result.jobs] == [10_000, 10]
    items.require_sound()


@pytest.fixture(scope="module")
def gzip_org(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[SalesforceStandIn, Path]]:
    """An org that does one thing or the other with a compressed upload."""
    database = tmp_path_factory.mktemp("gzip") / "org.duckdb"
    make_org(database)
    with SalesforceStandIn(
        database, client_id=CLIENT_ID, client_secret=CLIENT_SECRET, gzip=request.param
    ) as org:
        yield org, database


@pytest.fixture
def packed_items(gzip_org: tuple[SalesforceStandIn, Path], tmp_path: Path) -> Iterator[Items]:
    org, database = gzip_org
    org.disarm()
    org.reset()
    credentials = ClientCredentials(CLIENT_ID, CLIENT_SECRET)
    with Client(org.url, credentials=credentials, retry_delay=0.01, timeout=10) as client:
        yield Items(org, client, database, RunFolder(tmp_path / "org" / "run"), tmp_path.name)


def load_packed(items: Items) -> tuple[LoadResult, GzipVerdict]:
    """Three jobs, compressed where the org takes it."""
    manifest = items.stage([items.row(i, Note__c="x" * 500) for i in range(9)], per_job=3)
    compression = Compression(items.run.gzip_verdict, wanted=True)
    result = load(items, manifest, compression=compression)
    items.require_sound()
    verdict = read_marker(items.run.gzip_verdict, GzipVerdict)
    assert result.created == 9
    assert verdict is not None
    return result, verdict


def test_gzip_that_is_refused_costs_one_job(items: Items) -> None:
    result, verdict = load_packed(items)
    assert not verdict.accepted
    assert [job.state for job in result.jobs] == ["Aborted", *["JobComplete"] * 3]


@pytest.mark.parametrize("gzip_org", ["taken_raw"], indirect=True)
def test_gzip_that_is_taken_for_the_data_costs_one_job(packed_items: Items) -> None:
    result, verdict = load_packed(packed_items)
    assert not verdict.accepted
    assert [job.state for job in result.jobs] == ["Failed", *["JobComplete"] * 3]


@pytest.mark.parametrize("gzip_org", ["accepted"], indirect=True)
def test_gzip_that_is_taken_is_used_from_then_on(packed_items: Items) -> None:
    result, verdict = load_packed(packed_items)
    assert verdict.accepted
    assert [job.state for job in result.jobs] == ["JobComplete"] * 3
    uploads = [e["bytes"] for e in packed_items.org.log() if e["kind"] == "upload"]
    assert max(uploads) < 500


@pytest.mark.parametrize("gzip_org", ["accepted"], indirect=True)
def test_gzip_that_is_read_as_a_header_is_no_wrong_column(packed_items: Items) -> None:
    message = "InvalidBatch : Field name not found : \x1f\ufffd"
    packed_items.org.arm(on="job", job_state="Failed", message=message)
    result, verdict = load_packed(packed_items)
    assert not verdict.accepted
    assert [job.state for job in result.jobs] == ["Failed", *["JobComplete"] * 3]
