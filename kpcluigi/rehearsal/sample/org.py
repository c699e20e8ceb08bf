"""The org that tables.toml asks for: its objects, and the accounts and stores they look up.

Beside them stand the object that tracks files, and the hierarchy custom setting that orgs have
their automation look at.

What tables.toml does not say is decided here: a text of more than 255 characters is a long text
area, every number has 18 digits, an external id is unique whatever its case, and the field of the
partition column has a custom index, so that a window of it is found without reading every row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb

from kpcluigi.errors import ConfigurationError
from kpcluigi.rehearsal.salesforce.schema import Field, SObject, create_object, insert_rows
from kpcluigi.rehearsal.sample import names
from kpcluigi.tables import Column, Table

LONGEST_STRING = 255
"""Characters of a text field; more need a text area (Salesforce Help, "Custom Field Types")."""

LONGEST_TEXT_AREA = 131_072
PRECISION = 18
PLACES = 6
"""Places of a number field where the mapping leaves the scale open."""

ACCOUNT = SObject(
    "Account",
    (
        Field("Name", "string", length=255, required=True),
        Field("Tenant_Code__c", "string", length=10, external_id=True, unique=True),
    ),
    "001",
)
STORE = SObject(
    "Store__c",
    (
        Field("Name", "string", length=80),
        Field("Store_Code__c", "string", length=10, external_id=True, unique=True),
        Field(
            "Account__c", "reference", length=18, reference_to="Account", relationship="Account__r"
        ),
    ),
    "a00",
)
FILE_TRACKER = SObject(
    "TMS_Daily_Sales_File__c",
    (
        Field("TMS_External_File_Ref__c", "string", length=255, external_id=True, unique=True),
        Field(
            "TMS_Status__c",
            "picklist",
            length=40,
            values="Pending|Uploading|InProgress|Completed|CompletedWithErrors|Failed",
        ),
        Field("TMS_Object__c", "string", length=80),
        Field("TMS_Rows__c", "double", precision=18),
        Field("TMS_Rows_Failed__c", "double", precision=18),
        Field("TMS_Job_Ids__c", "textarea", length=32_768),
        Field("TMS_Message__c", "textarea", length=32_768),
    ),
    "aF0",
)
AUTOMATION_SETTING = SObject(
    "KPC_Automation__c", (Field("Bypass_All__c", "boolean"),), "aS0", custom_setting=True
)


def write_org(path: Path, tables: Mapping[str, Table]) -> None:
    """Make the DuckDB file that the Salesforce stand-in serves.

    Args:
        path: a file that does not exist yet.
        tables: the mapping, as `kpcluigi.tables.load_tables` returns it.

    Raises:
        ConfigurationError: a lookup's parent is no object of the mapping, nor Account or Store__c.
        FileExistsError: the file is there already.
    """
    objects = org_objects(tables)
    if path.exists():
        raise FileExistsError(f"{path} exists; a new org goes into a new file")
    with duckdb.connect(path) as con:
        for sobject in (*objects, FILE_TRACKER, AUTOMATION_SETTING):
            create_object(con, sobject)
        insert_rows(con, "Account", _rows(("Tenant_Code__c", "Name"), names.tenants()))
        stores = _rows(("Store_Code__c", "Name", "tenant"), names.stores())
        insert_rows(
            con,
            "Store__c",
            'SELECT s."Store_Code__c", s."Name", a."Id" AS "Account__c" '
            f'FROM ({stores}) s JOIN "Account" a ON a."Tenant_Code__c" = s.tenant '
            "ORDER BY 1",
        )


def org_objects(tables: Mapping[str, Table]) -> tuple[SObject, ...]:
    """Account, Store__c, and one object per table.

    Raises:
        ConfigurationError: see `write_org`; all such lookups are named.
    """
    owners = [(s.name, f.name) for s in (ACCOUNT, STORE) for f in s.fields if f.external_id]
    owners += [(table.object, table.external_id) for table in tables.values()]
    mistakes: list[str] = []
    objects = [ACCOUNT, STORE]
    for number, table in enumerate(tables.values(), 1):
        fields = [
            replace(_field(column, table.external_id), indexed=name == table.partition_column)
            for name, column in table.columns.items()
        ]
        for column_name, lookup in table.lookups.items():
            relationship, external_id = lookup.split(".")
            parent = _parent(relationship, external_id, owners)
            if parent is None:
                mistakes.append(
                    f"{table.name}: lookups.{column_name}: no object for {lookup}; expected a "
                    f"relationship named like its parent, such as Store__r for Store__c, and a "
                    f"parent whose external id is {external_id}"
                )
            else:
                fields.append(_reference(relationship, parent))
        objects.append(SObject(table.object, tuple(fields), f"a{number:02}"))
    if mistakes:
        listed = "\n".join(f"  - {mistake}" for mistake in mistakes)
        raise ConfigurationError(f"the org for the rehearsal cannot be made:\n{listed}")
    return tuple(objects)


def _field(column: Column, external_id: str) -> Field:
    match column.type:
        case "text" | "base64":
            if column.field == external_id:
                return Field(
                    column.field,
                    "string",
                    length=min(column.length or LONGEST_STRING, LONGEST_STRING),
                    external_id=True,
                    unique=True,
                )
            length = column.length or LONGEST_TEXT_AREA
            kind = "string" if length <= LONGEST_STRING else "textarea"
            return Field(column.field, kind, length=length)
        case "decimal":
            places = PLACES if column.scale is None else column.scale
            key = column.field == external_id
            return Field(
                column.field,
                "double",
                precision=PRECISION,
                scale=places,
                external_id=key,
                unique=key,
            )
        case other:
            return Field(column.field, other)


def _reference(relationship: str, parent: str) -> Field:
    """The lookup field behind a relationship: Store__c of Store__r, AccountId of Account."""
    custom = relationship.endswith("__r")
    name = f"{relationship.removesuffix('__r')}__c" if custom else f"{relationship}Id"
    return Field(name, "reference", length=18, reference_to=parent, relationship=relationship)


def _parent(relationship: str, external_id: str, owners: list[tuple[str, str]]) -> str | None:
    """The object that a relationship leads to.

    Many objects call their external id External_ID__c, so the name decides: Sales__r leads to
    Sales__c, or to the same behind a prefix of one word, KPS_Sales__c, but not to KPS_Web_Sales__c.
    """
    wanted = relationship.removesuffix("__r")
    for name, field in owners:
        if field == external_id and wanted in _stems(name):
            return name
    return None


def _stems(name: str) -> Iterator[str]:
    whole = name.removesuffix("__c")
    yield whole
    yield whole.partition("_")[2]


def _rows(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A SELECT of constants, in their order."""
    quoted = ", ".join(
        "(" + ", ".join("'" + value.replace("'", "''") + "'" for value in row) + ")" for row in rows
    )
    named = ", ".join(f'"{column}"' for column in columns)
    return f"SELECT {named} FROM (VALUES {quoted}) AS given({named}) ORDER BY 1"
