"""Single records, and what queries and counts say about them."""

from __future__ import annotations

import json

import pytest

from kpcluigi.errors import SalesforceError
from kpcluigi.rehearsal.salesforce import SalesforceStandIn
from kpcluigi.salesforce import (
    Client,
    create_record,
    delete_record,
    get_record,
    query,
    query_one,
    record_counts,
    update_record,
    upsert_record,
)
from tests.salesforce.scripted import ScriptedServer, reply


def note_of(client: Client, key: str) -> str | None:
    found = query_one(client, f"SELECT Note__c FROM Thing__c WHERE External_ID__c = '{key}'")
    return None if found is None else str(found["Note__c"])


def test_a_record_is_created_changed_read_and_deleted(client: Client) -> None:
    record_id = create_record(client, "Thing__c", {"External_ID__c": "rec-1", "Note__c": "first"})
    assert note_of(client, "rec-1") == "first"
    update_record(client, "Thing__c", record_id, {"Note__c": None})
    found = get_record(client, "Thing__c", record_id, ["External_ID__c", "Note__c"])
    assert found is not None
    assert (found["External_ID__c"], found["Note__c"]) == ("rec-1", None)
    delete_record(client, "Thing__c", record_id)
    delete_record(client, "Thing__c", record_id)
    assert get_record(client, "Thing__c", record_id) is None
    assert note_of(client, "rec-1") is None


def test_an_upsert_creates_and_then_changes_the_same_record(client: Client) -> None:
    key = "rec 2/ä?#%"  # nothing in it is taken for a part of the address
    upsert_record(client, "Thing__c", "External_ID__c", key, {"Note__c": "one"})
    upsert_record(client, "Thing__c", "External_ID__c", key, {"Note__c": "two"})
    found = list(query(client, f"SELECT Id, Note__c FROM Thing__c WHERE External_ID__c = '{key}'"))
    assert [record["Note__c"] for record in found] == ["two"]
    delete_record(client, "Thing__c", found[0]["Id"])


def test_update_only_never_creates(client: Client) -> None:
    with pytest.raises(SalesforceError) as refused:
        upsert_record(
            client, "Thing__c", "External_ID__c", "rec-3", {"Note__c": "x"}, update_only=True
        )
    assert refused.value.status == 404
    assert note_of(client, "rec-3") is None
    upsert_record(client, "Thing__c", "External_ID__c", "rec-3", {"Note__c": "x"})
    upsert_record(client, "Thing__c", "External_ID__c", "rec-3", {"Note__c": "y"}, update_only=True)
    assert note_of(client, "rec-3") == "y"


def test_a_record_whose_answer_is_lost_is_not_created_twice(
    org: SalesforceStandIn, client: Client
) -> None:
    org.arm(on="record", reset=True, processed=True)
    with pytest.raises(SalesforceError, match="no answer") as lost:
        create_record(client, "Thing__c", {"External_ID__c": "rec-4"})
    assert lost.value.status == 0
    assert org.stats()["by_call"]["record"] == 1


def test_an_upsert_whose_answer_is_lost_is_sent_again(
    org: SalesforceStandIn, client: Client
) -> None:
    org.arm(on="record", reset=True, processed=True)
    upsert_record(client, "Thing__c", "External_ID__c", "rec-5", {"Note__c": "x"})
    assert org.stats()["by_call"]["record"] == 2


def test_salesforce_says_what_is_wrong_with_a_record(client: Client) -> None:
    with pytest.raises(SalesforceError, match="data value too large") as refused:
        create_record(client, "Thing__c", {"External_ID__c": "rec-6", "Note__c": "x" * 21})
    assert (refused.value.status, refused.value.code) == (400, "STRING_TOO_LONG")


def test_more_than_one_record_is_not_one(client: Client) -> None:
    for key in ("one-1", "one-2"):
        upsert_record(client, "Thing__c", "External_ID__c", key, {})
    with pytest.raises(SalesforceError, match="2 records"):
        query_one(client, "SELECT Id FROM Thing__c WHERE External_ID__c LIKE 'one-%'")


def test_record_counts_of_many_objects_are_asked_for_together(
    org: SalesforceStandIn, client: Client
) -> None:
    before = record_counts(client, ["Thing__c", "User", "No_Such__c"])
    assert before["User"] == 1
    assert "No_Such__c" not in before
    create_record(client, "Thing__c", {"External_ID__c": "counted"})
    assert record_counts(client, ["Thing__c"]) == {"Thing__c": before["Thing__c"] + 1}
    assert org.stats()["by_call"]["limits"] == 2


def test_an_external_id_of_several_records_is_named() -> None:
    choices = [f"/services/data/v66.0/sobjects/Thing__c/a0T{n}" for n in (1, 2)]
    answer = reply(300, json.dumps(choices).encode())
    with ScriptedServer(lambda asked: answer) as server:
        with Client(server.url, access_token="00D!t") as client:
            with pytest.raises(SalesforceError, match=r"more than one record.*a0T1") as refused:
                upsert_record(client, "Thing__c", "External_ID__c", "twice", {"Note__c": "x"})
    assert refused.value.status == 300
    assert len(server.asked) == 1
