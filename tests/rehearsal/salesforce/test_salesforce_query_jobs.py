"""Bulk query jobs: their life, their pages, and what they do not query."""

from __future__ import annotations

import csv
import io
import random
import re
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import duckdb
import pytest
import requests

from kpcluigi.rehearsal.salesforce.clock import DAY
from kpcluigi.rehearsal.salesforce.csvlines import create_macros, line_sql
from kpcluigi.rehearsal.salesforce.schema import Field
from tests.rehearsal.salesforce.standin_org import OrgClient

ACCOUNTS = "SELECT Tenant_Code__c, Rank__c FROM Account WHERE Tenant_Code__c LIKE 'T%'"


def create(org: OrgClient, soql: str, **more: str) -> requests.Response:
    return org.request("POST", "/jobs/query", json={"operation": "query", "query": soql} | more)


def info(org: OrgClient, job: str) -> dict[str, Any]:
    body: dict[str, Any] = org.request("GET", f"/jobs/query/{job}").json()
    return body


def finished(org: OrgClient, soql: str, **more: str) -> str:
    job = str(create(org, soql, **more).json()["id"])
    while info(org, job)["state"] in ("UploadComplete", "InProgress"):
        time.sleep(0.01)
    return job


def results(org: OrgClient, job: str, **params: str | int) -> requests.Response:
    return org.request("GET", f"/jobs/query/{job}/results", params=params)


def test_the_bodies_have_the_documented_fields(org: OrgClient) -> None:
    answer = create(org, ACCOUNTS)
    assert answer.status_code == 200
    created = answer.json()
    always = {
        "id": created["id"],
        "operation": "query",
        "object": "Account",
        "createdById": created["createdById"],
        "createdDate": created["createdDate"],
        "concurrencyMode": "Parallel",
        "contentType": "CSV",
        "apiVersion": 66.0,
        "lineEnding": "LF",
        "columnDelimiter": "COMMA",
    }
    assert re.fullmatch(r"750\w{15}", created["id"])
    created.pop("systemModstamp")
    assert created == always | {"state": "UploadComplete"}
    done = info(org, finished(org, ACCOUNTS))
    for name in ("id", "createdDate", "systemModstamp", "totalProcessingTime"):
        done.pop(name)
    expected = {k: v for k, v in always.items() if k not in ("id", "createdDate")}
    assert done == expected | {
        "state": "JobComplete",
        "jobType": "V2Query",
        "numberRecordsProcessed": 50,
        "retries": 0,
        "isPkChunkingSupported": True,
    }


def test_results_come_in_pages(org: OrgClient) -> None:
    job = finished(org, ACCOUNTS + " ORDER BY Rank__c")
    whole = results(org, job)
    assert whole.status_code == 200
    assert whole.headers["Content-Type"] == "text/csv"
    assert whole.headers["Sforce-NumberOfRecords"] == "50"
    assert whole.headers["Sforce-Locator"] == "null"
    assert whole.text.startswith('"Tenant_Code__c","Rank__c"\n"T0","0.0"\n"T1","1.0"\n')
    rows: list[list[str]] = []
    locator = ""
    sizes = []
    while locator != "null":
        page = results(org, job, maxRecords=20, **({"locator": locator} if locator else {}))
        locator = page.headers["Sforce-Locator"]
        sizes.append(page.headers["Sforce-NumberOfRecords"])
        header, *more = csv.reader(io.StringIO(page.text))
        assert header == ["Tenant_Code__c", "Rank__c"]
        rows += more
    assert sizes == ["20", "20", "10"]
    assert rows == [[f"T{i}", f"{i}.0"] for i in range(50)]
    for wrong in ({"locator": "MDow"}, {"locator": "20"}, {"maxRecords": "0"}):
        assert results(org, job, **wrong).json()[0]["errorCode"] == "API_ERROR"


def test_values_are_those_of_a_bulk_csv(org: OrgClient) -> None:
    org.load(
        "External_ID__c,Account__r.Tenant_Code__c,Net_Amount__c,Is_Void__c,Sales_Date__c,"
        "Created_At__c,Remark__c,Quantity__c\n"
        'query-1,T7,12345678.9,true,2024-02-29,2024-02-29T00:00:00.000+07:00,"a ""b"",\nc",'
        "\n"
    )
    job = finished(
        org,
        "SELECT External_ID__c, Account__r.Tenant_Code__c, Net_Amount__c, Is_Void__c, "
        "Sales_Date__c, Created_At__c, Remark__c, Quantity__c, Store__r.Store_Code__c "
        "FROM KPS_Sales__c WHERE External_ID__c = 'query-1' LIMIT 1",
        columnDelimiter="PIPE",
        lineEnding="CRLF",
    )
    assert results(org, job).content.decode() == (
        '"External_ID__c"|"Account__r.Tenant_Code__c"|"Net_Amount__c"|"Is_Void__c"|'
        '"Sales_Date__c"|"Created_At__c"|"Remark__c"|"Quantity__c"|"Store__r.Store_Code__c"\r\n'
        '"query-1"|"T7"|"1.23456789E7"|"true"|"2024-02-29"|"2024-02-28T17:00:00.000Z"|'
        '"a ""b"",\nc"|""|""\r\n'
    )
    assert info(org, job)["isPkChunkingSupported"] is False


