"""Orphan jobs: what no journal names, and nothing else, is found and aborted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kpcluigi.errors import StagingError
from kpcluigi.orphans import abort_orphan, find_orphans, in_words, named_jobs
from kpcluigi.rehearsal.salesforce import SalesforceStandIn
from kpcluigi.salesforce import (
    Client,
    ClientCredentials,
    JobInfo,
    abort_job,
    create_job,
    job_info,
    upload,
)
from tests.conftest import CLIENT_ID, CLIENT_SECRET

OBJECTS = ["thing__c"]  # Salesforce cares for no case in a name
LATER = timedelta(hours=30)
CREDENTIALS = ClientCredentials(CLIENT_ID, CLIENT_SECRET)


class SomebodyElse(Client):
    """Another user of the org; the stand-in has but one."""

    @property
    def user_id(self) -> str:
        return "005000000000099AAA"


@pytest.fixture
def made(client: Client) -> Iterator[list[str]]:
    """Jobs that are given up at the end of the test."""
    jobs: list[str] = []
    yield jobs
    for job in jobs:
        if job_info(client, job).state == "Open":
            abort_job(client, job)


def new_job(client: Client, made: list[str], sobject: str = "Thing__c") -> str:
    key = "External_ID__c" if sobject == "Thing__c" else "TMS_External_File_Ref__c"
    made.append(create_job(client, sobject, external_id=key).id)
    return made[-1]


def name(org: Path, kind: str, **content: Any) -> None:
    path = org / "full_2022-01-01_2024-12-31" / "T" / kind / "00001.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")


def found(client: Client, org: Path, *, in_hours: float = 30, older_than: float = 24) -> list[str]:
    now = datetime.now(UTC) + timedelta(hours=in_hours)
    age = timedelta(hours=older_than)
    return [job.id for job in find_orphans(client, org, OBJECTS, older_than=age, now=now)]


def test_an_open_job_that_no_journal_names_is_found_and_aborted(
    client: Client, made: list[str], tmp_path: Path
) -> None:
    orphan = new_job(client, made)
    assert found(client, tmp_path) == [orphan]
    now = datetime.now(UTC) + LATER
    (job,) = find_orphans(client, tmp_path, OBJECTS, older_than=timedelta(0), now=now)
    assert abort_orphan(client, job)
    assert job_info(client, orphan).state == "Aborted"
    assert found(client, tmp_path) == []


@pytest.mark.parametrize("kind", ["loads", "retries"])
@pytest.mark.parametrize(
    "content",
    [
        {"parts": [{"job_id": None}, {"job_id": "J"}]},
        {"parts": [{"job_id": None, "outcome": {"id": "J"}}]},
        {"parts": [], "spent_jobs": [{"id": "J"}]},
        {"jobs": [{"id": "J"}]},
    ],
    ids=["in flight", "ended", "spent", "loaded"],
)
def test_a_job_that_a_journal_names_is_none(
    client: Client, made: list[str], tmp_path: Path, kind: str, content: dict[str, Any]
) -> None:
    named, orphan = new_job(client, made), new_job(client, made)
    name(tmp_path, kind, **json.loads(json.dumps(content).replace('"J"', f'"{named}"')))
    assert found(client, tmp_path) == [orphan]


def test_a_young_job_is_none(client: Client, made: list[str], tmp_path: Path) -> None:
    new_job(client, made)
    assert found(client, tmp_path, in_hours=0.5, older_than=1) == []
    assert len(found(client, tmp_path, in_hours=1.5, older_than=1)) == 1


def test_jobs_of_other_objects_and_users_and_states_are_none(
    org: SalesforceStandIn, client: Client, made: list[str], tmp_path: Path
) -> None:
    new_job(client, made, "TMS_Daily_Sales_File__c")
    closed = new_job(client, made)
    abort_job(client, closed)
    assert found(client, tmp_path) == []
    new_job(client, made)
    assert len(found(client, tmp_path)) == 1
    with SomebodyElse(org.url, credentials=CREDENTIALS) as other:
        assert found(other, tmp_path) == []


def test_a_job_that_is_no_longer_open_is_left_alone(
    client: Client, made: list[str], tmp_path: Path
) -> None:
    new_job(client, made)
    now = datetime.now(UTC) + LATER
    (job,) = find_orphans(client, tmp_path, OBJECTS, older_than=timedelta(0), now=now)
    upload(client, job.id, b"External_ID__c,Note__c\norphan-1,x\n")
    client.call("PATCH", f"/jobs/ingest/{job.id}", json={"state": "UploadComplete"})
    assert not abort_orphan(client, job)
    assert job_info(client, job.id).state != "Aborted"


def test_without_candidates_no_journal_is_read(client: Client, tmp_path: Path) -> None:
    broken = tmp_path / "full" / "T" / "loads" / "00001.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("{", "utf-8")
    assert found(client, tmp_path) == []


@pytest.mark.parametrize("text", ["{", "[]", '{"parts": [1]}', '{"jobs": [{}]}'])
def test_a_journal_that_cannot_be_read_makes_no_job_an_orphan(
    client: Client, made: list[str], tmp_path: Path, text: str
) -> None:
    new_job(client, made)
    broken = tmp_path / "full" / "T" / "loads" / "00001.journal.json"
    broken.parent.mkdir(parents=True)
    broken.write_text(text, "utf-8")
    with pytest.raises(StagingError, match=r"00001.journal.json cannot be read"):
        found(client, tmp_path)


def test_the_warning_counts_and_names_them_and_the_command() -> None:
    jobs = [JobInfo(f"7508Z00000{n:05}QAG", "Open", 0, 0, "") for n in range(12)]
    said = in_words(jobs)
    assert said.startswith("12 open Bulk job(s)")
    assert f"{jobs[9].id} and 2 more" in said
    assert "kpcluigi clean --older-than 1 --yes" in said
    assert in_words([]) == ""


def test_half_written_files_name_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "full" / "T" / "loads"
    folder.mkdir(parents=True)
    (folder / ".00001.json.tmp-1").write_text("{", "utf-8")
    assert named_jobs(tmp_path) == set()
