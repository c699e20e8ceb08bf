"""Faults: every kind happens, to the request it was armed for, as often as it was armed."""

from __future__ import annotations

import time
import urllib.error
from typing import Any

import pytest
import requests

from tests.rehearsal.salesforce.standin_org import OrgClient

ROW = "External_ID__c,Remark__c\n"
LOCKED = "UNABLE_TO_LOCK_ROW:unable to obtain exclusive access to this record:--"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "INVALID_SESSION_ID"),
        (403, "REQUEST_LIMIT_EXCEEDED"),
        (429, "REQUEST_LIMIT_EXCEEDED"),
        (500, "UNKNOWN_EXCEPTION"),
        (503, "SERVER_UNAVAILABLE"),
    ],
)
def test_a_status_comes_the_nth_time(org: OrgClient, status: int, code: str) -> None:
    org.standin.arm(on="limits", status=status, nth=2, times=2)
    statuses = []
    for _ in range(4):
        answer = org.request("GET", "/limits")
        statuses.append(answer.status_code)
        if answer.status_code == status:
            assert answer.json()[0]["errorCode"] == code
        org.session.headers["Authorization"] = f"Bearer {org.token()}"
    assert statuses == [200, status, status, 200]


def test_a_401_ends_the_session(org: OrgClient) -> None:
    org.standin.arm(on="info", status=401)
    job = org.new_job()
    assert org.request("GET", f"/jobs/ingest/{job}").status_code == 401
    assert org.request("GET", f"/jobs/ingest/{job}").status_code == 401
    assert org.request("GET", "/limits").status_code == 401
    org.session.headers["Authorization"] = f"Bearer {org.token()}"
    assert org.info(job)["state"] == "Open"


def test_texts_can_be_given_and_faults_disarmed(org: OrgClient) -> None:
    org.standin.arm(on="any", status=503, code="SOME_CODE", message="some text", times=None)
    for _ in range(3):
        assert org.request("GET", "/limits").json() == [
            {"message": "some text", "errorCode": "SOME_CODE"}
        ]
    org.standin.disarm()
    assert org.request("GET", "/limits").status_code == 200


def test_a_token_can_be_refused(org: OrgClient) -> None:
    org.standin.arm(on="token", status=503)
    with pytest.raises(requests.HTTPError, match="503"):
        org.token()
    assert org.token()


@pytest.mark.parametrize(
    ("fault", "has_effect"),
    [({"reset": True}, False), ({"reset": True, "processed": True}, True)],
)
def test_a_lost_answer_with_and_without_effect(
    org: OrgClient, fault: dict[str, Any], has_effect: bool
) -> None:
    job = org.new_job()
    org.standin.arm(on="upload", **fault)
    with pytest.raises(requests.ConnectionError):
        org.upload(job, ROW + "lost,x\n")
    assert org.upload(job, ROW).status_code == (400 if has_effect else 201)
    org.standin.arm(on="close", **fault)
    with pytest.raises(requests.ConnectionError):
        org.set_state(job, "UploadComplete")
    if has_effect:
        assert org.wait(job)["numberRecordsProcessed"] == 1
    else:
        assert org.info(job)["state"] == "Open"
    before = org.standin.stats()["jobs"]
    org.standin.arm(on="create", **fault)
    with pytest.raises(requests.ConnectionError):
        org.create()
    assert org.standin.stats()["jobs"] - before == int(has_effect)


def test_an_upload_that_breaks_off_leaves_the_job_without_data(org: OrgClient) -> None:
    job = org.new_job()
    org.standin.arm(on="upload", reset=True, after_bytes=1_000_000)
    with pytest.raises(requests.ConnectionError):
        org.upload(job, b"x" * 20_000_000)
    entry = next(e for e in org.standin.log() if e["method"] == "PUT")
    assert (entry["status"], entry["job"]) == (0, job)
    assert 1_000_000 <= entry["bytes"] < 20_000_000
    assert org.upload(job, ROW + "again,x\n").status_code == 201
    org.set_state(job, "UploadComplete")
    assert org.wait(job)["numberRecordsProcessed"] == 1


def test_a_delay(org: OrgClient) -> None:
    org.standin.arm(on="query", delay=0.3)
    started = time.monotonic()
    org.query("SELECT COUNT() FROM Account")
    assert time.monotonic() - started >= 0.3


def test_faults_of_an_object_leave_others_alone(org: OrgClient) -> None:
    org.standin.arm(on="create", object="Account", status=503, times=-1)
    assert org.create().status_code == 200
    assert org.create("Account", externalIdFieldName="Tenant_Code__c").status_code == 503
    job = org.new_job()
    org.standin.arm(on="any", match=f"{job}/failedResults", status=500)
    org.upload(job, ROW)
    org.set_state(job, "UploadComplete")
    org.wait(job)
    assert org.request("GET", f"/jobs/ingest/{job}/failedResults").status_code == 500
    assert org.request("GET", f"/jobs/ingest/{job}/failedResults").status_code == 200


def test_rows_can_be_locked(org: OrgClient) -> None:
    org.standin.arm(on="row", object="KPS_Sales__c", match="7$", nth=2, times=3, row_error=LOCKED)
    data = ROW + "".join(f"row-{i},x\n" for i in range(100))
    job = org.load(data)
    assert (job["state"], job["numberRecordsFailed"]) == ("JobComplete", 3)
    assert org.errors(job["id"]) == dict.fromkeys(["row-17", "row-27", "row-37"], LOCKED)
    found = org.query("SELECT COUNT() FROM KPS_Sales__c WHERE External_ID__c LIKE 'row-%'")
    assert found["totalSize"] == 97
    assert org.load(data)["numberRecordsFailed"] == 0


def test_a_job_can_fail_after_some_batches(org: OrgClient) -> None:
    message = "TooManyLockFailure : Too many lock failure 200 Trying again later."
    org.standin.arm(on="job", job_state="Failed", message=message, after_batches=1)
    job = org.load(ROW + "".join(f"part-{i},x\n" for i in range(10_500)))
    assert (job["state"], job["errorMessage"]) == ("Failed", message)
    assert job["numberRecordsProcessed"] == 10_000
    assert len(org.rows(job["id"], "successfulResults")) == 10_000
    assert len(org.rows(job["id"], "unprocessedrecords")) == 500


def test_a_job_can_be_slow(org: OrgClient) -> None:
    org.standin.arm(on="job", latency=0.5)
    assert org.load(ROW + "slow-one,x\n")["totalProcessingTime"] >= 500
    assert org.load(ROW + "slow-two,x\n")["totalProcessingTime"] < 400


@pytest.mark.parametrize(
    "fault",
    [
        {"on": "lunch", "status": 500},
        {"on": "info"},
        {"on": "info", "status": 418},
        {"on": "row"},
        {"on": "job", "job_state": "JobComplete"},
        {"on": "info", "reset": True, "after_bytes": 10},
        {"on": "results", "status": 503, "after_bytes": 10},
        {"on": "any", "status": 503, "share": 1.5},
        {"on": "any", "status": 503, "share": 0.5, "times": 3},
        {"on": "job", "unreadable": "("},
        {"on": "info", "status": 500, "often": 3},
        {"status": 500},
    ],
)
def test_what_is_no_fault_is_refused(org: OrgClient, fault: dict[str, Any]) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        org.standin.arm(**fault)
    assert refused.value.code == 400
    refused.value.close()
