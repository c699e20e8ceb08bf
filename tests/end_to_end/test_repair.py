"""Rows that were lost or spoilt in the org: found, sent again, and found to be there."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import UTC, datetime
from pathlib import Path

from kpcluigi.reconcile.staged import CLOCKS
from tests.end_to_end.migration import Migration, kill

TABLE, OBJECT = "KPS_T_PREINV", "KPS_Pre_Invoice__c"


def lines_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode())))


def test_repair_makes_a_broken_table_pass(migration: Migration) -> None:
    migration.tables = TABLE
    org = migration.rehearsal.salesforce
    assert migration.run().code == 0
    keys = [
        record["External_ID__c"]
        for record in migration.records(f"SELECT External_ID__c FROM {OBJECT}")
    ]
    lost, spoilt, edited = keys[:3]
    org.alter(f"DELETE FROM {OBJECT} WHERE External_ID__c = '{lost}'")
    org.alter(f"UPDATE {OBJECT} SET Remark__c = 'x  ' WHERE External_ID__c = '{spoilt}'")
    (job,) = migration.marker(TABLE, "loads", "00001.json")["jobs"][-1:]
    loaded = datetime.fromisoformat(job["ended_at"])
    later = loaded + 2 * CLOCKS
    migration.wait_for("an edit that is surely later", lambda: datetime.now(UTC) > later)
    with migration.client() as client:
        path = f"/sobjects/{OBJECT}/External_ID__c/{edited}"
        client.call("PATCH", path, json={"Total_Amount__c": 1.25})

    ended = migration.run("--full")
    assert ended.code == 30
    assert migration.verdicts() == {TABLE: "FAIL"}
    assert "1 modified, 1 missing, 1 changed in Salesforce since" in ended.output
    assert f"luigi --module kpcluigi Repair --table {TABLE}" in ended.output
    named = lines_of(migration.folder / TABLE / "differences" / "fields.csv.gz")
    assert {(line["kind"], line["key"]) for line in named} == {
        ("missing", lost),
        ("modified", spoilt),
        ("changed_since", edited),
    }
    (remark,) = [line for line in named if line["key"] == spoilt]
    assert (remark["field"], remark["found"]) == ("Remark__c", "x  ")

    jobs = org.stats()["jobs"]
    org.arm(on="job", object=OBJECT, latency=3)
    handed_over = org.stats()["by_call"]["close"]
    repair = ["--table", TABLE]
    first = migration.start(*repair, task="Repair")
    migration.wait_for("the job", lambda: org.stats()["by_call"]["close"] > handed_over)
    kill(first.pid)
    first.wait(30)
    assert migration.run().code != 0, "its rows cannot be compared while they are in flight"
    assert f"luigi --module kpcluigi Repair --table {TABLE}" in migration.output

    scratch = migration.folder / TABLE / ".rows"
    scratch.mkdir()  # as a comparison leaves it that is killed
    ended = migration.run(*repair, task="Repair")
    assert ended.code == 30
    assert not scratch.exists()
    assert org.stats()["jobs"] - jobs == 1, "taken up again, not sent twice"
    marker = migration.marker(TABLE, "repairs", "00001.json")
    assert (marker["rows"], marker["created"], marker["updated"]) == (2, 1, 1)
    done = migration.marker(TABLE, "reconciled.json")
    assert done["verdict"] == "EXCEPTIONS", "an edit is left alone"
    assert (done["rows"]["changed_since"], done["rows"]["modified"]) == (1, 0)
    assert "--changed-too" in ended.output

    ended = migration.run(*repair, "--changed-too", task="Repair")
    assert ended.code == 0, ended.output[-3000:]
    assert migration.verdicts() == {TABLE: "PASS"}
    assert migration.in_org(OBJECT, "Total_Amount__c = 1.25") == 0
    assert "all PASS" in ended.output
