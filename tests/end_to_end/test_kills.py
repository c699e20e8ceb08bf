"""kill -9 of the parent, of luigid, of a child, at each stage; the same command finishes it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.end_to_end.migration import Migration, all_gone, kill, pids_of

TABLE = "KPS_T_SALES_MD"

Reached = Callable[[Migration], int | None]


def extracting(migration: Migration) -> int | None:
    return migration.child_running("ExtractChunk")


def uploading(migration: Migration) -> int | None:
    """A child whose job is created and whose upload is on its way."""
    sent = {e["job"] for e in migration.rehearsal.salesforce.log() if e["method"] == "PUT"}
    return child_with_job(migration, lambda job: job not in sent)


def polling(migration: Migration) -> int | None:
    """A child that has asked for the state of its job."""
    asked = {
        entry["job"]
        for entry in migration.rehearsal.salesforce.log()
        if entry["method"] == "GET" and entry["path"].endswith(str(entry.get("job")))
    }
    return child_with_job(migration, lambda job: job in asked)


def child_with_job(migration: Migration, fits: Callable[[str], bool]) -> int | None:
    for path in migration.root.glob(f"*/*/{TABLE}/loads/*.journal.json"):
        try:
            job = json.loads(path.read_text("utf-8"))["parts"][0]["job_id"]
        except FileNotFoundError:
            continue  # that chunk has just been finished
        if job and fits(job):
            return migration.child_running("BulkUpload", n=int(path.name[:5]))
    return None


STAGES = {"extraction": extracting, "upload": uploading, "polling": polling}


def slow_down(migration: Migration, stage: str) -> None:
    """Hold the stage open long enough to be hit in the middle of it."""
    if stage == "extraction":
        reads = "^SELECT t.*ORDER BY t.SALES_ID$"
        migration.rehearsal.oracle.arm(on="execute", match=reads, delay=3, times=2)
    elif stage == "upload":
        migration.rehearsal.salesforce.arm(on="upload", delay=3, times=2)
    else:
        migration.rehearsal.salesforce.arm(on="job", latency=3, times=2)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("victim", ["luigi", "luigid", "child"])
def test_the_same_command_finishes_what_was_killed(
    migration: Migration, stage: str, victim: str
) -> None:
    migration.tables = TABLE
    slow_down(migration, stage)
    started_at = datetime.now(UTC) + timedelta(seconds=1)  # the org keeps whole seconds
    first = migration.start()
    child = migration.wait_for(stage, lambda: STAGES[stage](migration))
    pids = pids_of(first)
    finished_before = {path.name for path in migration.folder.glob(f"{TABLE}/loads/0000?.json")}

    if victim == "luigi":
        kill(first.pid)
    elif victim == "child":
        kill(child)
    else:
        luigid = migration.rehearsal.luigid
        assert luigid is not None
        luigid.kill()
        luigid.wait()
        migration.rehearsal.start_luigid()
    first.wait(90)
    assert first.returncode != 0
    migration.wait_for("the end of all children", lambda: all_gone(pids), timeout=10)

    if victim == "child":
        assert f"{TABLE}: not loaded yet: chunk" in migration.output
    extracted = {path.name for path in migration.folder.glob(f"{TABLE}/chunks/*.json")}
    loaded = {path.name for path in migration.folder.glob(f"{TABLE}/loads/0000?.json")}
    assert finished_before <= loaded
    since = len(migration.rehearsal.oracle.log())
    migration.rehearsal.oracle.disarm()
    migration.rehearsal.salesforce.disarm()
    said = len(migration.output)
    began = time.monotonic()
    second = migration.start()
    migration.wait_for(
        "the first task", lambda: " running   " in migration.output[said:], timeout=15
    )
    started_work = time.monotonic() - began
    assert second.wait(120) == 0, migration.output[said:][-3000:]
    assert started_work < 15

    assert migration.verdicts() == {TABLE: "PASS"}
    again = migration.extractions(since)
    assert not {f"{action.split()[1].zfill(5)}.json" for action in again} & extracted
    reconciled = migration.marker(TABLE, "reconciled.json")
    assert reconciled["salesforce"] == migration.rehearsal.rows_in_window[TABLE]
    since_start = f"SystemModstamp >= {started_at:%Y-%m-%dT%H:%M:%SZ}"
    assert migration.in_org("KPS_Sales__c", since_start) == reconciled["source"], (
        "each row came by this test's runs, not by those of a test before"
    )
    chunks = len(migration.marker(TABLE, "plan.json")["chunks"])
    handed_over = migration.rehearsal.salesforce.stats()["by_call"]["close"]
    assert handed_over == chunks, "a job that Salesforce had under way was sent again"


def test_sigterm_ends_children_and_writes_the_report(migration: Migration) -> None:
    migration.tables, migration.plain, migration.typed = TABLE, False, True
    slow_down(migration, "extraction")
    first = migration.start()
    migration.wait_for("extraction", lambda: extracting(migration))
    pids = pids_of(first)
    first.terminate()
    assert first.wait(30) != 0
    migration.wait_for("the end of all children", lambda: all_gone(pids), timeout=10)
    assert (migration.folder / "report.html").exists()
    assert "Automation is on again" in migration.output
    assert "Next: luigi --module kpcluigi MigrateAll" in migration.output
