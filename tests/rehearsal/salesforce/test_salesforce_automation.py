"""Automation, and what bypasses it: the hierarchy custom setting and the permission set."""

from __future__ import annotations

import urllib.error
from collections.abc import Iterator
from typing import Any

import pytest

from kpcluigi.rehearsal.salesforce.schema import ORGANIZATION_ID, USER_ID
from tests.rehearsal.salesforce.standin_org import OrgClient

ROW = "External_ID__c,Remark__c\n"
ERROR = "FIELD_CUSTOM_VALIDATION_EXCEPTION:Sales are checked by Finance:--"
SETTING = "KPC_Automation__c.Bypass_All__c"
ASSIGNMENT = "/sobjects/PermissionSetAssignment"


def profile_id(org: OrgClient) -> str:
    return str(org.value(f"SELECT ProfileId FROM User WHERE Id = '{USER_ID}'"))


def permission_set_id(org: OrgClient) -> str:
    return str(org.value("SELECT Id FROM PermissionSet WHERE Name = 'KPC_Data_Load'"))


def assign(org: OrgClient) -> Any:
    body = {"AssigneeId": USER_ID, "PermissionSetId": permission_set_id(org)}
    return org.request("POST", ASSIGNMENT, json=body)


@pytest.fixture
def plain(org: OrgClient) -> Iterator[OrgClient]:
    """An org without automation, settings and assignments, before and after."""
    yield org
    org.standin.automate(object="KPS_Sales__c", remove=True)
    for name in ("KPC_Automation__c", "PermissionSetAssignment"):
        for record in org.query(f"SELECT Id FROM {name}")["records"]:
            path = f"/sobjects/{name}/{record['Id']}"
            assert org.request("DELETE", path).status_code == 204


