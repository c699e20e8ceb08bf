"""SOQL, describe and limits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from kpcluigi.errors import SalesforceError
from kpcluigi.salesforce.client import Client
from kpcluigi.salesforce.quota import Allocation


def count(client: Client, sobject: str, *, where: str = "") -> int:
    """Rows of an object, by SELECT COUNT(); `where` is a SOQL condition without the keyword."""
    soql = f"SELECT COUNT() FROM {sobject}" + (f" WHERE {where}" if where else "")
    return int(client.call("GET", "/query", params={"q": soql}).json()["totalSize"])


def query(client: Client, soql: str) -> Iterator[dict[str, Any]]:
    """The records of a SOQL query, page after page."""
    page = client.call("GET", "/query", params={"q": soql}).json()
    yield from page["records"]
    while not page["done"]:
        locator = page["nextRecordsUrl"].rpartition("/")[2]
        page = client.call("GET", f"/query/{locator}").json()
        yield from page["records"]


def describe(client: Client, sobject: str) -> dict[str, dict[str, Any]]:
    """The object's fields by name, as Salesforce describes them to this user.

    Raises:
        SalesforceError: status 404 when the object does not exist or is hidden from the user.
    """
    body = client.call("GET", f"/sobjects/{sobject}/describe").json()
    return {field["name"]: field for field in body["fields"]}


def limits(client: Client) -> dict[str, dict[str, int]]:
    """The org's allocations: name to {Max, Remaining}."""
    answer: dict[str, dict[str, int]] = client.call("GET", "/limits").json()
    return answer


def allocation_of(client: Client) -> Allocation:
    """What the org says of its Bulk API batches and API requests in 24 hours.

    Raises:
        SalesforceError: the org refused, or does not tell a user who lacks the permission "View
            Setup and Configuration".
    """
    asked_at = datetime.now(UTC)
    found = limits(client)
    try:
        batches, requests = found["DailyBulkApiBatches"], found["DailyApiRequests"]
    except KeyError as error:
        raise SalesforceError(
            f"GET /limits does not tell {error}: give the user the permission "
            f'"View Setup and Configuration"'
        ) from None
    return Allocation(
        batches=batches["Max"],
        batches_left=batches["Remaining"],
        requests=requests["Max"],
        requests_left=requests["Remaining"],
        asked_at=asked_at,
    )
