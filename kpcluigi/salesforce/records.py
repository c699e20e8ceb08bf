"""Single records by REST: create, upsert by external id, update, delete.

For settings, assignments and the file tracker; rows of a table go by Bulk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from kpcluigi.salesforce.client import Client


def create_record(client: Client, sobject: str, values: Mapping[str, Any]) -> str:
    """A new record; returns its id. It is sent once: a second try could make a second record."""
    response = client.call("POST", f"/sobjects/{sobject}", json=dict(values), repeatable=False)
    return str(client.json_of(response)["id"])


def upsert_record(
    client: Client,
    sobject: str,
    field: str,
    key: str,
    values: Mapping[str, Any],
    *,
    update_only: bool = False,
) -> None:
    """Create the record whose external id `field` is `key`, or change it.

    Args:
        update_only: change it, but never create it.

    Raises:
        SalesforceError: refused; status 404 where `update_only` finds no such record.
    """
    client.call(
        "PATCH",
        f"/sobjects/{sobject}/{field}/{quote(key, safe='')}",
        json=dict(values),
        params={"updateOnly": "true"} if update_only else None,
    )


def update_record(client: Client, sobject: str, record_id: str, values: Mapping[str, Any]) -> None:
    """Change the given fields of a record."""
    client.call("PATCH", f"/sobjects/{sobject}/{record_id}", json=dict(values))


def delete_record(client: Client, sobject: str, record_id: str) -> None:
    """Delete a record. One that is gone already is no error."""
    client.call("DELETE", f"/sobjects/{sobject}/{record_id}", accept=(404,))