def setting(org: OrgClient, owner: str, value: bool) -> str:
    body = {"SetupOwnerId": owner, "Bypass_All__c": value}
    answer = org.request("POST", "/sobjects/KPC_Automation__c", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def rejected(org: OrgClient) -> int:
    return int(org.load(ROW + "auto-1,x\n")["numberRecordsFailed"])


def test_automation_rejects_matching_rows_of_bulk_and_rest(plain: OrgClient) -> None:
    plain.standin.automate(object="KPS_Sales__c", error=ERROR, match="-2$", setting=SETTING)
    job = plain.load(ROW + "auto-1,x\nauto-2,x\nauto-3,x\n")
    assert (job["numberRecordsProcessed"], job["numberRecordsFailed"]) == (3, 1)
    assert plain.errors(job["id"]) == {"auto-2": ERROR}
    path = "/sobjects/KPS_Sales__c/External_ID__c/auto-"
    answer = plain.request("PATCH", path + "2", json={"Remark__c": "x"})
    assert answer.status_code == 400
    assert answer.json() == [
        {
            "message": "Sales are checked by Finance",
            "errorCode": "FIELD_CUSTOM_VALIDATION_EXCEPTION",
            "fields": [],
        }
    ]
    assert plain.request("PATCH", path + "1", json={"Remark__c": "y"}).status_code == 200
    stats = plain.standin.stats()
    assert (stats["automation_rejected"], stats["automation_bypassed"]) == (2, False)
    plain.standin.automate(object="KPS_Sales__c", remove=True)
    assert plain.request("PATCH", path + "2", json={"Remark__c": "x"}).status_code == 201


def test_the_setting_of_the_user_wins_over_profile_and_org(plain: OrgClient) -> None:
    plain.standin.automate(object="KPS_Sales__c", error=ERROR, setting=SETTING)
    assert rejected(plain) == 1
    setting(plain, ORGANIZATION_ID, True)
    assert rejected(plain) == 0
    assert plain.standin.stats()["automation_bypassed"] is True
    of_profile = setting(plain, profile_id(plain), False)
    assert rejected(plain) == 1
    of_user = setting(plain, USER_ID[:15], True)
    assert rejected(plain) == 0
    path = f"/sobjects/KPC_Automation__c/{of_user}"
    assert plain.request("PATCH", path, json={"Bypass_All__c": False}).status_code == 204
    assert rejected(plain) == 1
    for record_id in (of_user, of_profile):
        plain.request("DELETE", f"/sobjects/KPC_Automation__c/{record_id}")
    assert rejected(plain) == 0


def test_the_permission_set_bypasses_what_names_it(plain: OrgClient) -> None:
    plain.standin.automate(object="KPS_Sales__c", error=ERROR, permission_set="KPC_Data_Load")
    setting(plain, USER_ID, True)
    assert rejected(plain) == 1
    assert assign(plain).status_code == 201
    assert rejected(plain) == 0
    plain.standin.automate(object="KPS_Sales__c", error=ERROR, permission_set="Another")
    assert rejected(plain) == 1


def test_without_a_name_either_switch_bypasses(plain: OrgClient) -> None:
    plain.standin.automate(object="KPS_Sales__c", error=ERROR)
    assert rejected(plain) == 1
    made = assign(plain).json()["id"]
    assert rejected(plain) == 0
    assert plain.request("DELETE", f"{ASSIGNMENT}/{made}").status_code == 204
    assert rejected(plain) == 1
    setting(plain, USER_ID, True)
    assert rejected(plain) == 0


def test_automation_can_make_batches_slow(plain: OrgClient) -> None:
    plain.standin.automate(object="KPS_Sales__c", seconds_per_batch=0.3, setting=SETTING)
    slow = plain.load(ROW + "slow,x\n")
    assert slow["numberRecordsFailed"] == 0
    assert slow["totalProcessingTime"] >= 300
    setting(plain, USER_ID, True)
    assert plain.load(ROW + "slow,x\n")["totalProcessingTime"] < 250


def test_deletes_pass_automation(plain: OrgClient) -> None:
    plain.load(ROW + "auto-gone,x\n")
    record = plain.value("SELECT Id FROM KPS_Sales__c WHERE External_ID__c = 'auto-gone'")
    plain.standin.automate(object="KPS_Sales__c", error=ERROR)
    assert plain.load(f"Id\n{record}\n", operation="delete")["numberRecordsFailed"] == 0


@pytest.mark.parametrize(
    "automation",
    [
        {"object": "Nobody__c", "error": ERROR},
        {"object": "KPS_Sales__c"},
        {"object": "KPS_Sales__c", "error": "no"},
        {"object": "KPS_Sales__c", "error": ERROR, "match": "("},
        {"object": "KPS_Sales__c", "error": ERROR, "setting": "KPC_Automation__c.Nothing__c"},
        {"object": "KPS_Sales__c", "error": ERROR, "setting": "KPS_Sales__c.Is_Void__c"},
        {"object": "KPS_Sales__c", "error": ERROR, "often": True},
        {"error": ERROR},
    ],
)
def test_what_is_no_automation_is_refused(org: OrgClient, automation: dict[str, Any]) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        org.standin.automate(**automation)
    assert refused.value.code == 400
    refused.value.close()


def test_a_custom_setting_has_one_record_for_each_owner(plain: OrgClient) -> None:
    record_id = setting(plain, USER_ID, True)
    path = "/sobjects/KPC_Automation__c"
    for body, code, message in (
        (
            {"SetupOwnerId": USER_ID, "Bypass_All__c": False},
            "DUPLICATE_VALUE",
            "duplicate value found: SetupOwnerId duplicates value on record with id: "
            + USER_ID[:15],
        ),
        (
            {"Bypass_All__c": False},
            "REQUIRED_FIELD_MISSING",
            "Required fields are missing: [SetupOwnerId]",
        ),
        (
            {"SetupOwnerId": record_id},
            "INVALID_CROSS_REFERENCE_KEY",
            "invalid cross reference id",
        ),
        (
            {"SetupOwnerId": ORGANIZATION_ID, "OwnerId": USER_ID},
            "INVALID_FIELD",
            "No such column 'OwnerId' on sobject of type KPC_Automation__c",
        ),
    ):
        (error,) = plain.request("POST", path, json=body).json()
        assert (error["errorCode"], error["message"]) == (code, message)
    moved = plain.request("PATCH", f"{path}/{record_id}", json={"SetupOwnerId": ORGANIZATION_ID})
    assert moved.json()[0]["errorCode"] == "INVALID_FIELD_FOR_INSERT_UPDATE"
    found = plain.query("SELECT Id, Bypass_All__c FROM KPC_Automation__c")["records"]
    assert [(r["Id"], r["Bypass_All__c"]) for r in found] == [(record_id, True)]
    described = plain.request("GET", path + "/describe").json()
    assert described["customSetting"] is True
    fields = {field["name"]: field for field in described["fields"]}
    assert "OwnerId" not in fields
    owner = fields["SetupOwnerId"]
    assert (owner["createable"], owner["updateable"]) == (True, False)
    assert owner["referenceTo"] == ["Organization", "Profile", "User"]


def test_a_permission_set_is_assigned_once_and_never_updated(plain: OrgClient) -> None:
    made = assign(plain)
    assert made.status_code == 201
    again = assign(plain)
    assert again.status_code == 400
    (error,) = again.json()
    assert error["errorCode"] == "DUPLICATE_VALUE"
    assert error["message"] == (
        f"Duplicate PermissionSetAssignment. Assignee: {USER_ID[:15]}; "
        f"Permission Set: {permission_set_id(plain)[:15]}"
    )
    path = f"{ASSIGNMENT}/{made.json()['id']}"
    changed = plain.request("PATCH", path, json={"AssigneeId": USER_ID})
    assert (changed.status_code, changed.json()[0]["errorCode"]) == (
        400,
        "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
    )
    soql = "SELECT Id, PermissionSet.Name FROM PermissionSetAssignment WHERE PermissionSet.Name = "
    (record,) = plain.query(f"{soql}'KPC_Data_Load'")["records"]
    assert record["PermissionSet"]["Name"] == "KPC_Data_Load"
    wrong = {"AssigneeId": permission_set_id(plain), "PermissionSetId": USER_ID}
    refused = plain.request("POST", ASSIGNMENT, json=wrong)
    assert refused.json()[0]["errorCode"] == "INVALID_CROSS_REFERENCE_KEY"
    assert plain.request("DELETE", path).status_code == 204
    assert plain.request("GET", path).status_code == 404
    described = plain.request("GET", f"{ASSIGNMENT}/describe").json()
    assert (described["createable"], described["updateable"]) == (True, False)


@pytest.mark.parametrize("name", ["KPC_Automation__c", "PermissionSetAssignment"])
def test_bulk_has_no_access_to_them(org: OrgClient, name: str) -> None:
    answer = org.create(name, operation="insert")
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "INVALIDENTITY")


@pytest.mark.parametrize("name", ["PermissionSet", "Profile", "User"])
def test_others_are_read_only(org: OrgClient, name: str) -> None:
    assert org.query(f"SELECT Id, Name FROM {name}")["totalSize"] == 1
    answer = org.request("POST", f"/sobjects/{name}", json={"Name": "x"})
    assert answer.json()[0]["errorCode"] == "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"
    assert org.create(name, operation="insert").json()[0]["errorCode"] == "INVALIDJOB"
