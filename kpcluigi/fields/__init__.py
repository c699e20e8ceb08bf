"""One column on its way to one field: a class for each type of the mapping.

Knows no I/O. `transform` puts them to work on a frame.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import polars as pl

from kpcluigi.fields.base import INVALID_UTF8, NO_ID, NULL, Facts, Field
from kpcluigi.fields.dates import DATE, DATETIME, DateField, DateTimeField
from kpcluigi.fields.flags import BooleanField
from kpcluigi.fields.numbers import DecimalField
from kpcluigi.fields.text import LONG_ID, Base64Field, LookupField, TextField
from kpcluigi.tables import Table

__all__ = [
    "DATE",
    "DATETIME",
    "INVALID_UTF8",
    "LONG_ID",
    "NO_ID",
    "NULL",
    "Facts",
    "Field",
    "fields_of",
]


def fields_of(
    table: Table, schema: Mapping[str, pl.DataType], in_utc: Collection[str]
) -> list[Field]:
    """The fields in the order of the header."""
    fields: list[Field] = []
    for name, column in table.columns.items():
        place = (name, column.field, schema[name])
        marks = {
            "is_key": column.field == table.external_id,
            "flagged": INVALID_UTF8 + name in schema,
        }
        match column.type:
            case "text":
                fields.append(TextField(column, *place, **marks))
            case "base64":
                fields.append(Base64Field(column, *place, **marks))
            case "decimal":
                fields.append(DecimalField(column, *place, **marks))
            case "boolean":
                fields.append(BooleanField(column, *place, **marks))
            case "date":
                fields.append(DateField(column, *place, **marks))
            case "datetime":
                zone = "UTC" if name in in_utc else table.zone_of(column)
                fields.append(DateTimeField(zone, column, *place, **marks))
    for name, target in table.lookups.items():
        flagged = INVALID_UTF8 + name in schema
        mapped = name in table.columns
        fields.append(
            LookupField(mapped, name, target, schema[name], is_key=False, flagged=flagged)
        )
    return fields
