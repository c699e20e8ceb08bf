"""Automation is off while rows move and on again after, whatever ended the run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from kpcluigi.salesforce import create_job, job_info
from tests.end_to_end.migration import Migration, all_gone, kill, pids_of
from tests.end_to_end.test_failures import kpcluigi

TABLE, OBJECT = "KPS_R_POS_SUPPLIER", "KPS_POS_Supplier__c"


@pytest.fixture
def automated(migration: Migration) -> Iterator[Migration]:
    """The org rejects every row of the table unless its automation is bypassed."""
    org = migration.rehearsal.salesforce
    migration.tables, migration.plain = TABLE, False
    org.automate(object=OBJECT, error="FIELD_CUSTOM_VALIDATION_EXCEPTION:Not by hand:--")
    yield migration
    org.automate(object=OBJECT, remove=True)


def test_a_killed_run_leaves_it_off_and_the_next_puts_it_back(automated: Migration) -> None:
    """Beside it lies an open job that no journal names."""
    org = automated.rehearsal.salesforce
    with automated.client() as client:
        orphan = create_job(client, OBJECT, external_id="External_ID__c")
    org.arm(on="job", latency=5)
    first = automated.start()
    automated.wait_for("a job under way", lambda: org.stats()["by_call"].get("info"))
    pids = pids_of(first)
    kill(first.pid)
    first.wait(30)
    automated.wait_for("the end of all children", lambda: all_gone(pids), timeout=10)
    before = automated.root / "127.0.0.1" / "automation.json"
    recorded = before.read_text("utf-8")
    assert org.stats()["automation_bypassed"]
    last = kpcluigi(automated, "kpcluigi status").splitlines()[-1]
    assert last.startswith("AUTOMATION IS OFF")
    assert last.endswith("kpcluigi restore")

    org.disarm()
    second = automated.run()
    assert second.code == 0, second.output[-3000:]
    assert automated.verdicts() == {TABLE: "PASS"}
    assert org.stats()["automation_rejected"] == 0
    assert "Automation is on again: KPC_Automation__c" in second.output
    assert "AUTOMATION IS OFF" not in second.output
    assert not org.stats()["automation_bypassed"]
    assert not before.exists()

    before.write_text(recorded, "utf-8")
    automated.settings = {"KPC_SALESFORCE_URL": "http://127.0.0.1:9"}
    third = automated.run()
    assert third.code == 0, "a run with nothing left to do, and no org to put anything back in"
    assert third.seconds < 20
    assert third.output.splitlines()[-1].startswith("AUTOMATION IS OFF")
    assert "http://127.0.0.1:9 does not answer" in third.output.splitlines()[-1]
    report = json.loads((automated.folder / "report.json").read_text("utf-8"))
    assert report["automation_off"].startswith("AUTOMATION IS OFF")
    assert "AUTOMATION IS OFF" in (automated.folder / "report.html").read_text("utf-8")

    automated.settings = {}
    assert "Automation is on again" in kpcluigi(automated, "kpcluigi restore")
    assert not before.exists()
    cleaned = kpcluigi(automated, "kpcluigi clean --older-than 0 --yes")
    assert re.search(rf"{orphan.id} +{OBJECT} .* aborted", cleaned)
    with automated.client() as client:
        assert job_info(client, orphan.id).state == "Aborted"