def test_texts_come_back_as_they_are_stored(org: OrgClient) -> None:
    texts = ["  blanks  ", 'a "b", c', "line\r\nbreak\n", "\ttab", "ภาษาไทย 🛫", "\u200bno width"]
    for i, text in enumerate(texts):
        body = {"External_ID__c": f"text-{i}", "Notes__c": text}
        assert org.request("POST", "/sobjects/KPS_Sales__c", json=body).status_code == 201
        hexed = text.encode().hex()
        org.standin.alter(
            f"UPDATE KPS_Sales__c SET Notes__c = decode(unhex('{hexed}')) "
            f"WHERE External_ID__c = 'text-{i}'"
        )
    soql = "SELECT External_ID__c, Notes__c FROM KPS_Sales__c WHERE External_ID__c LIKE 'text-%'"
    job = finished(org, soql)
    found: dict[str, str] = {}
    for page in (results(org, job, maxRecords=4), results(org, job, locator=locator(org, job))):
        rows = csv.reader(io.StringIO(page.content.decode(), newline=""))
        assert next(rows) == ["External_ID__c", "Notes__c"]
        found |= dict(row for row in rows)
    assert found == {f"text-{i}": text for i, text in enumerate(texts)}


def locator(org: OrgClient, job: str) -> str:
    return results(org, job, maxRecords=4).headers["Sforce-Locator"]


def test_the_query_of_a_reconciliation(org: OrgClient) -> None:
    org.load(
        "External_ID__c,Account__r.Tenant_Code__c,Net_Amount__c,Created_At__c\n"
        "recon-1,T7,9999999.99,2019-01-31T10:20:30Z\n"
        "recon-2,,12,2019-01-31T10:20:31Z\n"
        "recon-3,T8,-10000000,2019-02-01T00:00:00Z\n"
    )
    org.standin.alter(
        "UPDATE KPS_Sales__c SET SystemModstamp = TIMESTAMP '2019-03-01 00:00:01' "
        "WHERE External_ID__c LIKE 'recon-%'"
    )
    job = finished(
        org,
        "SELECT External_ID__c, Net_Amount__c, Account__r.Tenant_Code__c, SystemModstamp "
        "FROM KPS_Sales__c WHERE Created_At__c >= 2019-01-01T00:00:00Z "
        "AND Created_At__c < 2019-02-01T00:00:00Z",
    )
    header, *rows = results(org, job).content.decode().splitlines()
    assert header == '"External_ID__c","Net_Amount__c","Account__r.Tenant_Code__c","SystemModstamp"'
    assert sorted(rows) == [
        '"recon-1","9999999.99","T7","2019-03-01T00:00:01.000Z"',
        '"recon-2","12.0","","2019-03-01T00:00:01.000Z"',
    ]


def java_double(number: Decimal) -> str:
    """What Java's Double.toString prints."""
    double = float(number)
    if double == 0 or 1e-3 <= abs(double) < 1e7:
        return repr(double)
    mantissa, _, exponent = f"{Decimal(repr(double)).normalize():E}".partition("E")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}E{int(exponent)}"


def test_numbers_are_printed_as_doubles() -> None:
    assert java_double(Decimal("16147805824397")) == "1.6147805824397E13"  # recorded of an org
    chance = random.Random(5)
    with duckdb.connect() as con:
        create_macros(con)
        for scale in (0, 2, 9, 18):
            field = Field("A__c", "double", precision=18, scale=scale)
            edges = [0, 1, -1, 10**18 - 1, 1 - 10**18, 10**7, 10**7 - 1, 10**17, 25 * 10**14]
            edges += [10 ** (scale + power) for power in (-4, -3, 0, 7) if 0 <= scale + power < 18]
            edges += [chance.randrange(10 ** chance.randrange(1, 18)) for _ in range(300)]
            numbers = [Decimal(edge).scaleb(-scale) for edge in edges]
            line = line_sql([field], ["n"], ",")
            values = f"SELECT CAST(unnest(?) AS {field.storage}) AS n"
            texts = [f"{number:f}" for number in numbers]
            lines = con.execute(f"SELECT {line} FROM ({values})", [texts]).fetchall()
            assert [found for (found,) in lines] == [f'"{java_double(n)}"' for n in numbers]


