"""report.html and report.json say all that there is to say, and say it safely."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

from kpcluigi import audit, report
from kpcluigi.audit import AuditEnd
from kpcluigi.report import frames
from kpcluigi.staging import RunFolder
from kpcluigi.tables import Table
from tests.report import HOSTILE, THAI, bad_run, good_run, run_folder, stage, summary_of

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
FRAMES = """<!doctype html><title></title>
<iframe style="width:375px;height:800px;border:0" srcdoc="{phone}"></iframe>
<iframe style="width:703px;height:800px;border:0" srcdoc="{paper}"></iframe>
<script>
addEventListener("load", () => {{
  const roots = [...document.querySelectorAll("iframe")].map(f => f.contentDocument);
  const widths = roots.map(({{documentElement: e}}) => `${{e.scrollWidth}} in ${{e.clientWidth}}`);
  document.title = widths.join(", ");
}});
</script>"""
"""A window of Chromium is never as narrow as a phone; a frame is. A4 less its margins has 688 px,
and a scroll bar 15."""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return run_folder(tmp_path)


@pytest.fixture
def three(tables: dict[str, Table]) -> list[Table]:
    return list(tables.values())[:3]


def written(folder: RunFolder, tables: list[Table], **facts: Any) -> str:
    report.write(folder, summary_of(folder, tables, **facts))
    return folder.report_page.read_text("utf-8")


def text_of(page: str) -> str:
    """What a reader sees."""
    body = re.sub(r"<wbr>|<(style|desc|title)\b.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", body)))


def facts_of(folder: RunFolder) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(folder.report_facts.read_text("utf-8"))
    return facts


def test_a_good_run_can_be_signed(folder: RunFolder, three: list[Table]) -> None:
    good_run(folder, three)
    end = audit.append(folder)
    page = written(folder, three, audit=end, left_out=13)
    text = text_of(page)
    assert (
        "PASS: every table of this run is reconciled; 13 others are not part of it. Of the 6,000 "
        "rows that Oracle had in 3 tables the org has 6,000; compared: counts (3 checks, 3 of 3 "
        "tables); aggregates (3 checks, 3 of 3 tables)." in text
    )
    assert "Name Role Date Signature" in text
    assert "not to be signed" not in text
    assert f"Last hash of the audit ({end.lines} lines): {end.last_hash}" in text
    for fact in (
        "d" * 64, "f" * 64, "4711", "2025-01-06 19:00:00 UTC", "TMSPROD/4711", "00D000000000001AAA",
        "luigi 3.", "python 3.", "polars ", "777 rows sampled", "c" * 64, "23 API requests",
        "4.5 s", "range by range, because", "tolerance 0.0004", "1234567890.12",
        "2022-01-01 to 2022-06-30", "6 Bulk jobs", "Statements parsed: 48", "a warning",
        str(folder.path),
    ):  # fmt: skip
        assert fact in text, fact
    facts = facts_of(folder)
    assert facts["green"]
    assert facts["may_be_signed"]
    assert facts["verdict"] in text
    assert facts["next"] == []
    assert facts["audit"]["last_hash"] == end.last_hash == audit.reported_hash(folder)


def test_a_bad_run_says_what_is_wrong_and_what_to_do(
    folder: RunFolder, three: list[Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["/venv/bin/luigi", "--module", "kpcluigi", "MigrateAll", "--workers", "3"]
    monkeypatch.setattr("sys.argv", command)
    bad_run(folder, three)
    name = three[0].name
    text = text_of(written(folder, three, audit=audit.append(folder)))
    assert "Not finished: 3 of 3 tables have no PASS" in text
    assert "This run is not to be signed: not every table is reconciled." in text
    assert "Signature" not in text
    start = text.index("What to do next")
    for step in (
        "luigi --module kpcluigi MigrateAll --workers 3",
        f"luigi --module kpcluigi RetryFailed --table {name}",
        f"luigi --module kpcluigi Repair --table {name}",
    ):
        start = text.index(step, start)
    for fact in (
        "Note__c: a LOB is compared by its length only", "changed since",
        "10,007 staged, 10,011 in the org; 9,683 identical, 302 modified, 1 missing in the org, "
        "13 extra in the org, 17 changed in the org since, 3 dead-lettered. 2 query jobs, 12.5 s",
        f"S-0001 Note__c {THAI} {HOSTILE}", "S-0002 Pad__c x␣ x ", "S-0003 a row no such row",
        "S-9999 no such row a row", "S-5 A__c NULL 1", "S-6 Store__r.Code__c T-1 NULL",
        "Net_Amount__c sum 987654321.01 987654321.00 0.0004 2022-01-01..2022-06-30",
        f"{name}/differences", "and 257 more in", "FIELD_CUSTOM_VALIDATION_EXCEPTION", "DEAD-2",
        "NOTE_COLUMN 1,240 0", "FIT-1", "SCN 999", "ORA-01555",
        "of 9 missing or modified rows, 2 were created and 6 updated; 1 failed", "R-1",
    ):  # fmt: skip
        assert fact in text, fact
    row = "FAIL 260,000,000 260,000,000 259,999,997 3 3 259,999,999 99.9999 % 1 99.9999 %"
    assert f"{name} {three[0].object} {row}" in text
    facts = facts_of(folder)
    assert not facts["green"]
    assert len(facts["tables"][0]["reconciled"]["differences"]) == 307
    assert facts["tables"][0]["repairs"][0]["updated"] == 6
    assert facts["tables"][0]["fitted"]["NOTE_COLUMN"]["truncated"] == 1_240
    assert facts["next"][2]["command"] == f"luigi --module kpcluigi Repair --table {name}"


def test_nothing_is_fetched_and_no_text_becomes_markup(
    folder: RunFolder, three: list[Table]
) -> None:
    bad_run(folder, three)
    page = written(folder, three)
    assert "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\"" in page
    assert "<script" not in page.lower()
    assert not re.search(r"\b(src|href|action|on\w+)\s*=|@import|url\(|<(link|iframe|object)", page)


def test_a_broken_audit_is_not_to_be_signed(folder: RunFolder, three: list[Table]) -> None:
    good_run(folder, three)
    end = AuditEnd(last_hash="a" * 64, problem="audit.jsonl: line 2 was changed")
    text = text_of(written(folder, three, audit=end))
    assert "The audit is broken: audit.jsonl: line 2 was changed" in text
    assert "not to be signed: its audit cannot be relied on" in text
    assert audit.reported_hash(folder) == "a" * 64
    assert not facts_of(folder)["green"]


def test_automation_that_is_off_is_not_to_be_signed(folder: RunFolder, three: list[Table]) -> None:
    good_run(folder, three)
    text = text_of(written(folder, three, still_off="AUTOMATION IS OFF in the org"))
    assert "AUTOMATION IS OFF in the org" in text
    assert "not to be signed: the org's automation is still off" in text


def test_a_run_without_any_job_says_that_there_is_nothing_to_draw(
    folder: RunFolder, three: list[Table]
) -> None:
    page = written(folder, three)
    assert "No job of this run has loaded rows yet" in page
    assert "<svg" not in page
    assert "Not compared with the org at all yet" in page
    assert facts_of(folder)["throughput"]["steps"] == []


def test_what_cannot_be_read_is_named_and_the_rest_is_shown(
    folder: RunFolder, three: list[Table]
) -> None:
    good_run(folder, three)
    broken = folder.table(three[0].name).load_result(2)
    broken.write_text("{", "utf-8")
    text = text_of(written(folder, three))
    assert f"{broken} is not a readable LoadResult marker" in text
    assert "5 Bulk jobs" in text


def test_the_frames_hold_what_the_page_shows(folder: RunFolder, three: list[Table]) -> None:
    bad_run(folder, three)
    summary = summary_of(folder, three)
    assert frames.errors(summary.tables)["rows"].tolist() == [3]
    assert frames.checks(summary.tables)["verdict"].tolist() == ["EXCEPTIONS", "FAIL", "FAIL"]
    found = frames.differences(summary.tables)
    assert found["kind"].value_counts()["modified"] == 302
    assert summary.frame()["failed"].tolist() == [3, 0, 0]


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_no_sideways_scroll_on_a_phone_and_a_pdf_of_whole_tables(
    folder: RunFolder, tables: dict[str, Table], tmp_path: Path
) -> None:
    every = list(tables.values())
    bad_run(folder, every)
    page = written(folder, every)
    paper = page.replace("@media print", "@media all")
    frames = tmp_path / "frames.html"
    frames.write_text(FRAMES.format(phone=escape(page), paper=escape(paper)), "utf-8")
    dumped = chromium(tmp_path, "--dump-dom", frames.as_uri())
    found = re.search(r"<title>(\d+) in (\d+), (\d+) in (\d+)</title>", dumped)
    assert found is not None
    on_phone, phone_width, on_paper, paper_width = map(int, found.groups())
    assert on_phone == phone_width <= 375
    assert on_paper == paper_width <= 688

    pdf = tmp_path / "report.pdf"
    chromium(tmp_path, f"--print-to-pdf={pdf}", folder.report_page.as_uri())
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF")
    assert re.search(rb"/MediaBox \[0 0 59[45][\d.]* 84[12]", content), "A4"


def chromium(home: Path, *arguments: str) -> str:
    assert CHROMIUM is not None
    fixed = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={home / 'profile'}")
    return subprocess.run(
        [CHROMIUM, *fixed, *arguments], check=True, capture_output=True, text=True, timeout=60
    ).stdout


def test_the_last_lines_name_the_differences(folder: RunFolder, three: list[Table]) -> None:
    bad_run(folder, three)
    folder.table(three[1].name).failure("load", None).unlink()
    lines = report.last_lines(folder, summary_of(folder, three))
    assert "no such row" in lines
    assert "2022-01-01..2022-06-30" in lines
    retry, repair, then = lines.splitlines()[-3:]
    assert retry == f"Next: luigi --module kpcluigi RetryFailed --table {three[0].name}"
    assert repair == f"Next: luigi --module kpcluigi Repair --table {three[0].name}"
    assert then == "Then: luigi --module kpcluigi MigrateAll"


def test_the_rate_is_never_rounded_up(folder: RunFolder, three: list[Table]) -> None:
    stage(folder, three[0], rows=10_000_000, failed=1)
    summary = summary_of(folder, three)
    assert summary.tables[0].success_rate == 99.9999
