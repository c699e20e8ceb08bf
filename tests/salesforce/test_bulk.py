"""Ingest jobs: their lives, their list, waiting for them, and results that are whole."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kpcluigi.errors import JobTimeoutError, SalesforceError
from kpcluigi.rehearsal.salesforce import SalesforceStandIn
from kpcluigi.salesforce import (
    Client,
    JobInfo,
    abort_job,
    close_job,
    create_job,
    delete_job,
    download,
    job_info,
    list_jobs,
    upload,
    wait_for_job,
)
from tests.salesforce.scripted import Asked, Cut, ScriptedServer, reply

HEADER = b"External_ID__c,Note__c\n"


def open_job(client: Client) -> str:
    return create_job(client, "Thing__c", external_id="External_ID__c").id


def finished_job(client: Client, rows: bytes) -> JobInfo:
    job_id = open_job(client)
    upload(client, job_id, HEADER + rows)
    close_job(client, job_id)
    return wait_for_job(client, job_id, timeout=10, interval=0.02)


def impatient(url: str) -> Client:
    return Client(url, access_token="00D!t", retries=2, retry_delay=0.01)


def test_a_job_says_whose_it_is_and_how_long_it_took(client: Client) -> None:
    info = finished_job(client, b"bulk-1,a\nbulk-2,this note is longer than its field\n")
    assert (info.state, info.processed, info.failed, info.message) == ("JobComplete", 2, 1, "")
    assert (info.object, info.operation, info.created_by) == ("Thing__c", "upsert", client.user_id)
    assert info.created_at is not None
    assert timedelta(0) <= datetime.now(UTC) - info.created_at < timedelta(minutes=1)
    assert 0 < info.seconds < 10


def test_job_times_are_of_utc_and_in_seconds() -> None:
    info = JobInfo.of(
        {
            "id": "7505i0000000001EAA",
            "state": "InProgress",
            "createdDate": "2023-01-17T14:20:03.000+0700",
            "totalProcessingTime": 2500,
            "apiActiveProcessingTime": 1820,
            "apexProcessingTime": 120,
            "retries": 3,
        }
    )
    assert info.created_at == datetime(2023, 1, 17, 7, 20, 3, tzinfo=UTC)
    assert info.created_at.tzinfo is UTC
    assert (info.seconds, info.api_seconds, info.apex_seconds, info.retries) == (2.5, 1.82, 0.12, 3)


def test_a_job_can_be_deleted_once_it_has_ended_and_again(client: Client) -> None:
    job_id = open_job(client)
    with pytest.raises(SalesforceError, match="state Open") as refused:
        delete_job(client, job_id)
    assert refused.value.status == 400
    abort_job(client, job_id)
    delete_job(client, job_id)
    delete_job(client, job_id)
    with pytest.raises(SalesforceError) as gone:
        job_info(client, job_id)
    assert gone.value.status == 404


def test_results_of_a_job_that_is_gone_are_a_404(client: Client, tmp_path: Path) -> None:
    with pytest.raises(SalesforceError) as gone:
        download(client, "7505i0000009999AAA", "failed", tmp_path / "failed.csv.gz")
    assert gone.value.status == 404
    assert not list(tmp_path.iterdir())


def test_closing_whose_answer_is_lost_is_no_error(org: SalesforceStandIn, client: Client) -> None:
    job_id = open_job(client)
    upload(client, job_id, HEADER + b"bulk-3,a\n")
    org.arm(on="close", reset=True, processed=True)
    close_job(client, job_id)
    assert org.stats()["by_call"]["close"] == 2
    assert wait_for_job(client, job_id, timeout=10, interval=0.02).processed == 1


def test_aborting_whose_answer_is_lost_is_no_error(org: SalesforceStandIn, client: Client) -> None:
    job_id = open_job(client)
    org.arm(on="abort", reset=True, processed=True)
    abort_job(client, job_id)
    assert org.stats()["by_call"]["abort"] == 2
    assert job_info(client, job_id).state == "Aborted"


def test_what_cannot_be_closed_or_aborted_says_so(client: Client) -> None:
    job_id = open_job(client)
    with pytest.raises(SalesforceError, match="INVALIDJOBSTATE"):
        close_job(client, job_id)
    abort_job(client, job_id)
    with pytest.raises(SalesforceError, match="INVALIDJOBSTATE"):
        close_job(client, job_id)
    ended = finished_job(client, b"bulk-4,a\n")
    with pytest.raises(SalesforceError, match="already Completed"):
        abort_job(client, ended.id)


def test_a_compressed_body_goes_out_as_it_is_and_says_what_it_is() -> None:
    packed = gzip.compress(HEADER + b"1,x\n")
    with ScriptedServer(lambda asked: reply(201)) as server, impatient(server.url) as client:
        upload(client, "750A", [packed[:10], packed[10:]], compressed=True)
        upload(client, "750B", HEADER)
    compressed, plain = server.asked
    assert compressed.body == packed
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert compressed.headers["Content-Type"] == "text/csv; charset=UTF-8"
    assert plain.headers["Content-Encoding"] is None
    assert (plain.body, plain.headers["Content-Length"]) == (HEADER, str(len(HEADER)))


def test_a_body_of_no_known_length_is_sent_in_chunks() -> None:
    class Body:
        def __iter__(self) -> Iterator[bytes]:
            yield from (HEADER, b"1,x\n")

    with ScriptedServer(lambda asked: reply(201)) as server, impatient(server.url) as client:
        upload(client, "750A", Body())
    assert server.asked[0].body == HEADER + b"1,x\n"
    assert server.asked[0].headers["Transfer-Encoding"] == "chunked"


def test_a_body_of_bytes_is_sent_in_pieces_of_known_length() -> None:
    body = bytes(range(256)) * 1000
    with ScriptedServer(lambda asked: reply(201)) as server, impatient(server.url) as client:
        upload(client, "750A", body)
    assert server.asked[0].body == body
    assert server.asked[0].headers["Content-Length"] == str(len(body))


def test_jobs_are_listed_by_state_object_and_user(client: Client) -> None:
    aborted = open_job(client)
    abort_job(client, aborted)
    still_open = open_job(client)

    def listed(**choice: object) -> set[str]:
        return {job.id for job in list_jobs(client, **choice)}  # type: ignore[arg-type]

    assert {aborted, still_open} <= listed()
    assert still_open in listed(states={"Open"}, sobject="thing__C", created_by=client.user_id)
    assert aborted not in listed(states={"Open"})
    assert aborted in listed(states={"Open", "Aborted"}, created_by=client.user_id[:15])
    assert not listed(sobject="Other__c")
    assert not listed(created_by="0055i0000009999")
    abort_job(client, still_open)


def test_every_page_of_the_list_is_read_and_of_this_kind_of_job_only() -> None:
    def page(number: int) -> bytes:
        jobs = [{"id": f"750{number}{i}", "state": "Open", "object": "Thing__c"} for i in range(2)]
        following = f"/services/data/v66.0/jobs/ingest?queryLocator=p{number + 1}"
        body = {"done": number == 2, "records": jobs, "nextRecordsUrl": following}
        return reply(200, json.dumps(body).encode())

    pages = iter([page(0), page(1), page(2)])
    with ScriptedServer(lambda asked: next(pages)) as server, impatient(server.url) as client:
        assert [job.id for job in list_jobs(client)] == [
            "75000", "75001", "75010", "75011", "75020", "75021"
        ]  # fmt: skip
    assert [asked.path.partition("?")[2] for asked in server.asked] == [
        "jobType=V2Ingest",
        "jobType=V2Ingest&queryLocator=p1",
        "jobType=V2Ingest&queryLocator=p2",
    ]


def test_a_list_that_goes_in_circles_ends() -> None:
    body = {"done": False, "records": [], "nextRecordsUrl": "/x?queryLocator=again"}
    answer = reply(200, json.dumps(body).encode())
    with ScriptedServer(lambda asked: answer) as server, impatient(server.url) as client:
        with pytest.raises(SalesforceError, match="came twice"):
            list(list_jobs(client))
    assert len(server.asked) == 2


def test_waiting_survives_more_passing_errors_than_one_call_does(
    org: SalesforceStandIn, client: Client
) -> None:
    job_id = open_job(client)
    upload(client, job_id, HEADER + b"bulk-5,a\n")
    close_job(client, job_id)
    org.arm(on="info", status=503, times=2 * (client.retries + 1) + 1)
    assert wait_for_job(client, job_id, timeout=10, interval=0.02).state == "JobComplete"


def test_waiting_ends_in_time_whatever_is_the_matter(
    org: SalesforceStandIn, client: Client
) -> None:
    job_id = open_job(client)
    looks: list[JobInfo] = []
    with pytest.raises(JobTimeoutError, match="still Open"):
        wait_for_job(client, job_id, timeout=0.2, interval=0.01, tell=looks.append)
    assert 3 < len(looks) < 15  # ever less often
    assert {look.state for look in looks} == {"Open"}
    org.arm(on="info", status=503, times=-1)
    with pytest.raises(JobTimeoutError, match=r"still unknown.*HTTP 503"):
        wait_for_job(client, job_id, timeout=0.2, interval=0.01)
    org.disarm()
    abort_job(client, job_id)


def test_waiting_for_a_job_that_is_gone_ends_at_once(client: Client) -> None:
    with pytest.raises(SalesforceError) as gone:
        wait_for_job(client, "7505i0000009999AAA", timeout=60)
    assert gone.value.status == 404


def test_results_come_as_gzip_and_hold_what_the_org_wrote(client: Client, tmp_path: Path) -> None:
    rows = b"".join(b"many-%04d,note\n" % i for i in range(1000))
    info = finished_job(client, rows + b"many-bad,this note is longer than its field\n")
    for kind in ("successful", "failed", "unprocessed"):
        download(client, info.id, kind, tmp_path / f"{kind}.csv.gz")
    successful = gzip.decompress((tmp_path / "successful.csv.gz").read_bytes()).decode()
    failed = gzip.decompress((tmp_path / "failed.csv.gz").read_bytes()).decode()
    unprocessed = gzip.decompress((tmp_path / "unprocessed.csv.gz").read_bytes()).decode()
    assert len(successful.splitlines()) == 1001
    assert successful.startswith('"sf__Id","sf__Created",External_ID__c,Note__c\n')
    assert [line.split(",")[2] for line in failed.splitlines()[1:]] == ['"many-bad"']
    assert unprocessed.splitlines() == ["External_ID__c,Note__c"]


CSV = b'"sf__Id","sf__Created",External_ID__c\n' + b'"a0T","true","1"\n' * 5000
PACKED = gzip.compress(CSV)
AS_GZIP = {"Content-Type": "text/csv", "Content-Encoding": "gzip"}


def chunked(data: bytes, headers: dict[str, str], *, ended: bool = True) -> bytes:
    """An answer in one chunk, as a server sends it that does not know the length."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 200 OK\r\n{lines}Transfer-Encoding: chunked\r\n\r\n{len(data):x}\r\n"
    return head.encode() + data + (b"\r\n0\r\n\r\n" if ended else b"\r\n")


