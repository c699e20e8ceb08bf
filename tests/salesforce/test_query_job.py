"""Query jobs: one file of all pages, and pages that break off, against an org of a few lines."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from kpcluigi.errors import SalesforceError
from kpcluigi.files import gzip_reader
from kpcluigi.salesforce import (
    Client,
    abort_query_job,
    create_query_job,
    delete_query_job,
    download_query_results,
    query,
    query_job_info,
    wait_for_query_job,
)
from tests.salesforce.scripted import Asked, Cut, ScriptedServer, reply

ID = "7505i000000000QAAQ"
HEADER = b'"Id","Note__c"\n'
PAGES = [
    b'"1","one"\n"2","two\nlines, and a "" quote"\n',
    b'"3",""\n"4","a\n\n\nb"\n',
    b'"5","last"\n',
]


class QueryOrg:
    """A query job that is complete at its third look, with a page for each of PAGES.

    `broken` has answers that come first when a page is asked for, by its number.
    """

    def __init__(self) -> None:
        self.created: dict[str, object] = {}
        self.looks = 0
        self.aborted = self.deleted = False
        self.pages: Counter[int] = Counter()
        self.max_records: set[str] = set()
        self.broken: dict[int, list[bytes | Cut]] = {}

    def __call__(self, asked: Asked) -> bytes | Cut:
        if asked.path == "/services/data/v66.0/jobs/query" and asked.method == "POST":
            self.created = json.loads(asked.body)
            return self._job("UploadComplete")
        if asked.path == f"/services/data/v66.0/jobs/query/{ID}":
            if asked.method == "DELETE":
                gone, self.deleted = self.deleted, True
                return reply(404, b"[]") if gone else reply(204)
            if asked.method == "PATCH":
                again, self.aborted = self.aborted, True
                refusal = b'[{"errorCode":"INVALIDJOBSTATE","message":"already Aborted"}]'
                return reply(400, refusal) if again else self._job("Aborted")
            if self.aborted:
                return self._job("Aborted")
            self.looks += 1
            return self._job(
                ["UploadComplete", "InProgress", "JobComplete"][min(self.looks, 3) - 1]
            )
        url = urlsplit(asked.path)
        assert url.path == f"/services/data/v66.0/jobs/query/{ID}/results"
        given = parse_qs(url.query)
        self.max_records |= set(given.get("maxRecords", []))
        number = int(given["locator"][0].removeprefix("page")) if "locator" in given else 0
        self.pages[number] += 1
        if self.broken.get(number):
            return self.broken[number].pop(0)
        return page(number)

    def _job(self, state: str) -> bytes:
        body = {
            "id": ID,
            "operation": "query",
            "object": "Thing__c",
            "createdById": "0055i0000000001AAA",
            "createdDate": "2026-11-21T06:00:00.000+0000",
            "state": state,
            "numberRecordsProcessed": 5 if state == "JobComplete" else 0,
            "totalProcessingTime": 1500,
        }
        return reply(200, json.dumps(body).encode())


def page(
    number: int,
    *,
    header: bytes = HEADER,
    rows: bytes | None = None,
    announced: int | None = None,
    packed: bool = True,
) -> bytes:
    """One page of results, as the org sends it."""
    body = header + (PAGES[number] if rows is None else rows)
    headers = {
        "Content-Type": "text/csv",
        "Sforce-Locator": "null" if number == len(PAGES) - 1 else f"page{number + 1}",
        "Sforce-NumberOfRecords": str([2, 2, 1][number] if announced is None else announced),
    }
    if packed:
        body = gzip.compress(body)
        headers["Content-Encoding"] = "gzip"
    return reply(200, body, headers)


def client_of(server: ScriptedServer) -> Client:
    return Client(server.url, access_token="00D!t", retries=2, retry_delay=0.01)


def content(path: Path) -> bytes:
    with gzip_reader(path) as file:
        return file.read()


def test_a_query_job_lives_from_its_creation_to_its_deletion(tmp_path: Path) -> None:
    org = QueryOrg()
    states: list[str] = []
    with ScriptedServer(org) as server, client_of(server) as client:
        job = create_query_job(client, "SELECT Id, Note__c FROM Thing__c")
        info = wait_for_query_job(
            client, job.id, timeout=10, interval=0.01, tell=lambda look: states.append(look.state)
        )
        found = download_query_results(client, job.id, tmp_path / "all.csv.gz", page_records=2)
        delete_query_job(client, job.id)
        delete_query_job(client, job.id)
    assert org.created == {
        "operation": "query",
        "query": "SELECT Id, Note__c FROM Thing__c",
        "contentType": "CSV",
        "columnDelimiter": "COMMA",
        "lineEnding": "LF",
    }
    assert states == ["UploadComplete", "InProgress", "JobComplete"]
    assert (info.records, info.object, info.seconds) == (5, "Thing__c", 1.5)
    assert found == 5
    assert content(tmp_path / "all.csv.gz") == HEADER + b"".join(PAGES)
    assert org.max_records == {"2"}
    assert org.deleted


def test_deleted_records_are_asked_for_by_name() -> None:
    org = QueryOrg()
    with ScriptedServer(org) as server, client_of(server) as client:
        create_query_job(client, "SELECT Id FROM Thing__c", deleted=True)
    assert org.created["operation"] == "queryAll"


def test_a_query_job_is_aborted_and_again() -> None:
    org = QueryOrg()
    with ScriptedServer(org) as server, client_of(server) as client:
        abort_query_job(client, ID)
        abort_query_job(client, ID)
        assert query_job_info(client, ID).state == "Aborted"


BROKEN: dict[str, bytes | Cut] = {
    "in the middle": Cut(page(1)[:-10]),
    "in the middle, not packed": Cut(page(1, packed=False)[:-10]),
    "before its answer": Cut(b""),
    "a record less than announced": page(1, rows=b'"3",""\n'),
    "a record more than announced": page(1, rows=PAGES[1] + b'"6",""\n'),
    "other columns": page(1, header=b'"Id","Other__c"\n'),
    "nothing, not even the header": page(1, header=b"", rows=b""),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_page_that_is_not_whole_is_fetched_again_and_only_that(
    broken: str, tmp_path: Path
) -> None:
    org = QueryOrg()
    org.broken[1] = [BROKEN[broken]]
    with ScriptedServer(org) as server, client_of(server) as client:
        assert download_query_results(client, ID, tmp_path / "all.csv.gz") == 5
    assert content(tmp_path / "all.csv.gz") == HEADER + b"".join(PAGES)
    assert org.pages == {0: 1, 1: 2, 2: 1}


def test_the_first_page_may_break_off_too(tmp_path: Path) -> None:
    org = QueryOrg()
    org.broken[0] = [Cut(page(0)[:-10]), Cut(page(0, packed=False)[:-3])]
    with ScriptedServer(org) as server, client_of(server) as client:
        assert download_query_results(client, ID, tmp_path / "all.csv.gz") == 5
    assert content(tmp_path / "all.csv.gz") == HEADER + b"".join(PAGES)
    assert org.pages == {0: 3, 1: 1, 2: 1}


def test_a_page_that_is_never_whole_leaves_no_file(tmp_path: Path) -> None:
    org = QueryOrg()
    org.broken[2] = [page(2, announced=2)] * 3
    with ScriptedServer(org) as server, client_of(server) as client:
        with pytest.raises(SalesforceError, match="1 records, not the 2 announced"):
            download_query_results(client, ID, tmp_path / "all.csv.gz")
    assert not list(tmp_path.iterdir())


def test_a_last_line_without_its_end_is_a_record_and_gets_one(tmp_path: Path) -> None:
    org = QueryOrg()
    org.broken[0] = [page(0, rows=b'"1","one"\n"2","two"')]
    with ScriptedServer(org) as server, client_of(server) as client:
        assert download_query_results(client, ID, tmp_path / "all.csv.gz") == 5
    assert content(tmp_path / "all.csv.gz").startswith(HEADER + b'"1","one"\n"2","two"\n"3"')


def test_pages_that_go_in_circles_end(tmp_path: Path) -> None:
    org = QueryOrg()
    org.broken[1] = [page(0)]
    with ScriptedServer(org) as server, client_of(server) as client:
        with pytest.raises(SalesforceError, match="came twice"):
            download_query_results(client, ID, tmp_path / "all.csv.gz")
    assert not list(tmp_path.iterdir())


def test_results_without_the_headers_of_pages_are_not_believed(tmp_path: Path) -> None:
    with ScriptedServer(lambda asked: reply(200, HEADER)) as server, client_of(server) as client:
        with pytest.raises(SalesforceError, match="Sforce-NumberOfRecords"):
            download_query_results(client, ID, tmp_path / "all.csv.gz")
    assert not list(tmp_path.iterdir())


def test_records_are_counted_across_blocks_and_quotes(tmp_path: Path) -> None:
    """A page larger than the blocks that it is read in, with line breaks in its values."""
    rows = b"".join(b'"%d","line\nbreak ""and"" quote\n"\n' % i for i in range(60_000))
    org = QueryOrg()
    org.broken[0] = [page(0, rows=rows, announced=60_000, packed=False)]
    with ScriptedServer(org) as server, client_of(server) as client:
        assert download_query_results(client, ID, tmp_path / "all.csv.gz") == 60_003
    assert content(tmp_path / "all.csv.gz") == HEADER + rows + PAGES[1] + PAGES[2]


def test_a_soql_query_goes_from_page_to_page() -> None:
    def script(asked: Asked) -> bytes:
        first = "q=" in asked.path
        body = {
            "totalSize": 2,
            "done": not first,
            "records": [{"Id": "1" if first else "2"}],
            "nextRecordsUrl": "/services/data/v66.0/query/01g0000000001AA-2000",
        }
        return reply(200, json.dumps(body).encode())

    with ScriptedServer(script) as server, client_of(server) as client:
        assert [record["Id"] for record in query(client, "SELECT Id FROM Thing__c")] == ["1", "2"]
    assert server.asked[1].path == "/services/data/v66.0/query/01g0000000001AA-2000"
