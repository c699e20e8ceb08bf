"""The command a user types, from an empty run folder to 16 verdicts, and again."""

from __future__ import annotations

import csv
import gzip
import json

import pytest

from tests.end_to_end.migration import Migration


@pytest.mark.long
def test_sixteen_tables_are_reconciled_and_a_rerun_does_nothing(migration: Migration) -> None:
    migration.typed = True
    first = migration.run()
    assert first.code == 0, first.output[-3000:]
    assert len(migration.verdicts()) == 16
    assert set(migration.verdicts().values()) == {"PASS"}
    expected = migration.rehearsal.rows_in_window
    for table, rows in expected.items():
        reconciled = migration.marker(table, "reconciled.json")
        assert (reconciled["source"], reconciled["salesforce"]) == (rows, rows), table
        assert reconciled["match_percentage"] == 100.0
    assert f"{sum(expected.values()):,}" in first.output
    assert "all PASS" in first.output
    report = json.loads((migration.folder / "report.json").read_text("utf-8"))
    assert report["green"] is True
    assert "PASS: every table is reconciled" in (migration.folder / "report.html").read_text()
    leftovers = [path.name for path in migration.folder.rglob("*.tmp-*")]
    assert leftovers == []

    plan = migration.marker("KPS_T_SALES_MD", "plan.json")
    assert isinstance(plan["scn"], int)
    assert len(plan["chunks"]) >= 3
    manifest = migration.marker("KPS_T_SALES_MD", "chunks", "00001.json")
    chunk = migration.folder / "KPS_T_SALES_MD" / "chunks" / "00001.csv.gz"
    text = gzip.decompress(chunk.read_bytes())
    assert len(text) == manifest["raw_bytes"]
    assert text.startswith(b"External_ID__c,Tenant_Code__c,Store_Code__c,Sales_Date__c,")

    assert secrets_in(migration) == []

    executed = migration.rehearsal.oracle.stats()["executes"]
    requests = migration.rehearsal.salesforce.stats()["requests"]
    again = migration.run()
    assert again.code == 0
    assert migration.rehearsal.oracle.stats()["executes"] == executed
    assert migration.rehearsal.salesforce.stats()["requests"] == requests
    assert "all PASS" in again.output


def secrets_in(migration: Migration) -> list[str]:
    """Files of the run, and logs, in which a password or client secret stands."""
    settings = migration.rehearsal.settings
    secrets = [
        settings[name].encode() for name in ("KPC_ORACLE_PASSWORD", "KPC_SALESFORCE_CLIENT_SECRET")
    ]
    files = [path for path in migration.root.parent.rglob("*") if path.is_file()]
    files += [migration.rehearsal.folder / "luigid.log", migration.rehearsal.folder / "luigi.cfg"]
    return [str(path) for path in files if any(secret in path.read_bytes() for secret in secrets)]


def test_a_pilot_table_goes_first_and_is_not_moved_twice(migration: Migration) -> None:
    migration.tables = "KPS_R_POS_SUPPLIER"
    assert migration.run().code == 0
    assert migration.verdicts() == {"KPS_R_POS_SUPPLIER": "PASS"}
    migration.tables = "KPS_R_POS_SUPPLIER,KPS_R_EMAIL_TENANT"
    uploads = migration.rehearsal.salesforce.stats()["uploads"]
    assert migration.run().code == 0
    assert set(migration.verdicts()) == {"KPS_R_POS_SUPPLIER", "KPS_R_EMAIL_TENANT"}
    assert migration.rehearsal.salesforce.stats()["uploads"] == uploads + 1


def test_phases_run_one_after_another(migration: Migration) -> None:
    migration.tables = "KPS_R_EMAIL_SUPPLIER,KPS_R_EMAIL_TENANT,KPS_T_PREINV,KPS_T_PREINV_DETAIL"
    assert migration.run().code == 0

    def written(table: str, *path: str) -> str:
        return str(migration.marker(table, *path)["written_at"])

    loaded = max(
        written(table, "loads", "00001.json")
        for table in ("KPS_R_EMAIL_SUPPLIER", "KPS_R_EMAIL_TENANT")
    )
    assert loaded < written("KPS_T_PREINV", "plan.json")
    assert written("KPS_T_PREINV", "loads", "00001.json") < written(
        "KPS_T_PREINV_DETAIL", "plan.json"
    )


def test_a_window_without_rows_is_reconciled_too(migration: Migration) -> None:
    migration.tables = "KPS_R_POS_SUPPLIER"
    assert migration.run("--start-date", "1999-01-01", "--end-date", "1999-12-31").code == 0
    reconciled = migration.marker("KPS_R_POS_SUPPLIER", "reconciled.json")
    assert (reconciled["verdict"], reconciled["source"], reconciled["chunks"]) == ("PASS", 0, 0)


def test_a_window_of_one_day_holds_that_whole_day(migration: Migration) -> None:
    migration.tables = "KPS_T_SALES_MD"
    day = "2024-02-29"
    assert migration.run("--start-date", day, "--end-date", day).code == 0
    reconciled = migration.marker("KPS_T_SALES_MD", "reconciled.json")
    assert reconciled["verdict"] == "PASS"
    first = migration.folder / "KPS_T_SALES_MD" / "chunks" / "00001.csv.gz"
    with gzip.open(first, "rt", encoding="utf-8", newline="") as text:
        created = sorted(row["Oracle_Created_Date__c"] for row in csv.DictReader(text))
    assert len(created) == reconciled["source"] > 0
    assert created[0] >= "2024-02-28T17:00:00.000Z", "midnight in Bangkok"
    assert created[-1] < "2024-02-29T17:00:00.000Z"
