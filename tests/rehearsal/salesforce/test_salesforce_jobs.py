"""The life of an ingest job: calls, states, bodies, results, allocations."""

from __future__ import annotations

import gzip
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import requests

from tests.rehearsal.salesforce.standin_org import OrgClient

ROW = "External_ID__c,Remark__c\n"


def test_the_bodies_have_the_recorded_fields(org: OrgClient) -> None:
    created = org.create().json()
    job = created["id"]
    assert re.fullmatch(r"750\w{15}", job)
    always = {
        "id": job,
        "operation": "upsert",
        "object": "KPS_Sales__c",
        "createdById": created["createdById"],
        "createdDate": created["createdDate"],
        "externalIdFieldName": "External_ID__c",
        "concurrencyMode": "Parallel",
        "contentType": "CSV",
        "apiVersion": 66.0,
    }
    until_close = {
        "contentUrl": f"services/data/v66.0/jobs/ingest/{job}/batches",
        "lineEnding": "LF",
        "columnDelimiter": "COMMA",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000\+0000", created["createdDate"])
    created.pop("systemModstamp")
    assert created == always | until_close | {"state": "Open"}

    answer = org.upload(job, ROW + "body,x\n")
    assert (answer.status_code, answer.content) == (201, b"")

    closed = org.set_state(job, "UploadComplete").json()
    closed.pop("systemModstamp")
    assert closed == always | {"state": "UploadComplete"}

    info = org.wait(job)
    numbers = {name: info.pop(name) for name in ("totalProcessingTime", "apiActiveProcessingTime")}
    assert all(isinstance(n, int) and n >= 0 for n in numbers.values())
    info.pop("systemModstamp")
    assert info == always | until_close | {
        "state": "JobComplete",
        "jobType": "V2Ingest",
        "numberRecordsProcessed": 1,
        "numberRecordsFailed": 0,
        "retries": 0,
        "apexProcessingTime": 0,
    }


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"object": "Foo"}, "INVALIDJOB", "InvalidJob : Unable to find object: Foo"),
        ({"object": None}, "INVALIDJOB", "InvalidJob : Unable to find object: "),
        (
            {"externalIdFieldName": "Remark__c"},
            "INVALIDJOB",
            "InvalidJob : Field name provided, Remark__c does not match an External ID, "
            "Salesforce Id, or indexed field for KPS_Sales__c",
        ),
        (
            {"operation": "load"},
            "API_ERROR",
            "Invalid value: 'load' supplied for property: 'operation'",
        ),
        (
            {"operation": None},
            "API_ERROR",
            "Invalid value: '' supplied for property: 'operation'",
        ),
        (
            {"lineEnding": "CR"},
            "API_ERROR",
            "Invalid value: 'CR' supplied for property: 'lineEnding'",
        ),
        (
            {"contentType": "XML"},
            "API_ERROR",
            "Invalid value: 'XML' supplied for property: 'contentType'",
        ),
        (
            {"operation": "hardDelete"},
            "FEATURENOTENABLED",
            "FeatureNotEnabled : hardDelete is not permitted to the user",
        ),
    ],
)
def test_a_job_that_cannot_be_is_refused(
    org: OrgClient, change: dict[str, str], code: str, message: str
) -> None:
    answer = org.create(
        **({"sobject": change.pop("object")} if "object" in change else {}), **change
    )
    assert answer.status_code == 400
    assert answer.json() == [{"errorCode": code, "message": message}]


