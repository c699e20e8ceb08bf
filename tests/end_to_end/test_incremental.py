"""`MigrateAll --mode incremental`: what has changed since, and nothing else."""

from __future__ import annotations

import csv
import gzip
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tests.end_to_end.migration import Finished, Migration

APPROVALS = "KPS_T_SALES_APPRV"
INVOICES = "KPS_T_PREINV"
BANGKOK = ZoneInfo("Asia/Bangkok")


def incremental(migration: Migration, *arguments: str) -> Finished:
    return migration.run("--mode", "incremental", "--incremental-lag-minutes", "0", *arguments)


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def carried(folder: Path, table: str) -> int:
    load = folder / table / "loads" / "00001.json"
    return int(read(load)["extracted"]) if load.exists() else 0


def test_changed_rows_are_carried_and_the_next_run_goes_on_from_there(
    migration: Migration,
) -> None:
    migration.tables = f"{APPROVALS},{INVOICES}"
    refused = incremental(migration)
    assert refused.code == 1
    assert f"{INVOICES}, {APPROVALS}: no reconciled run with a window from 2022-01-01" in (
        refused.output
    )
    assert migration.run().code == 0

    first = incremental(migration)
    assert first.code == 0, first.output[-3000:]
    (folder,) = migration.folders("incremental_*")
    scope = read(folder / "increment.json")
    assert scope["since"][APPROVALS] == "2024-12-31T16:00:00Z", "the window's end, less an hour"
    assert scope["after"][APPROVALS] == "full_2022-01-01_2024-12-31"
    later = carried(folder, APPROVALS)
    assert later > 0, "the sample has rows after the window, and changes of rows in it"
    assert read(folder / APPROVALS / "reconciled.json")["verdict"] == "PASS"
    assert "rows that were deleted in Oracle are not seen" in first.output
    assert "rows that were deleted in Oracle are not seen" in (folder / "report.html").read_text()

    changed, added, old = make_changes(migration)
    second = incremental(migration)
    assert second.code == 0, second.output[-3000:]
    folder = migration.folders("incremental_*")[1]
    scope_2 = read(folder / "increment.json")
    assert scope_2["after"][APPROVALS] == migration.folders("incremental_*")[0].name
    assert datetime.fromisoformat(scope_2["since"][APPROVALS]) == (
        datetime.fromisoformat(scope["until"]) - timedelta(hours=1)
    )
    assert carried(folder, APPROVALS) == 2, "one changed, one new; not the one before the window"
    assert carried(folder, INVOICES) == 0
    found = migration.records(
        "SELECT External_ID__c, Approved_By__c FROM KPS_Sales_Approval__c "
        f"WHERE External_ID__c IN ('{changed}', '{added}', '{old}')"
    )
    names = {record["External_ID__c"]: record["Approved_By__c"] for record in found}
    assert names == {changed: "Somchai", added: "Somsri"}


def make_changes(migration: Migration) -> tuple[str, str, str]:
    """Ids of a row that was changed, a new one, and one before the window that was changed."""
    # An increment ends before the second in which it begins
    now = datetime.now(BANGKOK).replace(tzinfo=None, microsecond=0) - timedelta(seconds=1)
    with migration.source() as cursor:
        cursor.execute(
            f"SELECT MIN(apprv_id), MAX(apprv_id) FROM tms.{APPROVALS}"
            " WHERE created_date >= DATE '2023-01-01' AND created_date < DATE '2024-01-01'"
        )
        changed, model = cursor.fetchone()
        cursor.execute(
            f"SELECT MIN(apprv_id) FROM tms.{APPROVALS} WHERE created_date < DATE '2022-01-01'"
        )
        (old,) = cursor.fetchone()
        for key, name in ((changed, "Somchai"), (old, "Nobody")):
            cursor.execute(
                f"UPDATE tms.{APPROVALS} SET approved_by = :name, updated_date = :now"
                " WHERE apprv_id = :id",
                {"name": name, "now": now, "id": key},
            )
        cursor.execute(
            f"INSERT INTO tms.{APPROVALS} (apprv_id, store_code, sales_day, status, total_amount,"
            " approved_by, auto_flag, created_date)"
            " SELECT :id, store_code, sales_day, status, total_amount, 'Somsri', auto_flag, :now"
            f" FROM tms.{APPROVALS} WHERE apprv_id = :model",
            {"id": model + 10**9, "now": now, "model": model},
        )
    return str(changed), str(model + 10**9), str(old)


def test_an_unfinished_increment_is_finished_before_a_new_one_begins(
    migration: Migration,
) -> None:
    migration.tables = APPROVALS
    assert migration.run().code == 0
    migration.rehearsal.oracle.arm(on="execute", match="^SELECT.*RANK", ora=942, times=-1)
    assert incremental(migration).code == 30
    migration.rehearsal.oracle.disarm()
    assert incremental(migration).code == 0
    assert len(migration.folders("incremental_*")) == 1
    assert incremental(migration).code == 0
    assert len(migration.folders("incremental_*")) == 2


def test_a_key_that_did_not_arrive_is_named(migration: Migration) -> None:
    """The load says that it did; only the org knows better."""
    migration.tables = APPROVALS
    assert migration.run().code == 0
    migration.rehearsal.oracle.arm(
        on="execute", match="^SELECT.*GROUP BY on_day", ora=942, times=-1
    )
    assert incremental(migration).code == 30
    migration.rehearsal.oracle.disarm()
    (folder,) = migration.folders("incremental_*")
    chunk = folder / APPROVALS / "chunks" / "00001.csv.gz"
    with gzip.open(chunk, "rt", encoding="utf-8", newline="") as text:
        key = next(csv.DictReader(text))["External_ID__c"]
    migration.delete("KPS_Sales_Approval__c", "External_ID__c", key)
    ended = incremental(migration)
    assert ended.code == 30
    done = read(folder / APPROVALS / "reconciled.json")
    assert done["verdict"] == "FAIL"
    (check,) = (c for c in done["checks"] if c["name"] == "count in the org")
    assert {d["key"] for d in done["differences"] if d["kind"] == "missing"} == {key}
    assert check["found"] == check["expected"] - 1
