"""The org's clock: what ages with it, and the allocations that roll with it."""

from __future__ import annotations

import time
import urllib.error
from datetime import datetime
from email.utils import parsedate_to_datetime

import pytest
import requests

from kpcluigi.rehearsal.salesforce.clock import DAY, OrgClock
from kpcluigi.rehearsal.salesforce.limits import Allocation
from tests.rehearsal.salesforce.standin_org import OrgClient

ROW = "External_ID__c,Remark__c\n"
HOUR = 3600


def renew(org: OrgClient) -> None:
    org.session.headers["Authorization"] = f"Bearer {org.token()}"


def test_an_allocation_rolls() -> None:
    clock = OrgClock()
    allocation = Allocation(10, clock)
    assert allocation.use(4) == 4
    clock.advance(HOUR)
    assert allocation.use(5) == 5
    assert allocation.use(3) == 1
    assert not allocation.take()
    clock.advance(DAY - HOUR - 10)
    assert allocation.used == 10
    clock.advance(20)
    assert allocation.used == 6
    assert allocation.take()
    clock.advance(HOUR)
    assert allocation.used == 1


def test_what_is_given_back_is_what_was_used_last() -> None:
    clock = OrgClock()
    allocation = Allocation(100, clock)
    allocation.use(30)
    clock.advance(HOUR)
    allocation.use(20)
    assert allocation.use(-25) == -25
    assert allocation.used == 25
    clock.advance(DAY - HOUR)
    assert allocation.used == 0
    allocation.use(5)
    assert allocation.use(-9) == -5


def test_batches_come_back_after_24_hours(org: OrgClient) -> None:
    assert org.standin.use_batches(14_999) == 14_999
    assert org.load(ROW + "roll-1,x\n")["state"] == "JobComplete"
    over = org.load(ROW + "roll-2,x\n")
    assert (over["state"], over["numberRecordsProcessed"]) == ("Failed", 0)
    assert over["errorMessage"] == "ExceededQuota : ApiBatchItems Limit exceeded"
    assert org.standin.use_batches(1) == 0
    assert org.standin.use_batches(-2) == -2
    batches = org.request("GET", "/limits").json()["DailyBulkApiBatches"]
    assert batches == {"Max": 15_000, "Remaining": 2}
    org.standin.advance(DAY)
    renew(org)
    batches = org.request("GET", "/limits").json()["DailyBulkApiBatches"]
    assert batches == {"Max": 15_000, "Remaining": 15_000}
    stats = org.standin.stats()
    assert (stats["batches"], stats["batches_in_24h"]) == (1, 0)


def test_requests_come_back_after_24_hours(org: OrgClient) -> None:
    org.standin.use_requests(99_999)
    last = org.request("GET", "/limits")
    assert last.headers["Sforce-Limit-Info"] == "api-usage=100000/100000"
    assert org.request("GET", "/limits").status_code == 403
    org.standin.advance(DAY)
    renew(org)
    assert org.request("GET", "/limits").headers["Sforce-Limit-Info"] == "api-usage=1/100000"


def test_a_job_that_is_open_for_24_hours_takes_no_data_and_cannot_be_closed(
    org: OrgClient,
) -> None:
    empty, full = org.new_job(), org.new_job()
    assert org.upload(full, ROW + "late,x\n").status_code == 201
    org.standin.advance(DAY)
    renew(org)
    for answer in (org.upload(empty, ROW), org.set_state(full, "UploadComplete")):
        assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "INVALIDJOBSTATE")
        assert "more than 24 hours ago" in answer.json()[0]["message"]
    assert org.standin.stats()["open_with_data"] == [full]
    assert org.set_state(full, "Aborted").status_code == 200
    assert org.set_state(empty, "Aborted").status_code == 200
    assert org.standin.stats()["open_with_data"] == []


def test_jobs_and_results_are_gone_after_7_days(org: OrgClient) -> None:
    done = org.load(ROW + "week,x\n")["id"]
    still_open = org.new_job()
    org.standin.advance(7 * DAY - HOUR)
    renew(org)
    assert org.info(done)["state"] == "JobComplete"
    assert len(org.rows(done, "successfulResults")) == 1
    org.standin.advance(HOUR)
    renew(org)
    for job in (done, still_open):
        assert org.request("GET", f"/jobs/ingest/{job}").status_code == 404
        answer = org.request("GET", f"/jobs/ingest/{job}/successfulResults")
        assert answer.json()[0]["errorCode"] == "NOT_FOUND"
    listed = {job["id"] for job in org.request("GET", "/jobs/ingest").json()["records"]}
    assert not listed & {done, still_open}
    assert org.standin.stats()["uploaded_rows"][done] == 1


def test_tokens_end_with_their_session(org: OrgClient) -> None:
    renew(org)
    org.standin.advance(2 * HOUR - 60)
    assert org.request("GET", "/limits").status_code == 200
    org.standin.advance(60)
    answer = org.request("GET", "/limits")
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (401, "INVALID_SESSION_ID")
    renew(org)
    assert org.request("GET", "/limits").status_code == 200


def test_what_the_org_writes_has_the_time_of_its_clock(org: OrgClient) -> None:
    def moment(text: str) -> float:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.000%z").timestamp()

    org.standin.advance(5 * DAY)
    renew(org)
    job = org.load(ROW + "dated,x\n")
    written = org.value("SELECT CreatedDate FROM KPS_Sales__c WHERE External_ID__c = 'dated'")
    assert min(moment(job["createdDate"]), moment(written)) > time.time() + 4 * DAY


def test_every_answer_has_the_date_of_the_orgs_clock(org: OrgClient) -> None:
    org.standin.advance(3 * DAY)
    renew(org)
    job = org.load(ROW + "date,x\n")["id"]
    answers = [
        org.request("GET", "/limits"),
        org.request("GET", "/no_such_resource"),
        org.request("DELETE", "/limits"),
        org.request("GET", f"/jobs/ingest/{job}/successfulResults"),
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 405, 200]
    dates = [parsedate_to_datetime(answer.headers["Date"]).timestamp() for answer in answers]
    assert min(dates) > time.time() + 2 * DAY
    assert max(dates) - min(dates) <= 5


@pytest.mark.parametrize("seconds", [-1, "soon"])
def test_the_clock_does_not_go_back(org: OrgClient, seconds: float) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        org.standin.advance(seconds)
    assert refused.value.code == 400
    refused.value.close()


def test_job_ids_may_have_15_characters(org: OrgClient) -> None:
    job = org.new_job()
    assert org.info(job[:15])["id"] == job
    assert org.request("GET", f"/jobs/ingest/{job[:14]}").status_code == 404


def test_an_unknown_control_call_is_refused(org: OrgClient) -> None:
    control = org.standin._control
    assert requests.post(f"{control}/no_such_action", json={}, timeout=5).status_code == 404
