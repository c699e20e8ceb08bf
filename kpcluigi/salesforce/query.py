"""SOQL, describe, limits and record counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from kpcluigi.errors import SalesforceError
from kpcluigi.salesforce.client import Client
from kpcluigi.salesforce.quota import Allocation

COUNTED_AT_ONCE = 100
"""Objects in one request for record counts; an URI may have 16,384 characters."""


def count(client: Client, sobject: str, *, where: str = "") -> int:
    """Rows of an object, by SELECT COUNT(): exact, but slow on very large objects.

    Args:
        where: a SOQL condition without the keyword.

    Raises:
        SalesforceError: the object or a field is not there; or, with QUERY_TIMEOUT, it took more
            than 2 minutes.
    """
    soql = f"SELECT COUNT() FROM {sobject}" + (f" WHERE {where}" if where else "")
    return int(client.ask("/query", params={"q": soql})["totalSize"])


def query(client: Client, soql: str) -> Iterator[dict[str, Any]]:
    """The records of a SOQL query, page after page of up to 2,000; each has `attributes` too.

    Raises:
        SalesforceError: refused; INVALID_QUERY_LOCATOR where the next page is asked for too late.
    """
    page = client.ask("/query", params={"q": soql})
    yield from page["records"]
    while not page["done"]:
        locator = page["nextRecordsUrl"].rpartition("/")[2]
        page = client.ask(f"/query/{locator}")
        yield from page["records"]


def query_one(client: Client, soql: str) -> dict[str, Any] | None:
    """The one record that a query finds; None when it finds none.

    Raises:
        SalesforceError: refused; or there is more than one.
    """
    page = client.ask("/query", params={"q": soql})
    if page["totalSize"] > 1:
        raise SalesforceError(
            f"{page['totalSize']:,} records were found where one was expected: {soql}", status=300
        )
    record: dict[str, Any] | None = page["records"][0] if page["records"] else None
    return record


def describe(client: Client, sobject: str) -> dict[str, dict[str, Any]]:
    """The object's fields by name, as Salesforce describes them to this user.

    Raises:
        SalesforceError: status 404 when the object does not exist or is hidden from the user.
    """
    body = client.ask(f"/sobjects/{sobject}/describe")
    return {field["name"]: field for field in body["fields"]}


def limits(client: Client) -> dict[str, dict[str, int]]:
    """The org's allocations, name to {Max, Remaining}: most of them for the last 24 hours.

    There is none for the records of Bulk jobs; DailyBulkApiBatches is what comes nearest.
    """
    answer: dict[str, dict[str, int]] = client.ask("/limits")
    return answer


def allocation_of(client: Client) -> Allocation:
    """What the org says of its Bulk API batches and API requests in 24 hours.

    It is asked once: whoever waits for the answer holds others up.

    Raises:
        SalesforceError: the org refused, or does not tell a user who lacks the permission "View
            Setup and Configuration".
    """
    asked_at = datetime.now(UTC)
    found = client.json_of(client.call("GET", "/limits", repeatable=False))
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


def record_counts(client: Client, sobjects: Sequence[str]) -> dict[str, int]:
    """About how many records the objects have, at once and however large they are.

    Salesforce counts them from time to time and without those in the recycle bin (REST API
    Developer Guide, "Record Count"): for progress, not for proof; `count` is exact. What Salesforce
    does not count is left out, such as an object that is not there.
    """
    counts: dict[str, int] = {}
    for start in range(0, len(sobjects), COUNTED_AT_ONCE):
        names = ",".join(sobjects[start : start + COUNTED_AT_ONCE])
        body = client.ask("/limits/recordCount", params={"sObjects": names})
        counts |= {entry["name"]: int(entry["count"]) for entry in body["sObjects"]}
    return counts
