"""Single records by REST: get, create, upsert by external id, update, delete.

For settings, assignments and the file tracker; rows of a table go by Bulk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from kpcluigi.salesforce.client import Client


def get_record(
    client: Client, sobject: str, record_id: str, fields: Sequence[str] = ()
) -> dict[str, Any] | None:
    """A record by its id, with `attributes`; None when it is gone or hidden from the user.

    Args:
        fields: only these; all that the user may read when empty.

    Raises:
        SalesforceError: refused; INVALID_FIELD where a field is not there.
    """
    response = client.call(
        "GET",
        f"/sobjects/{sobject}/{quote(record_id, safe='')}",
        params={"fields": ",".join(fields)} if fields else None,
        accept=(404,),
    )
    if response.status_code == 404:
        return None
    record: dict[str, Any] = client.json_of(response)
    return record


def create_record(client: Client, sobject: str, values: Mapping[str, Any]) -> str:
    """A new record; returns its id. It is sent once: a second try could make a second record.

    Raises:
        SalesforceError: refused; or, with status 0, it is not known whether it was made.
    """
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
        key: any text; it is quoted for the address here.
        values: of the other fields; None empties one.
        update_only: change it, but never create it.

    Raises:
        SalesforceError: refused; status 404 where `update_only` finds no such record, status 300
            where the external id is that of more than one.
    """
    client.call(
        "PATCH",
        f"/sobjects/{sobject}/{field}/{quote(key, safe='')}",
        json=dict(values),
        params={"updateOnly": "true"} if update_only else None,
    )


def update_record(client: Client, sobject: str, record_id: str, values: Mapping[str, Any]) -> None:
    """Change the given fields of a record; None empties one.

    Raises:
        SalesforceError: refused; status 404 when the record is gone.
    """
    client.call("PATCH", f"/sobjects/{sobject}/{record_id}", json=dict(values))


def delete_record(client: Client, sobject: str, record_id: str) -> None:
    """Delete a record. One that is gone already is no error."""
    client.call("DELETE", f"/sobjects/{sobject}/{record_id}", accept=(404,))
