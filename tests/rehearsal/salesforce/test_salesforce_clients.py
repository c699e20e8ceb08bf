"""A client of the trade works unchanged: simple-salesforce, by OAuth, Bulk 2.0 and SOQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from simple_salesforce.api import Salesforce
from simple_salesforce.bulk2 import SFBulk2Handler
from simple_salesforce.exceptions import SalesforceMalformedRequest

from tests.rehearsal.salesforce.standin_org import CLIENT_ID, CLIENT_SECRET, OrgClient


class PlainHttp(requests.Session):
    """simple-salesforce only speaks https; the stand-in only http, on a port of its own."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **more: Any) -> Any:
        path = str(url).split("/services/", 1)[1]
        return super().request(method, f"{self.url}/services/{path}", *args, **more)


@pytest.fixture
def salesforce(org: OrgClient) -> Iterator[Any]:
    """Any: what the client makes of an object's name is beyond its own types."""
    with PlainHttp(org.standin.url) as session:
        yield Salesforce(
            consumer_key=CLIENT_ID,
            consumer_secret=CLIENT_SECRET,
            domain="rehearsal.my",
            session=session,
            version="66.0",
        )


def test_login_query_and_records(salesforce: Any) -> None:
    answer = salesforce.query("SELECT Id, Tenant_Code__c FROM Account WHERE Tenant_Code__c = 'T9'")
    record_id = answer["records"][0]["Id"]
    assert salesforce.Account.get(record_id)["Name"] == "Tenant 9"
    assert salesforce.KPS_Sales__c.upsert("External_ID__c/simple-1", {"Remark__c": "x"}) == 201
    assert salesforce.KPS_Sales__c.describe()["name"] == "KPS_Sales__c"
    with pytest.raises(SalesforceMalformedRequest):
        salesforce.query("SELECT Nonsense__c FROM Account")


def test_bulk2_upsert_and_results(salesforce: Any) -> None:
    records = [{"External_ID__c": f"simple-bulk-{i}", "Store_Code__c": "S" * i} for i in (1, 2, 21)]
    (job,) = salesforce.bulk2.KPS_Sales__c.upsert(
        records=records, external_id_field="External_ID__c", wait=1
    )
    assert (job["numberRecordsProcessed"], job["numberRecordsFailed"]) == (3, 1)
    handler = salesforce.bulk2.KPS_Sales__c
    assert "simple-bulk-1" in handler.get_successful_records(job["job_id"])
    assert "STRING_TOO_LONG" in handler.get_failed_records(job["job_id"])
    header = handler.get_unprocessed_records(job["job_id"]).strip()
    assert set(header.split(",")) == {"External_ID__c", "Store_Code__c"}


def test_bulk2_query(salesforce: Any) -> None:
    pages = salesforce.bulk2.Account.query(
        "SELECT Tenant_Code__c FROM Account WHERE Rank__c < 3 ORDER BY Rank__c",
        max_records=2,
        wait=0,
    )
    assert list(pages) == ['"Tenant_Code__c"\n"T0"\n"T1"\n', '"Tenant_Code__c"\n"T2"\n']


def test_the_bulk2_handler_alone(org: OrgClient) -> None:
    with requests.Session() as session:
        handler: Any = SFBulk2Handler(org.token(), f"{org.base}/jobs/", session=session)
        (job,) = handler.KPS_Sales__c.upsert(
            records=[{"External_ID__c": "handler-1", "Net_Amount__c": "1.5"}],
            external_id_field="External_ID__c",
            wait=1,
        )
    assert (job["numberRecordsProcessed"], job["numberRecordsFailed"]) == (1, 0)
    soql = "SELECT Net_Amount__c FROM KPS_Sales__c WHERE External_ID__c = 'handler-1'"
    assert org.value(soql) == 1.5
