"""What Oracle forgets, and what others change meanwhile: the result is the snapshot."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import oracledb

from tests.end_to_end.migration import Migration

SALES = "KPS_T_SALES_MD"
CHUNK_2 = rf"^SELECT t.*{SALES} AS OF SCN .*:low0.*:high0.*ORDER BY"
LATER_CHUNK = rf"^SELECT t.*{SALES} AS OF SCN .*:low0.*ORDER BY"


def test_a_chunk_whose_snapshot_is_gone_is_read_at_a_new_one_and_named(
    migration: Migration,
) -> None:
    migration.tables = SALES
    migration.rehearsal.oracle.arm(on="execute", match=CHUNK_2, ora=1555)
    ended = migration.run()
    assert ended.code == 0, ended.output[-3000:]
    plan = migration.marker(SALES, "plan.json")
    (again,) = (chunk for chunk in plan["chunks"] if chunk["reread"])
    assert again["reread"]["scn"] > plan["scn"]
    assert "ORA-01555" in again["reread"]["reason"]
    manifest = migration.marker(SALES, "chunks", f"{again['n']:05d}.json")
    assert (manifest["scn"], manifest["rows"]) == (again["reread"]["scn"], again["rows"])
    said = f"chunk {again['n']} was counted and read at SCN {again['reread']['scn']}"
    assert said in ended.output
    assert said in (migration.folder / "report.html").read_text("utf-8")
    assert migration.marker(SALES, "reconciled.json")["verdict"] == "PASS"


def test_a_snapshot_that_is_always_lost_is_a_clear_failure(migration: Migration) -> None:
    migration.tables = SALES
    migration.rehearsal.oracle.arm(on="execute", match=CHUNK_2, ora=1555, times=-1)
    ended = migration.run()
    assert ended.code == 30
    assert "SnapshotLostError" in ended.output
    assert "ask for a longer UNDO_RETENTION" in ended.output
    files = {path.name for path in (migration.folder / SALES / "chunks").glob("*.csv.gz")}
    assert "00001.csv.gz" in files
    assert "00002.csv.gz" not in files

    migration.rehearsal.oracle.disarm()
    assert migration.run().code == 0


def test_totals_whose_snapshot_is_gone_are_read_at_a_new_one(migration: Migration) -> None:
    migration.tables = SALES
    migration.rehearsal.oracle.arm(on="execute", match="^SELECT.*GROUP BY on_day", ora=1555)
    ended = migration.run()
    assert ended.code == 0
    totals = migration.marker(SALES, "source_totals.json")
    assert totals["scn"] > migration.marker(SALES, "plan.json")["scn"]
    assert f"totals read at SCN {totals['scn']}" in ended.output


def test_rows_that_change_while_a_run_goes_on_are_moved_as_they_were(
    migration: Migration,
) -> None:
    """Inserted, changed and deleted after the plan, before their chunk is read."""
    migration.tables = SALES
    with migration.source() as cursor:
        cursor.execute(
            f"SELECT * FROM tms.{SALES} WHERE created_date >= DATE '2024-01-01'"
            f" AND created_date < DATE '2025-01-01' ORDER BY sales_id DESC"
        )
        names = [column.name for column in cursor.description or ()]
        changed, deleted = (dict(zip(names, row, strict=True)) for row in cursor.fetchmany(2))
    added = {**changed, "SALES_ID": changed["SALES_ID"] + 10**9}
    undo = [(f"DELETE FROM tms.{SALES} WHERE sales_id = :id", {"id": added["SALES_ID"]})]
    migration.rehearsal.oracle.arm(on="execute", match=LATER_CHUNK, delay=4, times=-1)
    running = migration.start()
    migration.wait_for(
        "a planned table", lambda: list(migration.root.glob(f"*/*/{SALES}/plan.json"))
    )
    try:
        began_changing = datetime.now(UTC)
        with migration.source() as cursor:
            insert(cursor, added)
            cursor.execute(*raised(changed, 100))
            undo.append(raised(changed, -100))
            cursor.execute(
                f"DELETE FROM tms.{SALES} WHERE sales_id = :id", {"id": deleted["SALES_ID"]}
            )
        migration.rehearsal.oracle.disarm()
        assert running.wait(120) == 0, migration.output[-3000:]
        assert migration.marker(SALES, "reconciled.json")["verdict"] == "PASS"
        ids = ", ".join(f"'{row['SALES_ID']}'" for row in (changed, deleted, added))
        found = migration.records(
            "SELECT External_ID__c, Net_Amount__c FROM KPS_Sales__c "
            f"WHERE External_ID__c IN ({ids})"
        )
        amounts = {record["External_ID__c"]: record["Net_Amount__c"] for record in found}
        assert amounts.keys() == {str(changed["SALES_ID"]), str(deleted["SALES_ID"])}
        assert abs(amounts[str(changed["SALES_ID"])] - float(changed["NET_AMOUNT"])) < 0.01
        read_after = migration.marker(SALES, "chunks", "00003.json")["written_at"]
        assert datetime.fromisoformat(read_after) > began_changing
    finally:
        with migration.source() as cursor:
            for statement in undo:
                cursor.execute(*statement)
            insert(cursor, deleted)


def insert(cursor: oracledb.Cursor, row: dict[str, Any]) -> None:
    binds = ", ".join(f":{name}" for name in row)
    cursor.execute(f"INSERT INTO tms.{SALES} ({', '.join(row)}) VALUES ({binds})", row)


def raised(row: dict[str, Any], by: int) -> tuple[str, dict[str, Any]]:
    sql = f"UPDATE tms.{SALES} SET net_amount = net_amount + :amount WHERE sales_id = :id"
    return sql, {"amount": by, "id": row["SALES_ID"]}


def test_outside_of_its_hours_oracle_is_left_alone(migration: Migration) -> None:
    """The tasks wait; they hold no session, and say until when."""
    migration.tables = "KPS_T_PREINV"
    now = datetime.now(UTC)
    hours = f"{now + timedelta(hours=2):%H:%M}-{now + timedelta(hours=3):%H:%M} UTC"
    since = len(migration.rehearsal.oracle.log())
    migration.start("--oracle-extraction-hours", hours)
    child = migration.wait_for("a waiting plan", lambda: migration.child_running("PlanChunks"))
    assert child
    status = migration.wait_for(
        "its status", lambda: migration.status_message("PlanChunks"), timeout=15
    )
    assert status == f"waits for its extraction hours: {now + timedelta(hours=2):%a %H:%M UTC}"
    read = [e for e in migration.rehearsal.oracle.log(since) if e["action"] != "preflight"]
    assert read == []
