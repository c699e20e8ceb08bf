"""OAuth and the REST resources beside Bulk."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.rehearsal.salesforce.standin_org import CLIENT_ID, CLIENT_SECRET, OrgClient


def ask_token(org: OrgClient, **more: Any) -> requests.Response:
    return requests.post(f"{org.standin.url}/services/oauth2/token", timeout=10, **more)


def test_the_token_answer_has_the_recorded_fields(org: OrgClient) -> None:
    form = {
        "grant_type": "client_credentials",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
    }
    answer = ask_token(org, data=form)
    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {
        "access_token", "signature", "scope", "instance_url", "id", "token_type", "issued_at",
        "api_instance_url",
    }  # fmt: skip
    assert re.fullmatch(r"00D\w{12}![.\w]+", body["access_token"])
    assert re.fullmatch(r"\d{13}", body["issued_at"])
    assert body["instance_url"] == org.standin.url
    assert re.search(r"/id/00D\w{15}/005\w{15}$", body["id"])


def test_credentials_may_come_by_http_basic(org: OrgClient) -> None:
    answer = ask_token(
        org, data={"grant_type": "client_credentials"}, auth=(CLIENT_ID, CLIENT_SECRET)
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("change", "error", "description"),
    [
        ({"client_id": "other"}, "invalid_client_id", "client identifier invalid"),
        ({"client_secret": "wrong"}, "invalid_client", "invalid client credentials"),
        ({"client_secret": ""}, "invalid_client", "invalid client credentials"),
        ({"grant_type": "password"}, "unsupported_grant_type", "grant type not supported"),
    ],
)
def test_wrong_credentials_are_refused(
    org: OrgClient, change: dict[str, str], error: str, description: str
) -> None:
    form = {
        "grant_type": "client_credentials",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
    }
    answer = ask_token(org, data=form | change)
    assert answer.status_code == 400
    assert answer.json() == {"error": error, "error_description": description}


@pytest.mark.parametrize("header", ["", "Bearer ", "Bearer 00D!wrong", "Basic eDp5"])
def test_without_a_session_nothing_is_served(org: OrgClient, header: str) -> None:
    for path in ("/limits", "/query?q=SELECT Id FROM Account", "/jobs/ingest", "/nonsense"):
        answer = requests.get(org.base + path, headers={"Authorization": header}, timeout=10)
        assert answer.status_code == 401
        assert answer.json() == [
            {"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}
        ]


def test_the_calls_of_a_cli_login(org: OrgClient) -> None:
    services = f"{org.standin.url}/services"
    user = org.session.get(f"{services}/oauth2/userinfo", timeout=10).json()
    assert user["organization_id"].startswith("00D")
    record = org.session.get(
        f"{services}/data/v51.0/sobjects/User/{user['user_id']}", timeout=10
    ).json()
    assert record["Username"] == user["preferred_username"]
    organization = org.query(
        "SELECT Name, InstanceName, IsSandbox, TrialExpirationDate, NamespacePrefix, "
        "OrganizationType FROM Organization"
    )["records"][0]
    assert organization["IsSandbox"] is True
    assert organization["NamespacePrefix"] is None
    assert org.query("SELECT Id FROM ScratchOrgInfo limit 1")["totalSize"] == 0


def test_versions_and_resources(org: OrgClient) -> None:
    versions = requests.get(f"{org.standin.url}/services/data/", timeout=10)
    assert versions.json()[-1] == {
        "label": "Spring '26",
        "url": "/services/data/v66.0",
        "version": "66.0",
    }
    assert "Sforce-Limit-Info" not in versions.headers
    resources = org.request("GET", "/")
    assert resources.json()["sobjects"] == "/services/data/v66.0/sobjects"
    assert resources.headers["Content-Type"] == "application/json;charset=UTF-8"
    assert re.fullmatch(r"api-usage=\d+/100000", resources.headers["Sforce-Limit-Info"])
    for version in ("v20.0", "v67.0", "v66.5"):
        answer = org.session.get(f"{org.standin.url}/services/data/{version}/limits", timeout=10)
        assert answer.status_code == 404


def test_describe(org: OrgClient) -> None:
    described = org.request("GET", "/sobjects/kps_sales__C/describe").json()
    assert (described["name"], described["keyPrefix"]) == ("KPS_Sales__c", "a01")
    fields = {field["name"]: field for field in described["fields"]}

    def some(name: str, *keys: str) -> list[Any]:
        return [fields[name][key] for key in keys]

    number = some("Net_Amount__c", "type", "soapType", "precision", "scale", "length", "nillable")
    assert number == ["double", "xsd:double", 12, 2, 0, True]
    key = some("External_ID__c", "externalId", "unique", "idLookup", "caseSensitive", "length")
    assert key == [True, True, True, False, 40]
    assert some("Account__c", "type", "referenceTo", "relationshipName", "length") == [
        "reference", ["Account"], "Account__r", 18,
    ]  # fmt: skip
    assert some("Id", "type", "createable", "updateable", "nillable") == ["id", False, False, False]
    assert some("Is_Void__c", "nillable", "defaultedOnCreate") == [False, True]
    assert some("Created_At__c", "soapType", "createable") == ["xsd:dateTime", True]
    uses = ("aggregatable", "filterable", "groupable", "sortable")
    for name, expected in (
        ("Id", [True] * 4),
        ("External_ID__c", [True] * 4),
        ("Account__c", [True] * 4),
        ("Sales_Date__c", [True] * 4),
        ("Remark__c", [True] * 4),
        ("Net_Amount__c", [True, True, False, True]),
        ("Created_At__c", [True, True, False, True]),
        ("Is_Void__c", [False, True, True, True]),
        ("Notes__c", [False] * 4),
    ):
        assert some(name, *uses) == expected, name
    keys = ("externalId", "unique", "idLookup", "caseSensitive")
    assert some("Id", *keys) == [False, False, True, False]
    assert some("Receipt_No__c", *keys) == [False, True, False, False]
    assert "indexed" not in fields["Created_At__c"]
    store = org.request("GET", "/sobjects/Store__c/describe").json()["fields"]
    assert next(f for f in store if f["name"] == "Store_Code__c")["caseSensitive"] is True
    assert org.request("GET", "/sobjects/Nobody__c/describe").status_code == 404
    listed = org.request("GET", "/sobjects").json()["sobjects"]
    assert {"Account", "KPS_Sales__c", "User"} <= {o["name"] for o in listed}


def test_one_record_from_birth_to_death(org: OrgClient) -> None:
    body = {
        "External_ID__c": "rest-1",
        "Net_Amount__c": 12.345,
        "Is_Void__c": True,
        "Created_At__c": "2024-01-01T00:00:00.000+0700",
        "Account__r": {"Tenant_Code__c": "T1"},
    }
    made = org.request("POST", "/sobjects/KPS_Sales__c", json=body)
    assert made.status_code == 201
    record_id = made.json()["id"]
    assert made.json() == {"id": record_id, "success": True, "errors": []}

    record = org.request("GET", f"/sobjects/KPS_Sales__c/{record_id[:15]}").json()
    assert record["attributes"] == {
        "type": "KPS_Sales__c",
        "url": f"/services/data/v66.0/sobjects/KPS_Sales__c/{record_id}",
    }
    assert (record["Net_Amount__c"], record["Is_Void__c"]) == (12.35, True)
    assert record["Created_At__c"] == "2023-12-31T17:00:00.000+0000"
    assert record["Name"] == record_id

    changed = org.request(
        "PATCH", f"/sobjects/KPS_Sales__c/{record_id}", json={"Net_Amount__c": None}
    )
    assert (changed.status_code, changed.content) == (204, b"")
    record = org.request("GET", "/sobjects/KPS_Sales__c/External_ID__c/REST-1").json()
    assert (record["Id"], record["Net_Amount__c"]) == (record_id, None)

    assert org.request("DELETE", f"/sobjects/KPS_Sales__c/{record_id}").status_code == 204
    for method in ("GET", "DELETE", "PATCH"):
        answer = org.request(method, f"/sobjects/KPS_Sales__c/{record_id}", json={})
        assert answer.status_code == 404
        assert answer.json()[0]["message"] == (
            f"Provided external ID field does not exist or is not accessible: {record_id}"
        )


def test_upsert_by_external_id(org: OrgClient) -> None:
    path = "/sobjects/KPS_Sales__c/External_ID__c/up%2Fsert"
    missing = org.request("PATCH", path + "?updateOnly=true", json={"Remark__c": "a"})
    assert missing.status_code == 404
    made = org.request("PATCH", path, json={"Remark__c": "a"})
    assert (made.status_code, made.json()["created"]) == (201, True)
    changed = org.request("PATCH", path, json={"Remark__c": "b"})
    assert (changed.status_code, changed.json()) == (200, made.json() | {"created": False})
    old = org.session.patch(
        org.base.replace("v66.0", "v45.0") + path, json={"Remark__c": "c"}, timeout=10
    )
    assert (old.status_code, old.content) == (204, b"")
    assert org.request("GET", path).json()["Remark__c"] == "c"

    choices = org.request("PATCH", "/sobjects/Account/Group_Code__c/TWICE", json={})
    assert choices.status_code == 300
    assert len(choices.json()) == 2
    assert choices.json()[0].startswith("/services/data/v66.0/sobjects/Account/001")


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (
            {"Nonsense__c": 1},
            "INVALID_FIELD",
            "No such column 'Nonsense__c' on sobject of type KPS_Sales__c",
        ),
        (
            {"Store_Code__c": "x" * 21},
            "STRING_TOO_LONG",
            f"Store Code: data value too large: {'x' * 21} (max length=20)",
        ),
        (
            {"Sales_Date__c": "yesterday"},
            "JSON_PARSER_ERROR",
            "Cannot deserialize instance of date from VALUE_STRING value yesterday or request may "
            "be missing a required field",
        ),
        ({"External_ID__c": "x"}, "INVALID_FIELD", None),
        ({"SystemModstamp": "2024-01-01T00:00:00Z"}, "INVALID_FIELD_FOR_INSERT_UPDATE", None),
        (
            {"Account__r": {"Tenant_Code__c": "T404"}},
            "INVALID_FIELD",
            "Foreign key external ID: T404 not found for field Tenant_Code__c in entity Account",
        ),
    ],
)
def test_a_record_that_breaks_a_rule_is_refused(
    org: OrgClient, body: dict[str, Any], code: str, message: str | None
) -> None:
    answer = org.request("PATCH", "/sobjects/KPS_Sales__c/External_ID__c/refused", json=body)
    assert answer.status_code == 400
    (error,) = answer.json()
    assert error["errorCode"] == code
    if message is not None:
        assert error["message"] == message
    assert org.request("GET", "/sobjects/KPS_Sales__c/External_ID__c/refused").status_code == 404


def test_other_refusals(org: OrgClient) -> None:
    for method, path, status, code in (
        ("GET", "/sobjects/Account/short", 400, "MALFORMED_ID"),
        ("GET", "/sobjects/Nobody__c/001000000000000", 404, "NOT_FOUND"),
        ("GET", "/sobjects/Account/Name/x", 404, "NOT_FOUND"),
        ("GET", "/nothing/here", 404, "NOT_FOUND"),
        ("DELETE", "/limits", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/sobjects/User", 400, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"),
        ("POST", "/sobjects/Account", 400, "JSON_PARSER_ERROR"),
    ):
        answer = org.request(method, path, data=b"[]")
        assert (answer.status_code, answer.json()[0]["errorCode"]) == (status, code), path


def test_a_uri_of_more_than_16384_characters_is_refused(org: OrgClient) -> None:
    answer = org.request("GET", "/query?q=" + "x" * 16_384)
    assert answer.status_code == 414
    assert "URI Too Long" in answer.text


def test_limits_count_calls_and_batches(start_org: Callable[..., OrgClient]) -> None:
    org = start_org(daily_requests=8, daily_batches=10)
    limits = org.request("GET", "/limits").json()
    assert limits["DailyApiRequests"] == {"Max": 8, "Remaining": 7}
    assert limits["DailyBulkApiBatches"] == {"Max": 10, "Remaining": 10}
    assert {"DataStorageMB", "FileStorageMB", "DailyBulkV2QueryJobs"} <= set(limits)
    counted = org.request("GET", "/limits/recordCount?sObjects=Account,Store__c").json()
    assert counted == {
        "sObjects": [{"count": 50, "name": "Account"}, {"count": 5, "name": "Store__c"}]
    }
    answers = [org.request("GET", "/limits") for _ in range(7)]
    assert answers[5].headers["Sforce-Limit-Info"] == "api-usage=8/8"
    assert answers[6].status_code == 403
    assert answers[6].json()[0]["errorCode"] == "REQUEST_LIMIT_EXCEEDED"


def test_a_restricted_picklist_takes_its_values_only(org: OrgClient) -> None:
    path = "/sobjects/TMS_Daily_Sales_File__c/TMS_External_File_Ref__c/file-1"
    body: dict[str, Any] = {"TMS_Status__c": "Uploading", "TMS_Rows__c": 12}
    assert org.request("PATCH", path, json=body).status_code == 201
    refused = org.request("PATCH", path + "?updateOnly=true", json={"TMS_Status__c": "Done"})
    assert refused.status_code == 400
    assert refused.json() == [
        {
            "message": "TMS Status: bad value for restricted picklist field: Done",
            "errorCode": "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "fields": ["TMS_Status__c"],
        }
    ]
    assert org.request("PATCH", path, json={"TMS_Status__c": None}).status_code == 200
    job = org.load(
        "TMS_External_File_Ref__c,TMS_Status__c\nfile-2,Failed\nfile-3,failed\n",
        "TMS_Daily_Sales_File__c",
        externalIdFieldName="TMS_External_File_Ref__c",
    )
    (row,) = org.rows(job["id"], "failedResults")
    assert row["sf__Error"] == (
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST:TMS Status: bad value for restricted picklist "
        "field: failed:TMS_Status__c --"
    )
    described = org.request("GET", "/sobjects/TMS_Daily_Sales_File__c/describe").json()
    status = next(f for f in described["fields"] if f["name"] == "TMS_Status__c")
    assert status["restrictedPicklist"] is True
    assert [v["value"] for v in status["picklistValues"]][-1] == "Failed"


def test_the_columns_of_a_query(org: OrgClient) -> None:
    def columns(soql: str) -> dict[str, Any]:
        body: dict[str, Any] = org.request("GET", f"/query/?q={soql}&columns=true").json()
        return body

    body = columns(
        "SELECT Id, Account__r.Name, Net_Amount__c, Account__r.Rank__c FROM KPS_Sales__c"
    )
    assert [column["columnName"] for column in body["columnMetadata"]] == [
        "Id",
        "Account__r",
        "Net_Amount__c",
    ]
    joined = body["columnMetadata"][1]["joinColumns"]
    assert [column["columnName"] for column in joined] == ["Name", "Rank__c"]
    amount = body["columnMetadata"][2]
    assert (amount["apexType"], amount["numberType"], amount["insertable"]) == (
        "Double",
        True,
        True,
    )
    assert (body["entityName"], body["idSelected"], body["keyPrefix"]) == (
        "KPS_Sales__c",
        True,
        "a01",
    )
    grouped = columns("SELECT Name, COUNT(Id) n FROM Account GROUP BY Name")
    assert [c["aggregate"] for c in grouped["columnMetadata"]] == [True, True]
    assert columns("SELECT COUNT() FROM Account")["columnMetadata"] == []


def test_a_collection_is_upserted_record_by_record(org: OrgClient) -> None:
    path = "/composite/sobjects/KPS_Sales__c/External_ID__c"

    def record(**fields: Any) -> dict[str, Any]:
        return {"attributes": {"type": "KPS_Sales__c"}, **fields}

    def send(*records: dict[str, Any], **more: Any) -> requests.Response:
        return org.request("PATCH", path, json={"records": list(records), **more})

    answer = send(
        record(External_ID__c="list-1", Remark__c="a"),
        record(External_ID__c="list-2", Store_Code__c="x" * 21),
        record(Remark__c="no key"),
        allOrNone=False,
    )
    assert answer.status_code == 200
    first, second, third = answer.json()
    assert (first["success"], first["created"], first["errors"]) == (True, True, [])
    assert second["success"] is False
    assert second["errors"][0]["statusCode"] == "STRING_TOO_LONG"
    assert second["errors"][0]["fields"] == ["Store_Code__c"]
    assert third["errors"][0]["statusCode"] == "MISSING_ARGUMENT"
    (again,) = send(record(External_ID__c="list-1", Remark__c="b")).json()
    assert again == first | {"created": False}
    assert org.value("SELECT Remark__c FROM KPS_Sales__c WHERE External_ID__c = 'list-1'") == "b"
    for refused, code in (
        (send(record(External_ID__c="x"), allOrNone=True), "STANDIN_NOT_COVERED"),
        (send(*[record(External_ID__c="x")] * 201), "EXCEEDED_ID_LIMIT"),
        (send({"External_ID__c": "x"}), "INVALID_TYPE"),
        (send(record(External_ID__c="x", Nonsense__c=1)), "INVALID_FIELD"),
    ):
        assert refused.json()[0]["errorCode"] == code


def test_record_ids_may_have_15_characters(org: OrgClient) -> None:
    record_id = org.value("SELECT Id FROM Account WHERE Tenant_Code__c = 'T3'")
    found = org.request("GET", f"/sobjects/Account/{record_id[:15]}?fields=Tenant_Code__c").json()
    assert found["Tenant_Code__c"] == "T3"
    soql = f"SELECT Tenant_Code__c FROM Account WHERE Id = '{record_id[:15]}'"
    assert org.value(soql) == "T3"


def test_every_version_since_31_is_served(org: OrgClient) -> None:
    for version, status in (("31.0", 200), ("51.0", 200), ("66.0", 200), ("67.0", 404)):
        url = org.base.replace("v66.0", f"v{version}")
        assert org.session.get(f"{url}/limits", timeout=10).status_code == status
