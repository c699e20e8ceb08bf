"""Field rules: a column's text as a typed value, and what makes it no value of its field.

All of it is DuckDB expressions: `c3` is the text of the fourth column, `t3` the same with the null
mark as NULL, `v3` the typed value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kpcluigi.rehearsal.salesforce.schema import READ_ONLY_FIELDS, Field, SObject, literal

NULL_MARK = "#N/A"
"""What sets a field to null (Bulk API 2.0 Developer Guide v66, "Prepare CSV Files")."""

FIELD_CHARACTERS = 131_072
RECORD_CHARACTERS = 400_000
"""Characters of a field and of a record (limits cheat sheet, "Bulk API")."""


NUMBER = r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?"
DATE = r"\d{4}-\d{2}-\d{2}"
# The zone is part of it: `yyyy-MM-ddTHH:mm:ss.SSS+/-HH:mm` or `...SSSZ`, milliseconds optional
# (Bulk API 2.0 Developer Guide v66, "Valid Date Format in Records").
DATETIME = DATE + r"T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,3})?(Z|[+-](0\d|1[0-4]):[0-5]\d)"
EMAIL = r"[^@\s,;<>()]+@[^@\s,;<>()]+\.[^@\s,;<>().]+"

FIRST_DAY, LAST_DAY = "1700-01-01", "4000-12-31"
"""Dates an org can hold (Salesforce Help, "Valid Date and Time Values")."""

XSD_NAMES = {
    "double": "xsd:double",
    "boolean": "xsd:boolean",
    "date": "xsd:date",
    "datetime": "xsd:dateTime",
}


@dataclass(frozen=True)
class Column:
    """One column of a file: a field, or a lookup by the external id of its parent."""

    header: str
    field: Field
    parent: SObject | None = None
    parent_field: Field | None = None

    @property
    def field_of_text(self) -> Field:
        """The field whose type the column's texts have."""
        return self.parent_field or self.field


def to_columns(
    header: Sequence[str], sobject: SObject, objects: dict[str, SObject]
) -> tuple[list[Column], list[str]]:
    """The columns that match a writable field, and the names that match none."""
    found = [(name, _to_column(name, sobject, objects)) for name in header]
    return [c for _, c in found if c], [name for name, column in found if not column]


def _to_column(name: str, sobject: SObject, objects: dict[str, SObject]) -> Column | None:
    relationship, point, parent_field_name = name.partition(".")
    if not point:
        field = sobject.field(name)
        writable = field and (name == "Id" or name not in READ_ONLY_FIELDS)
        return Column(name, field) if field and writable else None
    lookup = sobject.lookup(relationship)
    parent = objects.get(lookup.reference_to) if lookup else None
    parent_field = parent.field(parent_field_name) if parent else None
    if lookup is None or parent_field is None or not parent_field.external_id:
        return None
    return Column(name, lookup, parent, parent_field)


def key(field: Field, value: str) -> str:
    """The value by which records of a field are the same."""
    if field.type in ("id", "reference"):
        return f"substr({value}, 1, 15)"
    return f"lower({value})" if field.folds_case else value


def typed(field: Field, text: str) -> str:
    """The text as the field's storage type; NULL when it cannot be read."""
    if field.type == "double":
        return f"CASE WHEN regexp_full_match({text}, '{NUMBER}') THEN {_cast(field, text)} END"
    if field.type == "boolean":
        # The values of xsd:boolean, in its own letters.
        return (
            f"CASE WHEN {text} IN ('true', '1') THEN true "
            f"WHEN {text} IN ('false', '0') THEN false END"
        )
    if field.type == "date":
        day = f"TRY_CAST({text} AS DATE)"
        return f"CASE WHEN regexp_full_match({text}, '{DATE}') THEN {_in_range(day)} END"
    if field.type == "datetime":
        moment = f"date_trunc('second', TRY_CAST({text} AS TIMESTAMPTZ) AT TIME ZONE 'UTC')"
        return f"CASE WHEN regexp_full_match({text}, '{DATETIME}') THEN {_in_range(moment)} END"
    return text


def _cast(field: Field, text: str) -> str:
    return f"TRY_CAST({text} AS {field.storage})"


def _in_range(value: str) -> str:
    return (
        f"CASE WHEN CAST({value} AS DATE) BETWEEN DATE '{FIRST_DAY}' AND DATE '{LAST_DAY}' "
        f"THEN {value} END"
    )


def unreadable(column: Column, i: int) -> str:
    """Text that is no value of the field's type; columns are counted from 0."""
    field = column.field_of_text
    at = f"INVALID_FIELD:Failed to deserialize field at col {i}. Due to, "
    if field.type == "double":
        broken = f"t{i} IS NOT NULL AND NOT regexp_full_match(t{i}, '{NUMBER}')"
    elif field.type in XSD_NAMES:
        broken = f"t{i} IS NOT NULL AND v{i} IS NULL"
    elif field.type in ("reference", "id"):
        # Key prefix and length are looked at before the record is.
        return (
            f"CASE WHEN t{i} IS NOT NULL AND NOT "
            f"regexp_full_match(t{i}, '[A-Za-z0-9]{{15}}([A-Z0-5]{{3}})?') THEN "
            f"'MALFORMED_ID:{field.label}: id value of incorrect type: ' || t{i} || "
            f"':{field.name} --' END"
        )
    else:
        return ""
    after = f"' is not a valid value for the type {XSD_NAMES[field.type]}:{field.name} --"
    return f"CASE WHEN {broken} THEN {literal(at + chr(39))} || t{i} || {literal(after)} END"


def rule(column: Column, i: int) -> str:
    """Limits of the single field."""
    if column.parent is not None:
        return ""
    field = column.field
    if field.is_text:
        # Characters are counted as UTF-16 units, the strictest reading: how an org counts those
        # beyond the basic plane was not found.
        units = (
            f"length(t{i}) + length(regexp_replace(t{i}, '[^\\x{{10000}}-\\x{{10FFFF}}]', '', 'g'))"
        )
        long = (
            f"CASE WHEN strlen(t{i}) > {field.length} AND {units} > {field.length} THEN "
            f"{literal(f'STRING_TOO_LONG:{field.label}: data value too large: ')} || t{i} || "
            f"{literal(f' (max length={field.length}):{field.name} --')} END"
        )
        if field.values:
            chosen = ", ".join(literal(value) for value in field.values.split("|"))
            message = f"{field.label}: bad value for restricted picklist field: "
            return (
                f"{long}, CASE WHEN t{i} NOT IN ({chosen}) THEN "
                f"{literal(f'INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST:{message}')} || t{i} || "
                f"':{field.name} --' END"
            )
        if field.type != "email":
            return long
        return (
            f"{long}, CASE WHEN NOT regexp_full_match(t{i}, '{EMAIL}') THEN "
            f"{literal(f'INVALID_EMAIL_ADDRESS:{field.label}: invalid email address: ')} || t{i} "
            f"|| ':{field.name} --' END"
        )
    if field.type == "double":
        return (
            f"CASE WHEN t{i} IS NOT NULL AND v{i} IS NULL THEN "
            f"{literal(f'NUMBER_OUTSIDE_VALID_RANGE:{field.label}: value outside of valid range ')}"
            f" || 'on numeric field: ' || t{i} || ':{field.name} --' END"
        )
    return ""
