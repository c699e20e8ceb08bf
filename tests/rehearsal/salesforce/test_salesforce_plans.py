"""Query plans: which index serves which condition, and queries that read too many rows."""

from __future__ import annotations

import urllib.error
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import duckdb
import pytest
import requests

from kpcluigi.rehearsal.salesforce import SalesforceStandIn
from kpcluigi.rehearsal.salesforce.plans import CUSTOM, STANDARD
from kpcluigi.rehearsal.salesforce.schema import Field, SObject, create_object, insert_rows
from tests.rehearsal.salesforce.standin_org import CLIENT_ID, CLIENT_SECRET, OrgClient
from tests.rehearsal.salesforce.test_salesforce_query_jobs import create, finished, info

ROWS = 1000
PLANNED = SObject(
    "Planned__c",
    (
        Field("Key__c", "string", length=20, external_id=True, unique=True),
        Field("Made__c", "datetime", indexed=True),
        Field("Seen__c", "datetime"),
        Field("Amount__c", "double", precision=12, scale=2, indexed=True),
        Field("Boss__c", "reference", reference_to="Planned__c", relationship="Boss__r"),
    ),
    "a77",
)
"""Row i is made i seconds after the start of 2024, and seen then too; its amount is i."""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrgClient]:
    path = tmp_path_factory.mktemp("plans") / "org.duckdb"
    with duckdb.connect(path) as con:
        create_object(con, PLANNED)
        made = "TIMESTAMP '2024-01-01' + to_seconds(i)"
        insert_rows(
            con,
            PLANNED.name,
            f"SELECT 'k' || i AS Key__c, {made} AS Made__c, {made} AS Seen__c, i AS Amount__c "
            f"FROM range({ROWS}) t(i)",
        )
    with (
        SalesforceStandIn(path, client_id=CLIENT_ID, client_secret=CLIENT_SECRET) as standin,
        closing(OrgClient(standin)) as client,
    ):
        yield client


@pytest.fixture
def planned(started: OrgClient) -> Iterator[OrgClient]:
    yield started
    started.standin.disarm()


def explain(org: OrgClient, where: str, tail: str = "") -> list[dict[str, Any]]:
    soql = f"SELECT COUNT(Id) FROM Planned__c WHERE {where} {tail}"
    body = org.request("GET", "/query", params={"explain": soql}).json()
    assert body["sourceQuery"] == soql
    plans: list[dict[str, Any]] = body["plans"]
    return plans


def seconds(field: str, start: int, end: int) -> str:
    def moment(second: int) -> str:
        return f"2024-01-01T00:{second // 60:02}:{second % 60:02}Z"

    return f"{field} >= {moment(start)} AND {field} < {moment(end)}"


def test_a_plan_has_the_documented_shape(planned: OrgClient) -> None:
    note = {"description": "Not considering filter for optimization because unindexed"}
    seen = note | {"fields": ["Seen__c"], "tableEnumOrId": "Planned__c"}
    deleted = note | {"fields": ["IsDeleted"], "tableEnumOrId": "Planned__c"}
    shared = {
        "notes": [seen, deleted],
        "sobjectCardinality": ROWS,
        "sobjectType": "Planned__c",
    }
    where = f"{seconds('made__C', 100, 150)} AND {seconds('Seen__c', 100, 130)}"
    index, scan = explain(planned, where)
    assert index == shared | {
        "cardinality": 50,
        "fields": ["Made__c"],
        "leadingOperationType": "Index",
        "relativeCost": 0.5,
    }
    assert scan == shared | {
        "cardinality": 30,
        "fields": [],
        "leadingOperationType": "TableScan",
        "relativeCost": pytest.approx(1.065),
    }


@pytest.mark.parametrize(
    ("where", "operations"),
    [
        (seconds("Made__c", 0, 100), ["Index", "TableScan"]),
        (seconds("Made__c", 0, 101), ["TableScan"]),
        (seconds("Made__c", 0, 500), ["TableScan", "Index"]),
        (seconds("Seen__c", 0, 5), ["TableScan"]),
        ("Amount__c < 100", ["Index", "TableScan"]),
        ("Amount__c != 5", ["TableScan"]),
        ("Amount__c NOT IN (5)", ["TableScan"]),
        ("NOT Amount__c = 5", ["TableScan"]),
        ("Amount__c = null", ["TableScan"]),
        ("Key__c = 'k5'", ["Index", "TableScan"]),
        ("Key__c IN ('k5', 'k6')", ["Index", "TableScan"]),
        ("Key__c LIKE 'k99%'", ["Index", "TableScan"]),
        ("Key__c LIKE '%99'", ["TableScan"]),
        ("Boss__c = 'a775i0000000001AAA'", ["Index", "TableScan"]),
        ("Boss__r.Key__c = 'k5'", ["TableScan"]),
        ("Key__c = 'k5' OR Amount__c = 7", ["Index", "TableScan"]),
        ("Key__c = 'k5' OR Seen__c = null", ["TableScan"]),
        ("(Key__c = 'k5' AND Amount__c < 50) AND Seen__c != null", ["Index", "Index", "TableScan"]),
        ("SystemModstamp < 2020-01-01T00:00:00Z", ["Index", "TableScan"]),
        ("LastModifiedDate < 2020-01-01T00:00:00Z", ["TableScan"]),
    ],
)
def test_which_conditions_an_index_serves(
    planned: OrgClient, where: str, operations: list[str]
) -> None:
    plans = explain(planned, where)
    assert [plan["leadingOperationType"] for plan in plans] == operations
    costs = [plan["relativeCost"] for plan in plans]
    assert costs == sorted(costs)


