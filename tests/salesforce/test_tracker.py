"""The file tracker tells the business where each file stands, and never stands in a load's way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from kpcluigi import settings
from kpcluigi.errors import SalesforceError
from kpcluigi.rehearsal.salesforce import SalesforceStandIn
from kpcluigi.salesforce import Client, ClientCredentials, Tracker, file_reference, query
from kpcluigi.salesforce.tracker import TrackerRules, missing_fields
from tests.conftest import CLIENT_ID, CLIENT_SECRET

RULES = settings.tracker_rules()
REFERENCE = file_reference("full_2022-01-01_2024-12-31", "KPS_T_SALES_MD", 1)
JOB = "7508Z00000lSXvxQAG"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def hasty(org: SalesforceStandIn) -> Iterator[Client]:
    """A client as the tracker is given one: no second try, and no patience."""
    with Client(
        org.url,
        credentials=ClientCredentials(CLIENT_ID, CLIENT_SECRET),
        retries=0,
        timeout=0.5,
    ) as client:
        yield client


@pytest.fixture
def tracker(hasty: Client, said: list[str]) -> Tracker:
    return Tracker(hasty, RULES, said.append)


def record(client: Client, reference: str = REFERENCE) -> dict[str, Any]:
    names = [RULES.fields[name] for name in ("status", "rows", "failed", "jobs", "message")]
    where = f"TMS_External_File_Ref__c = '{reference}'"
    soql = f"SELECT {', '.join(names)} FROM TMS_Daily_Sales_File__c WHERE {where}"
    (found,) = query(client, soql)
    return {name: found[api_name] for name, api_name in RULES.fields.items() if api_name in found}


def sent(org: SalesforceStandIn) -> int:
    return sum(1 for entry in org.log() if entry["method"] == "PATCH")


def test_a_file_is_followed_from_its_start_to_its_end(
    tracker: Tracker, client: Client, said: list[str]
) -> None:
    tracker.start(REFERENCE, "KPS_Sales__c", 10_000)
    assert record(client) == {
        "status": "Pending", "rows": 10_000, "failed": 0, "jobs": None, "message": None
    }  # fmt: skip
    tracker.update(REFERENCE, "uploading", jobs=[JOB])
    assert record(client)["jobs"] == JOB
    tracker.update(REFERENCE, "in_progress")
    assert record(client)["status"] == "InProgress"
    tracker.update(REFERENCE, "with_errors", failed=3, message="3 rows: " + "x" * 300)
    ended = record(client)
    assert (ended["status"], ended["failed"]) == ("CompletedWithErrors", 3)
    assert len(ended["message"]) == 255
    assert ended["jobs"] == JOB, "what is not told again stays"
    tracker.start(REFERENCE, "KPS_Sales__c", 10_000)
    assert record(client)["message"] is None, "a file that begins anew is set back"
    assert said == []


def test_a_state_is_told_once(tracker: Tracker, org: SalesforceStandIn) -> None:
    tracker.start(REFERENCE, "Thing__c", 1)
    for _ in range(5):
        tracker.update(REFERENCE, "in_progress")
    assert sent(org) == 2


def test_an_update_makes_no_record(tracker: Tracker, client: Client, said: list[str]) -> None:
    unknown = file_reference("full", "KPS_NEVER_STARTED", 1)
    tracker.update(unknown, "completed")
    assert "HTTP 404" in said[0]
    with pytest.raises(ValueError, match="not enough values"):
        record(client, unknown)


@pytest.mark.parametrize(
    "fault",
    [{"status": 403}, {"status": 500}, {"reset": True}, {"delay": 2.0}],
    ids=["forbidden", "server error", "reset", "hangs"],
)
def test_after_two_failures_in_a_row_it_is_left_alone(
    tracker: Tracker, org: SalesforceStandIn, said: list[str], fault: dict[str, Any]
) -> None:
    tracker.start(REFERENCE, "Thing__c", 1)
    org.arm(on="record", times=-1, **fault)
    before, began = sent(org), time.monotonic()
    for state in ("uploading", "in_progress", "completed"):
        tracker.update(REFERENCE, state)
    assert time.monotonic() - began < 1.9, "it holds up no load"
    assert sent(org) - before <= 2
    (line,) = said
    assert "the load goes on without it" in line


def test_one_failure_is_not_the_end(
    tracker: Tracker, org: SalesforceStandIn, client: Client
) -> None:
    tracker.start(REFERENCE, "Thing__c", 1)
    for state in ("uploading", "in_progress", "with_errors"):
        org.arm(on="record", status=503)
        tracker.update(REFERENCE, state)
        tracker.start(REFERENCE, "Thing__c", 1)
    tracker.update(REFERENCE, "completed")
    assert record(client)["status"] == "Completed"


@pytest.mark.parametrize(
    "rules",
    [
        replace(RULES, object="No_Such__c"),
        replace(RULES, fields={**RULES.fields, "rows": "No_Such__c"}),
        replace(RULES, external_id="TMS_Status__c"),
    ],
    ids=["object", "field", "external id"],
)
def test_what_the_org_lacks_is_told_before_and_fails_nothing(
    hasty: Client, client: Client, rules: TrackerRules, said: list[str]
) -> None:
    (missing,) = missing_fields(client, rules)
    assert rules.object in missing
    Tracker(hasty, rules, said.append).start(REFERENCE, "Thing__c", 1)
    (line,) = said
    assert line.startswith(f"file tracker {rules.object}: PATCH")


def test_all_is_well_where_nothing_is_missing(client: Client) -> None:
    assert missing_fields(client, RULES) == []


def test_it_can_be_switched_off(org: SalesforceStandIn, client: Client, said: list[str]) -> None:
    off = replace(RULES, object="")
    for tracker in (Tracker(client, off, said.append), Tracker(None, RULES, said.append)):
        with tracker:
            tracker.start(REFERENCE, "Thing__c", 1)
            tracker.update(REFERENCE, "completed")
    assert missing_fields(client, off) == []
    assert org.stats()["requests"] == 0
    assert said == []


def test_a_host_that_is_not_there_costs_one_line(said: list[str]) -> None:
    with Client("http://127.0.0.1:9", credentials=ClientCredentials("a", "b"), retries=0) as nobody:
        with pytest.raises(SalesforceError):
            missing_fields(nobody, RULES)
        Tracker(nobody, RULES, said.append).start(REFERENCE, "Thing__c", 1)
    assert len(said) == 1


def test_references_of_two_runs_differ_and_need_no_escapes() -> None:
    full = file_reference("full_2022-01-01_2024-12-31", "T", 1)
    increment = file_reference("incremental_2022-01-01_20261121T060000Z", "T", 1)
    assert full != increment
    assert full.replace("-", "").replace("_", "").isalnum()


def test_of_many_jobs_the_newest_are_named(tracker: Tracker, client: Client) -> None:
    jobs = [f"7508Z00000{n:05}QAG" for n in range(40)]
    tracker.start(REFERENCE, "Thing__c", 1)
    tracker.update(REFERENCE, "uploading", jobs=jobs)
    named = record(client)["jobs"].split()
    assert named == jobs[: -len(named) - 1 : -1]
    assert len(named) == 13
