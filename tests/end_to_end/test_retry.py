"""Rows that Salesforce rejects: named, counted, corrected, sent again, reconciled."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest

from tests.end_to_end.migration import Migration, kill

TABLE, OBJECT = "KPS_T_SALES_M", "KPS_Sales_Header__c"
REASONS = (
    "REQUIRED_FIELD_MISSING:Required fields are missing: [Slip__c]:Slip__c --",
    "FIELD_CUSTOM_VALIDATION_EXCEPTION:The tenant is closed:--",
    "STRING_TOO_LONG:Slip: data value too large: x (max length=3):Slip__c --",
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST:bad value for restricted picklist field: X:Kind__c --",
)
EACH = 250


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode())))


@pytest.mark.long
def test_rejected_rows_are_named_and_loaded_once_they_are_corrected(migration: Migration) -> None:
    migration.tables, migration.plain = TABLE, False
    org = migration.rehearsal.salesforce
    tables = migration.root.parent / "tables.toml"
    text = (migration.rehearsal.folder / "tables.toml").read_text("utf-8")
    head = f"[tables.{TABLE}]\n"
    tables.write_text(text.replace(head, f"{head}max_failed_rows = 1000\n"), "utf-8")
    options = ["--migration-tables", str(tables), "--staging-after-load", "delete"]
    for number, reason in enumerate(REASONS):
        org.arm(on="row", object=OBJECT, nth=1 + number * EACH, times=EACH, row_error=reason)

    ended = migration.run(*options)
    assert ended.code == 30
    last = ended.output[ended.output.rindex("phase  table") :]
    reconciled = migration.marker(TABLE, "reconciled.json")
    assert reconciled["verdict"] == "EXCEPTIONS", reconciled["differences"]
    assert f"{TABLE}: 1,000 rows are in" in last
    assert f"luigi --module kpcluigi RetryFailed --table {TABLE}" in last
    for reason in REASONS:
        assert f"250 rows: {reason.removesuffix('--').rstrip(' :')}; " in last
    folder = migration.folder / TABLE
    assert reconciled["dead_lettered"] == 4 * EACH
    assert reconciled["created"] + reconciled["updated"] == reconciled["source"] - 4 * EACH
    dead = [row for path in folder.glob("dead_letter/*") for row in rows_of(path)]
    assert len({row["External_ID__c"] for row in dead}) == len(dead) == 4 * EACH
    assert sorted({row["sf__Error"] for row in dead}) == sorted(REASONS)
    assert not list(folder.glob("chunks/*.csv.gz")), "loaded, and so deleted"
    chunk = next(folder.glob("dead_letter/*")).name[:5]
    (told,) = migration.records(
        "SELECT TMS_Status__c, TMS_Rows_Failed__c FROM TMS_Daily_Sales_File__c "
        f"WHERE TMS_External_File_Ref__c LIKE '{TABLE}-{chunk}-%'"
    )
    failed = sum(1 for row in rows_of(folder / "dead_letter" / f"{chunk}.csv.gz"))
    assert (told["TMS_Status__c"], told["TMS_Rows_Failed__c"]) == ("CompletedWithErrors", failed)

    facts = migration.marker("report.json")
    assert [found["rows"] for found in facts["tables"][0]["errors"]] == [EACH] * 4
    page = (migration.folder / "report.html").read_text("utf-8")
    assert all(reason.split(":")[0] in page for reason in REASONS)

    mended = migration.root.parent / "mended.csv"
    field = "Cashier_Name__c"
    with mended.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, dead[0].keys())
        writer.writeheader()
        writer.writerows({**row, field: "MENDED"} for row in dead)
    mended_command = ["--table", TABLE, "--corrected", str(mended), *options]
    sent = sum(entry.get("bytes", 0) > 500 for entry in org.log() if entry["method"] == "PUT")
    org.arm(on="job", object=OBJECT, latency=3)
    handed_over = org.stats()["by_call"]["close"]
    first = migration.start(*mended_command, task="RetryFailed")
    migration.wait_for("the job", lambda: org.stats()["by_call"]["close"] > handed_over)
    kill(first.pid)
    first.wait(30)
    ended = migration.run(*mended_command, task="RetryFailed")
    assert ended.code == 0, ended.output[-3000:]
    assert len(list(folder.glob("retries/*.sent.json"))) == 1, "one attempt, taken up again"
    assert migration.verdicts() == {TABLE: "PASS"}
    assert sum(entry.get("bytes", 0) > 500 for entry in org.log() if entry["method"] == "PUT") == (
        sent + 1
    )
    assert not list(folder.glob("dead_letter/*"))
    attempt = migration.marker(TABLE, "retries", "00001.json")
    assert (attempt["rows"], attempt["corrected"]) == (1000, "mended.csv")
    assert attempt["created"] + attempt["updated"] == 1000
    assert migration.in_org(OBJECT, f"{field} = 'MENDED'") == 1000
    since = len(migration.rehearsal.oracle.log())
    ended = migration.run(*options)
    assert ended.code == 0
    assert migration.extractions(since) == []
    assert "all PASS" in ended.output


def test_a_load_waits_for_the_allocation_and_goes_on_by_itself(migration: Migration) -> None:
    migration.tables = "KPS_R_POS_SUPPLIER"
    org = migration.rehearsal.salesforce
    taken = org.use_batches(15_000)
    try:
        process = migration.start("--salesforce-quota-recheck", "1")
        message = migration.wait_for(
            "the wait", lambda: "batches" in migration.output and migration.status_message("Bulk")
        )
        assert "batches" in message
        assert org.stats()["by_call"].get("create", 0) == 0
    finally:
        org.use_batches(-taken)
    assert process.wait(60) == 0, migration.output[-3000:]
    assert migration.verdicts() == {"KPS_R_POS_SUPPLIER": "PASS"}
