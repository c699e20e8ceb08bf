"""The tests' own org: its objects, its seeded parents, and a small client to talk to it."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import duckdb
import requests

from kpcluigi.rehearsal.salesforce import SalesforceStandIn
from kpcluigi.rehearsal.salesforce.schema import Field, SObject, create_object, insert_rows
from kpcluigi.rehearsal.sample.org import AUTOMATION_SETTING, FILE_TRACKER

csv.field_size_limit(1 << 24)  # results hold fields of more than Python's default of 131,072

CLIENT_ID = "the-client"
CLIENT_SECRET = "the secret+/="

ACCOUNT = SObject(
    "Account",
    (
        Field("Tenant_Code__c", "string", length=20, external_id=True, unique=True),
        Field("Group_Code__c", "string", length=20, external_id=True),
        Field("Rank__c", "double", precision=4, scale=0, external_id=True),
    ),
    "001",
)
STORE = SObject(
    "Store__c",
    (
        Field(
            "Store_Code__c",
            "string",
            length=20,
            external_id=True,
            unique=True,
            case_sensitive=True,
        ),
    ),
    "a00",
)
SALES = SObject(
    "KPS_Sales__c",
    (
        Field("External_ID__c", "string", length=40, external_id=True, unique=True),
        Field("Account__c", "reference", reference_to="Account", relationship="Account__r"),
        Field("Store__c", "reference", reference_to="Store__c", relationship="Store__r"),
        Field("Store_Code__c", "string", length=20),
        Field("Receipt_No__c", "string", length=30, unique=True),
        Field("Net_Amount__c", "double", precision=12, scale=2),
        Field("Quantity__c", "double", precision=5, scale=0),
        Field("Is_Void__c", "boolean"),
        Field("Sales_Date__c", "date"),
        Field("Created_At__c", "datetime"),
        Field("Remark__c", "textarea", length=255),
        Field("Notes__c", "textarea", length=131_072),
        Field("Contact__c", "email", length=80),
        Field("Status__c", "picklist", length=255),
    ),
    "a01",
)
STRICT = SObject(
    "Strict__c",
    (
        Field("Key__c", "string", length=20, external_id=True, unique=True, case_sensitive=True),
        Field("Needed__c", "string", length=10, required=True),
        Field("Also_Needed__c", "double", precision=5, scale=1, required=True),
    ),
    "a02",
)


def build_database(path: Path) -> None:
    """The four objects, with 50 accounts (two of one group) and 5 stores, and the sample org's own
    objects for loading."""
    with duckdb.connect(path) as con:
        for sobject in (ACCOUNT, STORE, SALES, STRICT, FILE_TRACKER, AUTOMATION_SETTING):
            create_object(con, sobject)
        insert_rows(
            con,
            "Account",
            "SELECT 'Tenant ' || i AS Name, 'T' || i AS Tenant_Code__c, i AS Rank__c, "
            "CASE WHEN i < 2 THEN 'TWICE' ELSE 'G' || i END AS Group_Code__c FROM range(50) t(i)",
        )
        insert_rows(con, "Store__c", "SELECT 'S' || i AS Store_Code__c FROM range(5) t(i)")


class OrgClient:
    """Plain HTTP with a token; the calls of the Bulk protocol by their names."""

    def __init__(self, standin: SalesforceStandIn) -> None:
        self.standin = standin
        self.base = f"{standin.url}/services/data/v66.0"
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {self.token()}"

    def token(self) -> str:
        answer = requests.post(
            f"{self.standin.url}/services/oauth2/token",
            data={
                "grant_type": "client_credentials",
                "client_id": CLIENT_ID,
                "client_secret": CLIENT_SECRET,
            },
            timeout=10,
        )
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def request(self, method: str, path: str, **more: Any) -> requests.Response:
        return self.session.request(method, self.base + path, timeout=30, **more)

    def create(self, sobject: str = "KPS_Sales__c", **more: Any) -> requests.Response:
        described = {"object": sobject, "operation": "upsert"} | more
        if described["operation"] == "upsert":
            described.setdefault("externalIdFieldName", "External_ID__c")
        return self.request("POST", "/jobs/ingest", json=described)

    def new_job(self, sobject: str = "KPS_Sales__c", **more: Any) -> str:
        answer = self.create(sobject, **more)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def upload(self, job: str, data: Any, **headers: str) -> requests.Response:
        return self.request(
            "PUT",
            f"/jobs/ingest/{job}/batches",
            data=data.encode() if isinstance(data, str) else data,
            headers={"Content-Type": "text/csv", **headers},
        )

    def set_state(self, job: str, state: str) -> requests.Response:
        return self.request("PATCH", f"/jobs/ingest/{job}", json={"state": state})

    def info(self, job: str) -> dict[str, Any]:
        answer = self.request("GET", f"/jobs/ingest/{job}")
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def wait(self, job: str) -> dict[str, Any]:
        """Ask, as every client has to, until the job is finished."""
        while True:
            info = self.info(job)
            if info["state"] not in ("Open", "UploadComplete", "InProgress"):
                return info
            time.sleep(0.01)

    def load(self, data: str | bytes, sobject: str = "KPS_Sales__c", **more: Any) -> dict[str, Any]:
        """Create, upload, close and wait."""
        job = self.new_job(sobject, **more)
        assert self.upload(job, data).status_code == 201
        assert self.set_state(job, "UploadComplete").status_code == 200
        return self.wait(job)

    def result(self, job: str, which: str) -> str:
        answer = self.request("GET", f"/jobs/ingest/{job}/{which}")
        assert answer.status_code == 200, answer.text
        return answer.content.decode()

    def rows(self, job: str, which: str) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.result(job, which), newline="")))

    def errors(self, job: str) -> dict[str, str]:
        """sf__Error by external id."""
        return {row["External_ID__c"]: row["sf__Error"] for row in self.rows(job, "failedResults")}

    def query(self, soql: str) -> dict[str, Any]:
        answer = self.request("GET", "/query", params={"q": soql})
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def value(self, soql: str) -> Any:
        """The one value of a query of one field."""
        record = self.query(soql)["records"][0]
        (value,) = (v for name, v in record.items() if name != "attributes")
        return value

    def close(self) -> None:
        self.session.close()