def test_no_rows_are_a_header(org: OrgClient) -> None:
    job = finished(org, "SELECT Id, Name FROM Account WHERE Name = 'Nobody'")
    answer = results(org, job)
    assert answer.text == '"Id","Name"\n'
    assert (answer.headers["Sforce-NumberOfRecords"], answer.headers["Sforce-Locator"]) == (
        "0",
        "null",
    )


@pytest.mark.parametrize(
    ("soql", "code"),
    [
        ("SELECT COUNT() FROM Account", "API_ERROR"),
        ("SELECT COUNT(Id) FROM Account", "API_ERROR"),
        ("SELECT Name FROM Account GROUP BY Name", "API_ERROR"),
        ("SELECT Name FROM Account OFFSET 5", "API_ERROR"),
        ("SELECT TYPEOF Owner WHEN User THEN Name END FROM Account", "MALFORMED_QUERY"),
        ("SELECT Nonsense__c FROM Account", "INVALID_FIELD"),
        ("SELECT Id FROM Nobody__c", "INVALID_TYPE"),
        ("SELECT Id FROM PermissionSetAssignment", "INVALIDENTITY"),
        ("", "API_ERROR"),
    ],
)
def test_what_is_not_queried_is_refused(org: OrgClient, soql: str, code: str) -> None:
    answer = create(org, soql)
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, code)


def test_a_job_that_cannot_be_is_refused(org: OrgClient) -> None:
    for more, status in (
        ({"operation": "upsert"}, 400),
        ({"operation": "queryAll"}, 501),
        ({"contentType": "XML"}, 400),
        ({"object": "Account"}, 400),
    ):
        assert create(org, ACCOUNTS, **more).status_code == status


def test_a_job_can_be_aborted_deleted_and_listed(org: OrgClient) -> None:
    org.standin.arm(on="query_processing", job_state="InProgress")
    job = create(org, ACCOUNTS).json()["id"]
    while info(org, job)["state"] != "InProgress":
        time.sleep(0.01)
    path = f"/jobs/query/{job}"
    assert results(org, job).json()[0]["errorCode"] == "INVALIDJOBSTATE"
    assert org.request("DELETE", path).status_code == 400
    aborted = org.request("PATCH", path, json={"state": "Aborted"})
    assert (aborted.status_code, aborted.json()["state"]) == (200, "Aborted")
    again = org.request("PATCH", path, json={"state": "Aborted"})
    assert again.json()[0]["message"] == "Aborting already Completed Job not allowed"
    assert info(org, job)["state"] == "Aborted"
    listed = org.request("GET", "/jobs/query").json()
    assert listed["done"] is True
    assert job in [entry["id"] for entry in listed["records"]]
    assert org.request("GET", f"/jobs/ingest/{job}").status_code == 404
    assert org.request("DELETE", path).status_code == 204
    assert org.request("GET", path).status_code == 404


def test_query_jobs_can_go_wrong(org: OrgClient) -> None:
    org.standin.arm(on="query_processing", object="Account", job_state="Failed", message="Timeout")
    failed = info(org, finished(org, ACCOUNTS))
    assert (failed["state"], failed["errorMessage"]) == ("Failed", "Timeout")
    org.standin.arm(on="query_job", status=503)
    assert create(org, ACCOUNTS).status_code == 503
    job = finished(org, ACCOUNTS)
    org.standin.arm(on="query_results", reset=True, after_bytes=100)
    with pytest.raises(requests.RequestException):
        results(org, job)
    assert results(org, job).headers["Sforce-NumberOfRecords"] == "50"


def test_jobs_are_counted_and_age(start_org: Callable[..., OrgClient]) -> None:
    org = start_org(daily_query_jobs=2, session_seconds=900)
    job = finished(org, ACCOUNTS)
    finished(org, ACCOUNTS)
    answer = create(org, ACCOUNTS)
    assert answer.status_code == 400
    assert answer.json() == [
        {
            "errorCode": "LIMIT_EXCEEDED",
            "message": "Max bulk v2 query jobs (2) per 24 hrs has been reached (3)",
        }
    ]
    limits = org.request("GET", "/limits").json()
    assert limits["DailyBulkV2QueryJobs"] == {"Max": 2, "Remaining": 0}
    org.standin.advance(900)
    assert org.request("GET", "/limits").status_code == 401
    org.standin.advance(7 * DAY)
    org.session.headers["Authorization"] = f"Bearer {org.token()}"
    assert org.request("GET", f"/jobs/query/{job}").status_code == 404
    assert create(org, ACCOUNTS).status_code == 200
