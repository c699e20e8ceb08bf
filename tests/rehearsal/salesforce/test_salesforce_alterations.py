"""Records that are changed behind the org's back: what that leaves alone, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kpcluigi.rehearsal.salesforce.ids import make_id
from tests.rehearsal.salesforce.standin_org import OrgClient

OURS = "External_ID__c LIKE 'alter-%'"


@pytest.fixture
def altered(org: OrgClient) -> Iterator[OrgClient]:
    """Three records, and an automation that lets none of them change."""
    rows = "".join(f"alter-{i},{i}\n" for i in range(3))
    assert org.load("External_ID__c,Quantity__c\n" + rows)["numberRecordsFailed"] == 0
    org.standin.automate(object="KPS_Sales__c", error="FIELD_CUSTOM_VALIDATION_EXCEPTION:no:--")
    org.standin.reset()
    yield org
    org.standin.automate(object="KPS_Sales__c", remove=True)
    org.standin.alter(f"DELETE FROM KPS_Sales__c WHERE {OURS}")


def test_an_alteration_is_nobodys_action(altered: OrgClient) -> None:
    standin = altered.standin
    stamp = f"UPDATE KPS_Sales__c SET SystemModstamp = TIMESTAMP '2020-01-01' WHERE {OURS}"
    assert standin.alter(stamp) == 3
    assert standin.alter(f'UPDATE "KPS_Sales__c" SET Quantity__c = 9 WHERE {OURS};') == 3
    assert standin.alter("DELETE FROM KPS_Sales__c WHERE External_ID__c = 'alter-2'") == 1
    assert standin.alter("DELETE FROM KPS_Sales__c WHERE External_ID__c = 'alter-2'") == 0
    planted = f"'{make_id('a01', 62**6)}' AS Id, 'alter-3' AS External_ID__c"
    copied = f"SELECT * REPLACE ({planted}) FROM KPS_Sales__c WHERE External_ID__c = 'alter-1'"
    assert standin.alter(f"INSERT INTO KPS_Sales__c {copied}") == 1
    assert standin.log() == []
    assert standin.stats()["automation_rejected"] == 0
    records = altered.query(
        "SELECT External_ID__c, Quantity__c, SystemModstamp FROM KPS_Sales__c "
        f"WHERE {OURS} ORDER BY External_ID__c"
    )["records"]
    assert [tuple(record.values())[1:] for record in records] == [
        (f"alter-{i}", 9.0, "2020-01-01T00:00:00.000+0000") for i in (0, 1, 3)
    ]


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT 1", "one INSERT, UPDATE or DELETE"),
        ("DROP TABLE Account", "one INSERT, UPDATE or DELETE"),
        ("DELETE FROM Account; DELETE FROM Account", "one INSERT, UPDATE or DELETE"),
        ("", "one INSERT, UPDATE or DELETE"),
        ("DELETE FROM Account RETURNING Id", "RETURNING is not covered"),
        ("DELETE FROM Nobody__c", "Nobody__c"),
        ("DELETE Account WHERE", "syntax error"),
    ],
)
def test_only_changes_of_records_alter(org: OrgClient, sql: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        org.standin.alter(sql)
    assert org.query("SELECT COUNT() FROM Account")["totalSize"] >= 50
