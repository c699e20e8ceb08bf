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
    deadline = time.monotonic() + 30
    while not (found := [e for e in org.standin.log() if e["method"] == "PUT"]):
        assert time.monotonic() < deadline, "the request is logged once the org has ended it"
        time.sleep(0.01)
    (entry,) = found
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


def test_a_share_of_the_requests_is_always_the_same(org: OrgClient) -> None:
    seen = []
    for seed in (3, 3, 4):
        org.standin.disarm()
        org.standin.arm(on="limits", status=503, share=0.3, seed=seed)
        seen.append([org.request("GET", "/limits").status_code for _ in range(60)])
    assert seen[0] == seen[1] != seen[2]
    assert 6 <= seen[0].count(503) <= 30
    org.standin.disarm()
    org.standin.arm(on="limits", status=503, share=0)
    org.standin.arm(on="info", status=503, share=1)
    assert org.request("GET", "/limits").status_code == 200
    job = org.new_job()
    assert org.request("GET", f"/jobs/ingest/{job}").status_code == 503


def test_a_download_can_break_off_in_the_middle(org: OrgClient) -> None:
    job = org.load(ROW + "".join(f"part-{i},{'x' * 200}\n" for i in range(5_000)))["id"]
    url = f"{org.base}/jobs/ingest/{job}/successfulResults"
    plain = {"Accept-Encoding": "identity"}
    whole = len(org.session.get(url, headers=plain, timeout=10).content)
    for after_bytes in (600_000, whole + 1, 0):
        org.standin.arm(on="results", reset=True, after_bytes=after_bytes)
        with pytest.raises(requests.RequestException):
            org.session.get(url, headers=plain, timeout=10)
    assert len(org.result(job, "successfulResults")) == whole
    entries = [e for e in org.standin.log() if e["path"].endswith("successfulResults")]
    assert [e["status"] for e in entries] == [200, 0, 0, 0, 200]


def test_an_upload_that_is_cut_at_its_end_has_no_effect(org: OrgClient) -> None:
    job = org.new_job()
    org.standin.arm(on="upload", reset=True, after_bytes=1_000_000)
    with pytest.raises(requests.ConnectionError):
        org.upload(job, ROW + "short,x\n")
    assert job not in org.standin.stats()["open_with_data"]
    assert org.upload(job, ROW + "short,x\n").status_code == 201
    assert job in org.standin.stats()["open_with_data"]


def test_a_job_can_stay_in_progress_until_it_is_aborted(org: OrgClient) -> None:
    org.standin.arm(on="job", job_state="InProgress", after_batches=1)
    job = org.new_job()
    org.upload(job, ROW + "".join(f"stay-{i},x\n" for i in range(10_500)))
    org.set_state(job, "UploadComplete")
    while org.info(job)["numberRecordsProcessed"] < 10_000:
        time.sleep(0.01)
    assert org.info(job)["state"] == "InProgress"
    assert org.set_state(job, "Aborted").status_code == 200
    assert len(org.rows(job, "successfulResults")) == 10_000
    assert len(org.rows(job, "unprocessedrecords")) == 500


def test_a_job_that_stayed_in_progress_goes_on_when_faults_are_disarmed(org: OrgClient) -> None:
    org.standin.arm(on="job", job_state="InProgress")
    job = org.new_job()
    org.upload(job, ROW + "go-on,x\n")
    org.set_state(job, "UploadComplete")
    while org.info(job)["state"] == "UploadComplete":
        time.sleep(0.01)
    before = org.info(job)
    assert (before["state"], before["numberRecordsProcessed"]) == ("InProgress", 0)
    org.standin.disarm()
    after = org.wait(job)
    assert (after["state"], after["numberRecordsProcessed"]) == ("JobComplete", 1)


def test_an_administrator_can_abort_a_job(org: OrgClient) -> None:
    org.standin.arm(on="job", job_state="Aborted", after_batches=1)
    job = org.load(ROW + "".join(f"admin-{i},x\n" for i in range(10_500)))
    assert (job["state"], job["numberRecordsProcessed"]) == ("Aborted", 10_000)
    assert "errorMessage" not in job
    assert len(org.rows(job["id"], "successfulResults")) == 10_000
    assert len(org.rows(job["id"], "unprocessedrecords")) == 500


def test_a_job_with_an_unreadable_row_fails_as_a_whole(org: OrgClient) -> None:
    org.standin.arm(on="job", object="KPS_Sales__c", unreadable="poison,[a-z]", times=-1)
    by_fault = org.load(ROW + "fine-1,x\npoison,x\n")
    by_parser = org.load(ROW + 'fine-1,x\nbad,a"b\n')
    for job in (by_fault, by_parser):
        assert job["state"] == "Failed"
        assert job["errorMessage"] == (
            "InvalidBatch : Failed to parse CSV. Found unescaped quote. "
            "A value with quote should be within a quote"
        )
        assert (job["numberRecordsProcessed"], job["numberRecordsFailed"]) == (0, 0)
        assert org.rows(job["id"], "successfulResults") == []
        assert org.rows(job["id"], "unprocessedrecords") == []
    assert org.load(ROW + "fine-1,poison\n")["state"] == "JobComplete"


def test_the_same_row_can_fail_twice_and_then_pass(org: OrgClient) -> None:
    org.standin.arm(on="row", match="^twice-1$", times=2, row_error=LOCKED)
    data = ROW + "twice-1,x\ntwice-2,x\n"
    assert [org.load(data)["numberRecordsFailed"] for _ in range(3)] == [1, 1, 0]


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