def test_an_unknown_job_is_not_found(org: OrgClient) -> None:
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("PUT", "/batches"),
        ("GET", "/successfulResults"),
    ):
        answer = org.request(method, f"/jobs/ingest/7505i0000099999AAA{path}", data=b"{}")
        assert answer.status_code == 404
        assert answer.json() == [
            {"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}
        ]


def test_data_is_taken_once(org: OrgClient) -> None:
    job = org.new_job()
    assert org.upload(job, ROW + "once,x\n").status_code == 201
    second = org.upload(job, ROW + "twice,x\n")
    assert second.status_code == 400
    assert second.json()[0]["message"].startswith(
        f"Found multipe contents for job: <{job[:15]}>, please 'Close' / 'Abort' / 'Delete'"
    )
    org.set_state(job, "UploadComplete")
    assert org.wait(job)["numberRecordsProcessed"] == 1
    assert org.upload(job, ROW).json()[0]["errorCode"] == "INVALIDJOBSTATE"


def test_an_upload_may_be_chunked(org: OrgClient) -> None:
    def pieces() -> Iterator[bytes]:
        yield ROW.encode()
        for i in range(500):
            yield f"chunk-{i},x\n".encode()

    job = org.new_job()
    assert org.upload(job, pieces()).status_code == 201
    org.set_state(job, "UploadComplete")
    assert org.wait(job)["numberRecordsProcessed"] == 500


def test_an_upload_of_anything_but_plain_csv_is_refused(org: OrgClient) -> None:
    job = org.new_job()
    answer = org.upload(job, ROW, **{"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()[0]["message"] == "InvalidJob : The only content type supported is CSV"
    answer = org.upload(job, b"x", **{"Content-Encoding": "br"})
    assert answer.status_code == 501
    assert org.upload(job, ROW, **{"Content-Type": "text/csv; charset=UTF-8"}).status_code == 201


PACKED = {"Content-Encoding": "gzip"}


def test_a_gzip_upload_is_refused(org: OrgClient) -> None:
    job = org.new_job()
    answer = org.upload(job, gzip.compress((ROW + "gz,x\n").encode()), **PACKED)
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert job not in org.standin.stats()["open_with_data"]
    assert org.upload(job, ROW + "gz,x\n").status_code == 201


def test_a_gzip_upload_may_be_accepted(start_org: Callable[..., OrgClient]) -> None:
    org = start_org(gzip="accepted")
    header, rows = ROW.encode(), "".join(f"gz-{i},{i}\n" for i in range(60_000)).encode()

    def pieces() -> Iterator[bytes]:
        whole = gzip.compress(header) + gzip.compress(rows)
        yield from (whole[i : i + 1000] for i in range(0, len(whole), 1000))

    job = org.new_job()
    assert org.upload(job, pieces(), **PACKED).status_code == 201
    org.set_state(job, "UploadComplete")
    assert org.wait(job)["numberRecordsProcessed"] == 60_000
    assert org.standin.stats()["uploaded_rows"] == {job: 60_000}
    soql = "SELECT Remark__c FROM KPS_Sales__c WHERE External_ID__c = 'gz-59999'"
    assert org.value(soql) == "59999"

    job = org.new_job()
    whole = gzip.compress(header)
    bomb = gzip.compress(bytes(113_000_000), compresslevel=1)
    for broken in (b"not gzip", whole[:-5], whole + b"junk", whole[:-8] + bytes(8), bomb, b""):
        answer = org.upload(job, broken, **PACKED)
        assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "CLIENTINPUTERROR")
        assert org.standin.stats()["open_with_data"] == []
    assert org.upload(job, ROW + "gz,x\n").status_code == 201


def test_a_gzip_upload_may_be_taken_for_csv(start_org: Callable[..., OrgClient]) -> None:
    org = start_org(gzip="taken_raw")
    job = org.new_job()
    assert org.upload(job, gzip.compress((ROW + "gz,x\n").encode()), **PACKED).status_code == 201
    org.set_state(job, "UploadComplete")
    info = org.wait(job)
    assert (info["state"], info["numberRecordsProcessed"]) == ("Failed", 0)
    assert info["errorMessage"].startswith("InvalidBatch : Failed to parse CSV.")
    assert org.load(ROW + "gz,x\n")["state"] == "JobComplete"


def test_an_upload_over_150_mb_of_base64_is_refused(org: OrgClient) -> None:
    def pieces() -> Iterator[bytes]:
        block = b"x" * (1 << 20)
        for _ in range(108):
            yield block

    job = org.new_job()
    answer = org.upload(job, pieces())
    assert answer.status_code == 400
    assert answer.json()[0]["errorCode"] == "CLIENTINPUTERROR"
    assert org.upload(job, ROW).status_code == 201


def test_closing_without_data_or_twice_is_refused(org: OrgClient) -> None:
    job = org.new_job()
    assert org.set_state(job, "UploadComplete").status_code == 400
    assert org.info(job)["state"] == "Open"
    assert org.upload(job, ROW).status_code == 201
    assert org.set_state(job, "UploadComplete").status_code == 200
    assert org.set_state(job, "UploadComplete").status_code == 400
    assert org.set_state(job, "Open").json()[0]["errorCode"] == "API_ERROR"


def test_aborting(org: OrgClient) -> None:
    job = org.new_job()
    org.upload(job, ROW + "aborted,x\n")
    answer = org.set_state(job, "Aborted")
    assert (answer.status_code, answer.json()["state"]) == (200, "Aborted")
    assert org.info(job)["state"] == "Aborted"
    again = org.set_state(job, "Aborted")
    assert again.status_code == 400
    assert again.json() == [
        {
            "errorCode": "INVALIDJOBSTATE",
            "message": "Aborting already Completed Job not allowed",
        }
    ]
    done = org.load(ROW)
    assert org.set_state(done["id"], "Aborted").status_code == 400


def test_only_a_job_that_is_not_open_can_be_deleted(org: OrgClient) -> None:
    job = org.new_job()
    assert org.request("DELETE", f"/jobs/ingest/{job}").status_code == 400
    org.set_state(job, "Aborted")
    answer = org.request("DELETE", f"/jobs/ingest/{job}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert org.request("GET", f"/jobs/ingest/{job}").status_code == 404


def test_results_are_quoted_as_recorded_and_need_not_keep_the_order(org: OrgClient) -> None:
    rows = "".join(f'order-{i},"a ""b"", c"\n' for i in range(1000))
    job = org.load(ROW + rows + "order-bad," + "x" * 256 + "\n")
    text = org.result(job["id"], "successfulResults/")
    header, first, *_ = text.split("\n")
    assert header == '"sf__Id","sf__Created",External_ID__c,Remark__c'
    assert re.fullmatch(r'"a01\w{15}","true","order-\d+","a ""b"", c"', first)
    keys = [row["External_ID__c"] for row in org.rows(job["id"], "successfulResults")]
    assert sorted(keys) == sorted(f"order-{i}" for i in range(1000))
    assert keys != [f"order-{i}" for i in range(1000)]

    failed = org.result(job["id"], "FAILEDRESULTS")
    assert failed.startswith('"sf__Id","sf__Error",External_ID__c,Remark__c\n"","STRING_TOO_LONG:')
    assert org.result(job["id"], "unprocessedRecords") == "External_ID__c,Remark__c\n"


def test_results_are_gzipped_only_when_asked(org: OrgClient) -> None:
    job = org.load(ROW + "".join(f"zip-{i},x\n" for i in range(1000)))
    path = f"/jobs/ingest/{job['id']}/successfulResults"
    packed = org.request("GET", path, headers={"Accept-Encoding": "gzip"})
    plain = org.request("GET", path, headers={"Accept-Encoding": "identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert packed.content == plain.content
    assert plain.headers["Content-Type"] == "text/csv"


def test_a_slow_job_is_seen_in_every_state(start_org: Callable[..., OrgClient]) -> None:
    org = start_org(latency=0.8)
    job = org.new_job()
    states = [org.info(job)["state"]]
    org.upload(job, ROW + "".join(f"slow-{i},x\n" for i in range(10_001)))
    org.set_state(job, "UploadComplete")
    progress = set()
    while states[-1] != "JobComplete":
        info = org.info(job)
        if info["state"] != states[-1]:
            states.append(info["state"])
        if info["state"] == "InProgress":
            progress.add(info["numberRecordsProcessed"])
        if info["state"] == "UploadComplete":
            assert org.request("GET", f"/jobs/ingest/{job}/failedResults").status_code == 400
    assert states == ["Open", "UploadComplete", "InProgress", "JobComplete"]
    assert progress - {10_001} == {0, 10_000}
    assert org.info(job)["totalProcessingTime"] >= 800


def test_a_job_aborted_in_progress_keeps_what_is_processed(
    start_org: Callable[..., OrgClient],
) -> None:
    org = start_org(batch_latency=0.3)
    job = org.new_job()
    org.upload(job, ROW + "".join(f"half-{i},x\n" for i in range(20_000)))
    org.set_state(job, "UploadComplete")
    while org.info(job)["numberRecordsProcessed"] < 10_000:
        pass
    assert org.set_state(job, "Aborted").status_code == 200
    assert len(org.rows(job, "successfulResults")) == 10_000
    assert len(org.rows(job, "unprocessedrecords")) == 10_000
    assert org.query("SELECT COUNT() FROM KPS_Sales__c")["totalSize"] == 10_000


def test_batches_over_the_daily_allocation_are_not_recorded(
    start_org: Callable[..., OrgClient],
) -> None:
    org = start_org(daily_batches=3)
    assert org.load(ROW + "first,x\n")["state"] == "JobComplete"
    job = org.load(ROW + "".join(f"quota-{i},x\n" for i in range(25_000)))
    assert job["state"] == "Failed"
    assert job["errorMessage"] == "ExceededQuota : ApiBatchItems Limit exceeded"
    assert job["numberRecordsProcessed"] == 20_000
    assert len(org.rows(job["id"], "successfulResults")) == 20_000
    assert org.rows(job["id"], "failedResults") == []
    assert org.rows(job["id"], "unprocessedrecords") == []
    limits = org.request("GET", "/limits").json()
    assert limits["DailyBulkApiBatches"] == {"Max": 3, "Remaining": 0}


def test_stats_tell_what_was_uploaded(org: OrgClient) -> None:
    quoted, bare, header = org.new_job(), org.new_job(), org.new_job()
    org.upload(quoted, ROW + 'up-1,"a\nb ""c\n"""\nup-2,"x\ny"\n')
    org.upload(bare, ROW + "up-3,x\nup-4,y")
    org.upload(header, ROW)
    stats = org.standin.stats()
    assert stats["uploaded_rows"] == {quoted: 2, bare: 2, header: 0}
    assert stats["open_with_data"][-3:] == [quoted, bare, header]
    org.set_state(quoted, "UploadComplete")
    org.wait(quoted)
    org.set_state(bare, "Aborted")
    org.request("DELETE", f"/jobs/ingest/{bare}")
    stats = org.standin.stats()
    assert stats["uploaded_rows"] == {quoted: 2, bare: 2, header: 0}
    assert stats["open_with_data"][-1] == header
    assert not {quoted, bare} & set(stats["open_with_data"])
    org.standin.reset()
    assert org.standin.stats()["uploaded_rows"] == {}


def test_many_jobs_at_once(org: OrgClient) -> None:
    jobs = [org.new_job() for _ in range(20)]
    assert org.standin.stats()["open_jobs"] >= 20

    def run(number: int, job: str) -> None:
        rows = "".join(f"many-{number}-{i},x\n" for i in range(100))
        assert org.upload(job, ROW + rows).status_code == 201
        assert org.set_state(job, "UploadComplete").status_code == 200

    threads = [threading.Thread(target=run, args=each) for each in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {org.wait(job)["state"] for job in jobs} == {"JobComplete"}
    found = org.query("SELECT COUNT() FROM KPS_Sales__c WHERE External_ID__c LIKE 'many-%'")
    assert found["totalSize"] == 2000
    stats = org.standin.stats()
    assert (stats["jobs"], stats["uploads"], stats["batches"], stats["rows"]) == (20, 20, 20, 2000)
    assert stats["peak_open_jobs"] >= 20


def test_the_list_of_jobs_has_pages_of_1000(start_org: Callable[..., OrgClient]) -> None:
    org = start_org()
    made = {org.new_job() for _ in range(1001)}
    first = org.request("GET", "/jobs/ingest?jobType=V2Ingest").json()
    assert first["done"] is False
    path = first["nextRecordsUrl"].removeprefix("/services/data/v66.0")
    second = org.request("GET", path).json()
    assert (second["done"], second["nextRecordsUrl"]) == (True, None)
    listed = first["records"] + second["records"]
    assert {job["id"] for job in listed} == made
    assert listed[0]["jobType"] == "V2Ingest"


def test_stats_and_log(org: OrgClient) -> None:
    before = len(org.standin.log())
    job = org.load(ROW + "logged,x\n")
    entries = org.standin.log(since=before)
    upload = next(e for e in entries if e["method"] == "PUT")
    assert upload["job"] == job["id"]
    assert upload["bytes"] == len(ROW + "logged,x\n")
    assert upload["status"] == 201
    assert org.standin.stats()["by_call"]["create"] == 1
    org.standin.reset()
    stats = org.standin.stats()
    assert (stats["requests"], stats["jobs"], stats["batches"], stats["by_call"]) == (0, 0, 0, {})


def test_a_client_that_goes_away_in_the_middle_leaves_the_job_without_data(org: OrgClient) -> None:
    job = org.new_job()
    with socket.create_connection(("127.0.0.1", org.standin.port), timeout=10) as connection:
        connection.sendall(
            f"PUT /services/data/v66.0/jobs/ingest/{job}/batches HTTP/1.1\r\n"
            f"Host: x\r\nAuthorization: {org.session.headers['Authorization']!s}\r\n"
            f"Content-Type: text/csv\r\nContent-Length: 1000\r\n\r\n{ROW}".encode()
        )
        while org.set_state(job, "UploadComplete").json()[0]["errorCode"] != "INVALIDJOBSTATE":
            pass
    while org.upload(job, ROW + "whole,x\n").status_code != 201:
        pass
    assert org.set_state(job, "UploadComplete").status_code == 200
    assert org.wait(job)["numberRecordsProcessed"] == 1


def test_jobs_of_different_objects_do_not_wait_for_each_other(
    start_org: Callable[..., OrgClient],
) -> None:
    org = start_org(latency=0.4)
    sales = [org.new_job() for _ in range(5)]
    accounts = [org.new_job("Account", externalIdFieldName="Tenant_Code__c") for _ in range(5)]
    for number, job in enumerate(sales):
        org.upload(job, ROW + f"side-{number},x\n")
    for number, job in enumerate(accounts):
        org.upload(job, f"Tenant_Code__c,Name\nside-{number},x\n")
    started = time.monotonic()
    for job in sales + accounts:
        org.set_state(job, "UploadComplete")
    infos = [org.wait(job) for job in sales + accounts]
    assert {(i["state"], i["numberRecordsFailed"]) for i in infos} == {("JobComplete", 0)}
    assert time.monotonic() - started < 3.5  # one after the other they would take 4 s


def test_the_server_stops_with_jobs_in_progress(start_org: Callable[..., OrgClient]) -> None:
    org = start_org(latency=60)
    job = org.new_job()
    org.upload(job, ROW + "left,x\n")
    org.set_state(job, "UploadComplete")
    org.standin.stop()
    with pytest.raises(requests.ConnectionError):
        org.info(job)