def test_a_limit_takes_any_rows(planned: OrgClient) -> None:
    soql = "SELECT Id FROM Planned__c LIMIT 30"
    first = planned.request("GET", "/query", params={"explain": soql}).json()["plans"][0]
    assert (first["leadingOperationType"], first["cardinality"]) == ("Other", 30)
    assert first["relativeCost"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("rows", "custom", "standard"),
    [
        (1_000_000, 100_000, 300_000),
        (2_000_000, 150_000, 450_000),
        (5_666_660, 333_333, 999_999),
        (100_000_000, 333_333, 1_000_000),
    ],
)
def test_the_documented_thresholds(rows: int, custom: int, standard: int) -> None:
    assert CUSTOM.threshold(rows) == custom
    assert STANDARD.threshold(rows) == standard


def test_what_is_no_query_has_no_plan(planned: OrgClient) -> None:
    for soql, code in (
        ("", "MALFORMED_QUERY"),
        ("SELECT Id", "MALFORMED_QUERY"),
        ("SELECT Nothing__c FROM Planned__c", "INVALID_FIELD"),
    ):
        answer = planned.request("GET", "/query", params={"explain": soql})
        assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, code)


def count(org: OrgClient, where: str, name: str = "Planned__c") -> requests.Response:
    soql = f"SELECT COUNT() FROM {name}{where}"
    return org.request("GET", "/query", params={"q": soql})


def test_a_query_that_reads_too_many_rows_times_out(planned: OrgClient) -> None:
    planned.standin.arm(on="query", above_rows=50, object="Planned__c", times=-1)
    over = count(planned, f" WHERE {seconds('Made__c', 0, 51)}")
    assert over.status_code == 400
    assert over.json() == [
        {
            "errorCode": "QUERY_TIMEOUT",
            "message": "Your query request was running for too long.",
        }
    ]
    assert count(planned, f" WHERE {seconds('Made__c', 0, 50)}").json()["totalSize"] == 50
    for scanned in (seconds("Seen__c", 0, 1), seconds("Made__c", 0, 500), "Amount__c != 5"):
        assert count(planned, f" WHERE {scanned}").status_code == 400
    assert count(planned, "", "User").status_code == 200
    assert explain(planned, "Amount__c != 5")


def test_how_often_and_how_a_query_times_out(planned: OrgClient) -> None:
    planned.standin.arm(on="query", above_rows=ROWS - 1, nth=2, message="too slow")
    planned.standin.arm(on="query", above_rows=ROWS)
    answers = [count(planned, "") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 400, 200]
    assert answers[1].json()[0]["message"] == "too slow"


def test_faults_of_queries_may_have_an_object(planned: OrgClient) -> None:
    planned.standin.arm(on="query", object="Planned__c", status=503, times=-1)
    assert count(planned, "", "User").status_code == 200
    assert count(planned, "", "planned__c").status_code == 503


def test_a_query_job_that_reads_too_many_rows_fails(planned: OrgClient) -> None:
    planned.standin.arm(on="query_processing", above_rows=50, times=-1)
    soql = "SELECT Key__c FROM Planned__c WHERE "
    failed = info(planned, finished(planned, soql + seconds("Made__c", 0, 51)))
    assert (failed["state"], failed["numberRecordsProcessed"]) == ("Failed", 0)
    assert failed["errorMessage"] == (
        "InvalidBatch : Failed to process query: "
        "QUERY_TIMEOUT: Your query request was running for too long."
    )
    done = info(planned, finished(planned, soql + seconds("Made__c", 0, 50)))
    assert (done["state"], done["numberRecordsProcessed"]) == ("JobComplete", 50)
    planned.standin.disarm()
    planned.standin.arm(on="query_job", object="Planned__c", status=503)
    assert create(planned, soql.replace("Planned", "planned") + "Key__c = 'x'").status_code == 503


@pytest.mark.parametrize(
    "fault",
    [
        {"on": "any", "above_rows": 5},
        {"on": "query", "above_rows": -1},
        {"on": "query", "above_rows": "many"},
        {"on": "query", "above_rows": 5, "status": 503},
        {"on": "query_processing", "above_rows": 5, "job_state": "Failed"},
    ],
)
def test_what_cannot_time_out_is_refused(planned: OrgClient, fault: dict[str, Any]) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        planned.standin.arm(**fault)
    assert refused.value.code == 400
    refused.value.close()
