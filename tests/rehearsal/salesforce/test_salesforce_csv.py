"""Files that make a whole job fail. csv_rules.txt has them, with the job's errorMessage."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpcluigi.rehearsal.salesforce import csvfile
from kpcluigi.rehearsal.salesforce.csvfile import CsvError, read_header
from tests.rehearsal.salesforce.standin_org import OrgClient

RULES = [
    [part.removeprefix(" ").removesuffix(" ") for part in line.split("|")]
    for line in (Path(__file__).parent / "csv_rules.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


def to_bytes(text: str) -> bytes:
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


def test_every_line_of_the_rules_table(org: OrgClient) -> None:
    found, wanted = {}, {}
    for line_ending, text, expected in RULES:
        data = to_bytes(text)
        job = org.load(data, lineEnding=line_ending)
        name = f"{line_ending} {text}"
        wanted[name] = expected.encode("latin-1").decode("unicode_escape")
        found[name] = "ok" if job["state"] == "JobComplete" else job["errorMessage"]
        assert (job["state"] == "JobComplete") == ("errorMessage" not in job)
        if expected == "ok":
            assert job["numberRecordsFailed"] == 0
    assert found == wanted


@pytest.mark.parametrize("block", [1, 2, 3, 7])
def test_the_checks_do_not_depend_on_how_the_file_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    path = tmp_path / "upload.csv"
    for line_ending, text, _ in RULES:
        path.write_bytes(to_bytes(text))
        answers = []
        for size in (4 << 20, block):
            monkeypatch.setattr(csvfile, "BLOCK", size)
            try:
                answers.append(str(read_header(path, line_ending, ",")))
            except CsvError as error:
                answers.append(str(error))
        assert answers[0] == answers[1], text


def test_a_header_of_more_than_32000_characters_is_refused(org: OrgClient) -> None:
    header = ",".join(["External_ID__c", *(f"F{i}__c" for i in range(5000))])
    job = org.load(header + "\n")
    assert job["errorMessage"] == "InvalidBatch : Header row is longer than 32000 characters"


def test_other_delimiters(org: OrgClient) -> None:
    job = org.load("External_ID__c|Remark__c\npipe|a,b\n", columnDelimiter="PIPE")
    assert job["numberRecordsFailed"] == 0
    assert org.result(job["id"], "successfulResults").splitlines()[0] == (
        '"sf__Id"|"sf__Created"|External_ID__c|Remark__c'
    )
    assert org.value("SELECT Remark__c FROM KPS_Sales__c WHERE External_ID__c = 'pipe'") == "a,b"


def test_rows_of_a_job_that_failed_at_its_header_are_unprocessed(org: OrgClient) -> None:
    job = org.load("External_ID__c,Nonsense__c,Remark__c\nc,x,y\n")
    assert job["numberRecordsProcessed"] == 0
    assert org.result(job["id"], "unprocessedrecords") == 'External_ID__c,Remark__c\n"c","y"\n'
    assert (
        org.result(job["id"], "failedResults") == '"sf__Id","sf__Error",External_ID__c,Remark__c\n'
    )
