"""Single records by REST: the row rules of a batch of one, and the record as JSON."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import duckdb

from kpcluigi.rehearsal.salesforce.automations import Automations
from kpcluigi.rehearsal.salesforce.endpoint import Refusal
from kpcluigi.rehearsal.salesforce.field_rules import NULL_MARK, Column, to_columns
from kpcluigi.rehearsal.salesforce.rows import RowRules
from kpcluigi.rehearsal.salesforce.schema import Field, SObject, quoted
from kpcluigi.rehearsal.salesforce.soql_sql import attributes, to_json


@dataclass(frozen=True)
class Saved:
    """What became of a record."""

    id: str
    created: bool

    def body(self) -> dict[str, Any]:
        return {"id": self.id, "success": True, "errors": [], "created": self.created}


def to_texts(body: dict[str, Any], sobject: SObject, objects: dict[str, SObject]) -> dict[str, str]:
    """A record's JSON as the columns of a CSV row; null and "" are the null mark.

    Raises:
        Refusal: a field does not exist or cannot be written.
    """
    texts: dict[str, str] = {}
    for name, value in body.items():
        if name == "attributes":
            continue
        if isinstance(value, dict):
            for parent_name, parent_value in value.items():
                if parent_name != "attributes":
                    texts[f"{name}.{parent_name}"] = _text(name, parent_value)
        else:
            texts[name] = _text(name, value)
    columns, unknown = to_columns(list(texts), sobject, objects)
    for name in unknown:
        if sobject.field(name) is not None:
            raise not_writable(name)
        message = f"No such column '{name}' on sobject of type {sobject.name}"
        raise Refusal(400, "INVALID_FIELD", message)
    for column in columns:
        if column.field.type == "datetime":
            # JSON may have the offset as the API prints it, without a colon.
            texts[column.header] = re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", texts[column.header])
    return texts


def not_writable(name: str) -> Refusal:
    """The refusal of a field that exists and cannot be set."""
    message = (
        f"Unable to create/update fields: {name}. Please check the security settings of this field "
        "and verify that it is read/write for your profile or permission set."
    )
    return Refusal(400, "INVALID_FIELD_FOR_INSERT_UPDATE", message, [name])


def save(
    con: duckdb.DuckDBPyConnection,
    sobject: SObject,
    objects: dict[str, SObject],
    texts: dict[str, str],
    operation: str,
    match_field: str,
    automations: Automations,
    now: datetime,
) -> Saved:
    """Apply the row rules to one record and save it.

    Raises:
        Refusal: a rule forbids it; the body is that of the sobjects resource.
    """
    columns, _ = to_columns(list(texts), sobject, objects)
    marks = ", ".join(f"?::VARCHAR AS c{i}" for i in range(len(columns)))
    con.execute(
        f"CREATE TEMP TABLE upload AS SELECT 0::BIGINT AS r, {marks}",
        [texts[column.header] for column in columns],
    )
    con.execute("CREATE TEMP TABLE outcome (r BIGINT, id VARCHAR, created BOOLEAN, error VARCHAR)")
    rules = RowRules(sobject, columns, operation, match_field, objects)
    rules.check(con, 0, 1)
    automation = automations.acting(con, sobject.name)
    if automation is not None:
        automations.reject(con, automation)
    row = con.execute("SELECT error FROM batch").fetchone()
    assert row is not None
    if row[0] is not None:
        raise _refusal(row[0], columns, texts)
    if sobject.name == "PermissionSetAssignment":
        _refuse_duplicate_assignment(con, texts)
    rules.save(con, now)
    outcome = con.execute("SELECT id, created FROM outcome").fetchone()
    assert outcome is not None
    return Saved(*outcome)


def _refuse_duplicate_assignment(con: duckdb.DuckDBPyConnection, texts: dict[str, str]) -> None:
    ids = [texts[name][:15] for name in ("AssigneeId", "PermissionSetId")]
    found = con.execute(
        'SELECT 1 FROM "PermissionSetAssignment" '
        "WHERE substr(AssigneeId, 1, 15) = ? AND substr(PermissionSetId, 1, 15) = ?",
        ids,
    ).fetchone()
    if found is not None:
        message = f"Duplicate PermissionSetAssignment. Assignee: {ids[0]}; Permission Set: {ids[1]}"
        raise Refusal(400, "DUPLICATE_VALUE", message, [])


def matching_ids(
    con: duckdb.DuckDBPyConnection, sobject: SObject, field: Field, value: str
) -> list[str]:
    """Ids of the records whose external id is `value`."""
    name = quoted(field.name)
    condition = f"lower({name}) = lower(?)" if field.folds_case else f"{name}::VARCHAR = ?"
    if field.type == "double":
        condition = f"{name} = TRY_CAST(? AS {field.storage})"
    sql = f"SELECT Id FROM {sobject.table} WHERE {condition} ORDER BY Id"
    return [row[0] for row in con.execute(sql, [value]).fetchall()]


def read(
    con: duckdb.DuckDBPyConnection,
    sobject: SObject,
    record_id: str,
    names: list[str],
    base: str,
) -> dict[str, Any] | None:
    """The record as JSON, with these fields, all when there are none; None when there is none."""
    by_name = {field.name.lower(): field.name for field in sobject.all_fields}
    chosen = []
    for name in names or list(by_name.values()):
        if name.lower() not in by_name:
            message = f"No such column '{name}' on sobject of type {sobject.name}"
            raise Refusal(400, "INVALID_FIELD", message)
        chosen.append(by_name[name.lower()])
    columns = ", ".join(quoted(name) for name in chosen)
    row = con.execute(f"SELECT {columns} FROM {sobject.table} WHERE Id = ?", [record_id]).fetchone()
    if row is None:
        return None
    values = {name: to_json(value) for name, value in zip(chosen, row, strict=True)}
    return {"attributes": attributes(sobject, record_id, base), **values}


def _text(name: str, value: Any) -> str:
    if value is None or value == "":
        return NULL_MARK
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, Decimal)):
        return str(value)
    if not isinstance(value, str):
        raise Refusal(400, "JSON_PARSER_ERROR", f"Unexpected value of {name}: {value}")
    if value == NULL_MARK:
        raise Refusal(
            501, "STANDIN_NOT_COVERED", f"the stand-in does not cover the text {NULL_MARK} in JSON"
        )
    return value


def _refusal(error: str, columns: list[Column], texts: dict[str, str]) -> Refusal:
    """A row's sf__Error as the sobjects resource words it."""
    code, rest = error.split(":", 1)
    message, fields = rest.rsplit(":", 1)
    names = [name for name in fields.removesuffix("--").strip().split(",") if name]
    deserialize = re.match(r"Failed to deserialize field at col (\d+)", message)
    if deserialize:
        column = columns[int(deserialize[1])]
        message = (
            f"Cannot deserialize instance of {column.field_of_text.type} from VALUE_STRING value "
            f"{texts[column.header]} or request may be missing a required field"
        )
        return Refusal(400, "JSON_PARSER_ERROR", message)
    return Refusal(400, code, message, names)