def damaged(data: bytes) -> bytes:
    """One bit of the checksum is another one."""
    return data[:-8] + bytes([data[-8] ^ 1]) + data[-7:]


def without_length(data: bytes, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 200 OK\r\n{lines}Connection: close\r\n\r\n".encode() + data


BROKEN: dict[str, bytes | Cut] = {
    "plain, less than its length": Cut(reply(200, CSV)[:-100]),
    "plain, without its last chunk": Cut(chunked(CSV, {}, ended=False)),
    "plain, in the middle of a chunk": Cut(chunked(CSV, {})[:-1000]),
    "plain, of no known length": Cut(without_length(CSV, {})),
    "gzip, less than its length": Cut(reply(200, PACKED, AS_GZIP)[:-20]),
    "gzip, without its last chunk": Cut(chunked(PACKED, AS_GZIP, ended=False)),
    "gzip, cut before it was sent": reply(200, PACKED[:-20], AS_GZIP),
    "gzip, with a wrong checksum": reply(200, damaged(PACKED), AS_GZIP),
    "gzip of nothing": reply(200, b"", AS_GZIP),
    "no answer": Cut(b""),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_result_that_breaks_off_is_fetched_from_the_start(broken: str, tmp_path: Path) -> None:
    answers = iter([BROKEN[broken], reply(200, PACKED, AS_GZIP)])
    path = tmp_path / "successful.csv.gz"
    with ScriptedServer(lambda asked: next(answers)) as server, impatient(server.url) as client:
        download(client, "750A", "successful", path)
    assert gzip.decompress(path.read_bytes()) == CSV
    assert len(server.asked) == 2
    assert list(tmp_path.iterdir()) == [path]


def test_a_result_that_breaks_off_each_time_leaves_no_file(tmp_path: Path) -> None:
    broken = BROKEN["gzip, cut before it was sent"]
    with ScriptedServer(lambda asked: broken) as server, impatient(server.url) as client:
        with pytest.raises(SalesforceError, match="before its gzip trailer") as refused:
            download(client, "750A", "failed", tmp_path / "failed.csv.gz")
    assert refused.value.passing
    assert len(server.asked) == 3
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "whole",
    [
        reply(200, CSV),
        chunked(CSV, {}),
        chunked(PACKED, AS_GZIP),
        reply(200, gzip.compress(CSV[:5000]) + gzip.compress(CSV[5000:]), AS_GZIP),
    ],
    ids=["plain", "plain in chunks", "gzip in chunks", "gzip of two members"],
)
def test_a_whole_result_is_taken_however_it_comes(whole: bytes, tmp_path: Path) -> None:
    def script(asked: Asked) -> bytes:
        assert asked.headers["Accept-Encoding"] == "gzip"
        return whole

    path = tmp_path / "successful.csv.gz"
    with ScriptedServer(script) as server, impatient(server.url) as client:
        download(client, "750A", "successful", path)
    assert gzip.decompress(path.read_bytes()) == CSV
    assert len(server.asked) == 1
