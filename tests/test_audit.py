"""The audit is only ever added to, and whoever changes it, or a marker, is found out."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import luigi
import pytest

from kpcluigi import audit, cli
from kpcluigi.errors import AuditError
from kpcluigi.markers import GzipVerdict, Marker, SpentJobs
from kpcluigi.staging import RunFolder, write_marker

LATER = datetime.now(UTC) + timedelta(hours=1)
"""When files that were just written no longer count as just written."""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    for n, minute in ((1, 30), (2, 10), (3, 20)):
        spent = SpentJobs(
            table="T", jobs=[], written_at=datetime(2025, 1, 1, 6, minute, tzinfo=UTC)
        )
        write_marker(folder.table("T").path / "loads" / f"spent-{n}.json", spent)
    write_marker(folder.started, Marker(written_at=datetime(2025, 1, 1, 6, tzinfo=UTC)))
    return folder


def lines(folder: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in folder.audit.read_bytes().splitlines()]


def report_names(folder: RunFolder, end: audit.AuditEnd) -> None:
    facts = {"audit": {"last_hash": end.last_hash, "lines": end.lines}}
    folder.report_facts.write_text(json.dumps(facts), "utf-8")


def test_each_marker_has_a_line_in_the_order_they_were_written(folder: RunFolder) -> None:
    end = audit.append(folder)
    found = lines(folder)
    spent = [f"T/loads/spent-{n}.json" for n in (2, 3, 1)]
    assert [line["file"] for line in found] == ["started.json", *spent]
    assert [line["n"] for line in found] == [1, 2, 3, 4]
    assert found[1]["at"] == "2025-01-01T06:10:00.000000Z"
    assert found[1]["facts"]["jobs"] == 0
    content = (folder.path / spent[0]).read_bytes()
    assert found[1]["sha256"] == hashlib.sha256(content).hexdigest()
    assert end == audit.AuditEnd(last_hash=found[-1]["hash"], lines=4, added=4)
    assert audit.verify(folder)[1] == []


def test_the_hashes_can_be_checked_by_anybody(folder: RunFolder) -> None:
    audit.append(folder)
    previous = ""
    for line in lines(folder):
        stated = line.pop("hash")
        assert line["previous"] == previous
        text = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert hashlib.sha256(text.encode()).hexdigest() == stated
        previous = stated


def test_only_what_changed_gets_another_line(folder: RunFolder) -> None:
    audit.append(folder)
    before = folder.audit.read_bytes()
    assert audit.append(folder).added == 0
    assert folder.audit.read_bytes() == before

    write_marker(folder.gzip_verdict, GzipVerdict(accepted=True, job_id="750", reason=""))
    write_marker(folder.started, Marker())
    (folder.path / "T" / "loads" / "spent-2.json").unlink()
    assert audit.append(folder).added == 3
    assert folder.audit.read_bytes().startswith(before)
    new = {line["file"]: line for line in lines(folder)[4:]}
    assert new.keys() == {"salesforce/gzip.json", "started.json", "T/loads/spent-2.json"}
    assert new["salesforce/gzip.json"]["facts"]["accepted"] is True
    assert new["T/loads/spent-2.json"]["sha256"] is None
    assert new["T/loads/spent-2.json"]["facts"] == {"removed": True}
    assert audit.append(folder).added == 0
    assert audit.verify(folder)[1] == []


def test_a_marker_that_has_not_changed_is_not_read_again(folder: RunFolder) -> None:
    """By size and time of change; `verify` is not deceived by them."""
    audit.append(folder, now=LATER)
    path = folder.path / "T" / "loads" / "spent-2.json"
    found = path.stat()
    path.write_bytes(path.read_bytes().replace(b'"T"', b'"U"'))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert audit.append(folder, now=LATER).added == 0
    (fault,) = audit.verify(folder)[1]
    assert fault == "T/loads/spent-2.json is not what line 2 says of it: it was changed since"


def test_a_marker_that_cannot_be_read_has_a_line_all_the_same(folder: RunFolder) -> None:
    (folder.path / "T" / "plan.json").write_text("{", "utf-8")
    audit.append(folder)
    assert lines(folder)[-1]["facts"] == {"unreadable": True}
    assert audit.verify(folder)[1] == []


def test_files_that_are_no_markers_are_left_out(folder: RunFolder) -> None:
    for name in ("report.json", ".state.json", "T/.plan.json.tmp-1", "T/loads/1.again/rows.json"):
        path = folder.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}", "utf-8")
    assert audit.append(folder).lines == 4


class TestUnfinished:
    def test_half_a_line_is_removed_and_that_is_said(self, folder: RunFolder) -> None:
        end = audit.append(folder)
        report_names(folder, end)
        with folder.audit.open("ab") as file:
            file.write(b'{"at":"2025')
        assert "line 5 has no end" in audit.verify(folder)[1][0]
        again = audit.append(folder)
        assert again.said == "a line that a killed run left unfinished was removed (11 bytes)"
        last = lines(folder)[-1]
        assert last["file"] == "audit.jsonl"
        assert last["facts"] == {"removed": True, "unfinished_bytes": 11}
        assert audit.verify(folder)[1] == []
        assert audit.append(folder).added == 0

    def test_a_whole_line_gets_its_end(self, folder: RunFolder) -> None:
        audit.append(folder)
        content = folder.audit.read_bytes()
        folder.audit.write_bytes(content[:-1])
        end = audit.append(folder)
        assert (end.added, end.lines) == (0, 4)
        assert "it was whole" in end.said
        assert folder.audit.read_bytes() == content


def rehashed(line: bytes, **changes: object) -> bytes:
    """A line with other content, whose hash is right: the work of somebody who knows how."""
    content = {**json.loads(line), **changes}
    del content["hash"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    stated = hashlib.sha256(text.encode()).hexdigest()
    return text[:-1].encode() + f',"hash":"{stated}"}}'.encode()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        pytest.param(
            lambda found: [found[0], found[1].replace(b'"T/', b'"U/'), *found[2:]],
            "line 2 was changed: its hash is not that of its content",
            id="changed",
        ),
        pytest.param(
            lambda found: [found[0], rehashed(found[1], sha256="0" * 64), *found[2:]],
            "line 3 does not follow on line 2: one of the two was replaced",
            id="changed with its hash",
        ),
        pytest.param(
            lambda found: [found[0], *found[2:]],
            "line 2 has the number 3: lines before it were removed or added",
            id="missing in the middle",
        ),
        pytest.param(
            lambda found: [found[0], found[2], found[1], found[3]],
            "line 2 has the number 3: lines before it were removed or added",
            id="exchanged",
        ),
        pytest.param(
            lambda found: [*found, found[-1]],
            "line 5 has the number 4: lines before it were removed or added",
            id="doubled",
        ),
        pytest.param(lambda found: found[:-1], "no line has it", id="cut off"),
        pytest.param(lambda found: [], "no line has it", id="emptied"),
        pytest.param(
            lambda found: [*found[:-1], rehashed(found[-1], sha256="0" * 64)],
            "missing, or were replaced, at the end",
            id="last line replaced",
        ),
        pytest.param(lambda found: [b"rubbish", *found], "line 1 was changed", id="rubbish"),
    ],
)
def test_a_manipulated_audit_is_found_and_not_continued(
    folder: RunFolder, change: Callable[[list[bytes]], list[bytes]], fault: str
) -> None:
    report_names(folder, audit.append(folder))
    found = folder.audit.read_bytes().splitlines()
    broken = b"".join(line + b"\n" for line in change(found))
    folder.audit.write_bytes(broken)
    assert any(fault in found for found in audit.verify(folder)[1])
    write_marker(folder.started, Marker())
    with pytest.raises(AuditError, match=r"audit\.jsonl: .*line.*kpcluigi audit") as caught:
        audit.append(folder)
    assert fault in str(caught.value)
    assert folder.audit.read_bytes() == broken


def test_lines_cut_off_with_the_report_are_found_by_a_signed_hash(folder: RunFolder) -> None:
    signed = audit.append(folder).last_hash
    write_marker(folder.started, Marker())
    report_names(folder, audit.append(folder))
    assert audit.verify(folder, last_hash=signed)[1] == []
    found = folder.audit.read_bytes().splitlines(keepends=True)
    folder.audit.write_bytes(b"".join(found[:3]))
    folder.report_facts.unlink()
    faults = audit.verify(folder, last_hash=signed)[1]
    assert any(f"no line has the hash {signed}" in fault for fault in faults)


def test_markers_that_were_removed_or_added_by_hand_are_named(folder: RunFolder) -> None:
    audit.append(folder)
    (folder.path / "T" / "loads" / "spent-1.json").unlink()
    write_marker(folder.path / "T" / "loads" / "spent-9.json", SpentJobs(table="T", jobs=[]))
    missing, unknown = audit.verify(folder)[1]
    assert missing == "T/loads/spent-1.json is missing: line 4 names it"
    assert unknown.startswith("T/loads/spent-9.json is in no line")


def test_several_at_once_keep_one_chain(folder: RunFolder) -> None:
    def add(n: int) -> None:
        write_marker(
            folder.path / "T" / "loads" / f"spent-1{n}.json", SpentJobs(table="T", jobs=[])
        )
        audit.append(folder)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(12)))
    assert audit.append(folder).lines == 4 + 12
    assert audit.verify(folder)[1] == []


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunFolder]:
    """A run that the settings lead to."""
    monkeypatch.setenv("KPC_SALESFORCE_URL", "https://kpc.my.salesforce.com")
    config = luigi.configuration.get_config()
    root = config.get("staging", "root")
    config.set("staging", "root", str(tmp_path))
    folder = RunFolder(tmp_path / "kpc" / "full_2022-01-01_2024-12-31")
    write_marker(folder.started, Marker())
    yield folder
    config.set("staging", "root", root)


def test_the_command_says_in_a_line_that_all_is_well(
    started: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    signed = audit.append(started).last_hash
    assert cli.main(["audit", "--last-hash", signed.upper()]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert f"1 line with {signed}, every marker is what its last line says" in line
    assert f"last hash {signed}" in line


def test_the_command_names_each_finding_and_fails(
    started: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    audit.append(started)
    write_marker(started.started, Marker())
    write_marker(started.gzip_verdict, GzipVerdict(accepted=True, job_id="750", reason=""))
    assert cli.main(["audit", "--last-hash", "f" * 64]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{started.audit}: ") for line in lines)
    assert cli.main(["audit", "--start-date", "2023-01-01"]) == 1
    assert "no run has ended in this folder yet" in capsys.readouterr().err


def test_there_is_nothing_to_verify_before_the_first_exit(folder: RunFolder) -> None:
    with pytest.raises(AuditError, match="no run has ended in this folder yet"):
        audit.verify(folder)


def test_a_marker_that_was_changed_by_hand_is_no_news(folder: RunFolder) -> None:
    """A run writes a marker with a later time; an editor does not."""
    path = folder.table("T").reconciled
    verdict = Marker(written_at=datetime(2025, 1, 1, 7, tzinfo=UTC))
    write_marker(path, verdict)
    audit.append(folder, now=LATER)
    path.write_text(path.read_text("utf-8").replace("0.1", "9.1"), "utf-8")
    with pytest.raises(AuditError, match=r"T/reconciled.json was changed after it was written"):
        audit.append(folder, now=LATER)
    later = verdict.model_copy(update={"written_at": datetime(2025, 1, 1, 8, tzinfo=UTC)})
    write_marker(path, later)
    assert audit.append(folder, now=LATER).added == 1


def test_files_that_name_rows_are_in_the_audit(folder: RunFolder) -> None:
    path = folder.table("T").dead_letter(1)
    path.parent.mkdir()
    path.write_bytes(b"rows")
    audit.append(folder, now=LATER)
    assert audit.verify(folder)[1] == []
    path.unlink()
    (told,) = audit.verify(folder)[1]
    assert "T/dead_letter/00001.csv.gz" in told
