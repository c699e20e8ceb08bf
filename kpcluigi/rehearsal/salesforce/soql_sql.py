"""SOQL on DuckDB: `Query` -> one SELECT, and its rows -> the records of an answer.

What differs from SQL: texts compare without regard to case unless their field is case sensitive; a
comparison is never unknown, `!=` and NOT IN hold for null; '' is null; nulls sort first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import duckdb

from kpcluigi.rehearsal.salesforce.ids import to_18
from kpcluigi.rehearsal.salesforce.jobs import salesforce_time
from kpcluigi.rehearsal.salesforce.schema import Field, SObject, literal, quoted
from kpcluigi.rehearsal.salesforce.soql import (
    Comparison,
    Condition,
    Item,
    Literal,
    Query,
    SoqlError,
    at,
)

PAGE = 2000
"""Records in one answer (REST API Developer Guide, "Query"), and in any aggregate's."""
MAX_OFFSET = 2000
"""SOQL and SOSL Reference, "OFFSET"."""

# The kind of literal that a field of this describe type is compared with.
LITERAL_KINDS = {"double": "number", "boolean": "boolean", "date": "date", "datetime": "datetime"}
SHOWN_TYPES = {"datetime": "dateTime"}
NO_SUCH = (
    "If you are attempting to use a custom {0}, be sure to append the '__c' after the {1} name. "
    "Please reference your WSDL or the describe call for the appropriate names."
)


@dataclass
class Statement:
    """A query compiled to SQL.

    `columns` says what each column of the rows is; the first is the record's Id, unless the query
    is an aggregate.
    """

    query: Query
    sobject: SObject
    objects: dict[str, SObject]
    """Every object of the org."""
    columns: list[tuple[str, str]] = field(default_factory=list)
    """(relationship or "", name in the answer), in the order of the selected columns."""
    fields: list[Field] = field(default_factory=list)
    """Of the same columns; an aggregate has none."""
    parents: dict[str, SObject] = field(default_factory=dict)
    sql: str = ""

    def count(self, con: duckdb.DuckDBPyConnection) -> int:
        """How many rows there are, within the query's own LIMIT and OFFSET."""
        row = con.execute(f"SELECT count(*) FROM ({self.sql})").fetchone()
        assert row is not None
        rest = max(0, int(row[0]) - self.query.offset)
        return rest if self.query.limit is None else min(rest, self.query.limit)

    def page(
        self, con: duckdb.DuckDBPyConnection, start: int, total: int, base: str
    ) -> list[dict[str, Any]]:
        """The records from `start` on, one page of them."""
        rows = con.execute(
            f"{self.sql} LIMIT {min(PAGE, total - start)} OFFSET {self.query.offset + start}"
        ).fetchall()
        if self.query.is_aggregate:
            return [self._aggregate(row) for row in rows]
        return [self._record(row, base) for row in rows]

    def _aggregate(self, row: Sequence[Any]) -> dict[str, Any]:
        names = [name for _, name in self.columns]
        values = map(to_json, row)
        return {
            "attributes": {"type": "AggregateResult"},
            **dict(zip(names, values, strict=True)),
        }

    def _record(self, row: Sequence[Any], base: str) -> dict[str, Any]:
        record: dict[str, Any] = {"attributes": attributes(self.sobject, row[0], base)}
        parent_ids = dict(zip(self.parents, row[1:], strict=False))
        values = row[1 + len(self.parents) :]
        for (relationship, name), value in zip(self.columns, values, strict=True):
            if not relationship:
                record[name] = to_json(value)
            elif parent_ids[relationship] is None:
                record[relationship] = None
            else:
                parent = self.parents[relationship]
                shown = attributes(parent, parent_ids[relationship], base)
                nested = record.setdefault(relationship, {"attributes": shown})
                nested[name] = to_json(value)
        return record


@dataclass(frozen=True)
class Cursor:
    """A query whose later pages may be asked for."""

    statement: Statement
    total: int


def attributes(sobject: SObject, record_id: str, base: str) -> dict[str, str]:
    """The `attributes` of a record."""
    return {"type": sobject.name, "url": f"{base}/sobjects/{sobject.name}/{record_id}"}


def to_json(value: Any) -> Any:
    """A DuckDB value as the API prints it; numbers are doubles."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return salesforce_time(value)
    if isinstance(value, date):
        return value.isoformat()
    return value


def compile_query(query: Query, objects: dict[str, SObject]) -> Statement:
    """Compile a query.

    Raises:
        SoqlError: INVALID_TYPE, INVALID_FIELD or MALFORMED_QUERY.
    """
    folded = query.sobject.lower()
    sobject = next((o for o in objects.values() if o.name.lower() == folded), None)
    if sobject is None:
        start = query.text.find(query.sobject)
        reason = f"sObject type '{query.sobject}' is not supported. "
        reason += NO_SUCH.format("object", "entity")
        raise SoqlError("INVALID_TYPE", at(query.text, start, reason))
    return _Compiler(query, sobject, objects).statement()


class _Compiler:
    def __init__(self, query: Query, sobject: SObject, objects: dict[str, SObject]) -> None:
        self.query = query
        self.objects = objects
        self.result = Statement(query, sobject, objects)
        self.joins: dict[str, str] = {}

    def statement(self) -> Statement:
        query, result = self.query, self.result
        if not query.is_aggregate and any(item.alias for item in query.items):
            raise SoqlError("MALFORMED_QUERY", "only aggregate expressions use field aliasing")
        if (
            query.is_aggregate
            and not (query.is_count or query.group_by)
            and query.limit is not None
        ):
            raise SoqlError(
                "MALFORMED_QUERY",
                "Non-grouped query that uses overall aggregate functions cannot also use LIMIT",
            )
        where = f" WHERE {self.condition(query.where)}" if query.where else ""
        if query.is_count:
            selected = "t.Id"
        elif query.is_aggregate:
            selected = self.aggregates()
        else:
            selected = self.fields()
        group = ", ".join(self.grouped())
        tail = f" GROUP BY {group}" if group else ""
        tail += self.order()
        if query.offset > MAX_OFFSET:
            raise SoqlError(
                "NUMBER_OUTSIDE_VALID_RANGE", f"Maximum SOQL offset allowed is {MAX_OFFSET}"
            )
        joins = "".join(self.joins.values())
        result.sql = f"SELECT {selected} FROM {result.sobject.table} t{joins}{where}{tail}"
        return result

    def fields(self) -> str:
        chosen = []
        for item in self.query.items:
            expression, found, relationship = self.resolve(item.path)
            if (relationship, found.name) in self.result.columns:
                raise SoqlError("INVALID_FIELD", f"duplicate field selected: {found.name}")
            self.result.columns.append((relationship, found.name))
            self.result.fields.append(found)
            chosen.append(expression)
        parents = [f"{quoted(name)}.Id" for name in self.result.parents]
        return ", ".join(["t.Id", *parents, *chosen])

    def aggregates(self) -> str:
        chosen = []
        unnamed = 0
        grouped = self.grouped()
        for item in self.query.items:
            expression, found, _ = self.resolve(item.path)
            name = item.alias
            if item.function:
                if expression in grouped:
                    raise SoqlError(
                        "MALFORMED_QUERY", f"Grouped field should not be aggregated: {item.path}"
                    )
                expression = _function(item, expression, found)
                if not name:
                    name = f"expr{unnamed}"
                    unnamed += 1
            elif expression not in grouped:
                raise SoqlError(
                    "MALFORMED_QUERY", f"Field must be grouped or aggregated: {item.path}"
                )
            chosen.append(expression)
            name = name or found.name
            if name.lower() in (column.lower() for _, column in self.result.columns):
                raise SoqlError("MALFORMED_QUERY", f"duplicate alias: {name}")
            self.result.columns.append(("", name))
        return ", ".join(chosen)

    def grouped(self) -> list[str]:
        """The expressions of GROUP BY."""
        expressions = []
        for path in self.query.group_by:
            expression, found, _ = self.resolve(path)
            if not found.is_groupable:
                raise SoqlError(
                    "MALFORMED_QUERY", f"field '{found.name}' can not be grouped in a query call"
                )
            expressions.append(expression)
        return expressions

    def order(self) -> str:
        terms = []
        grouped = self.grouped()
        for term in self.query.order_by:
            expression, found, _ = self.resolve(term.path)
            if found.is_long_text:
                reason = f"field '{found.name}' can not be sorted in a query call"
                raise SoqlError("MALFORMED_QUERY", reason)
            if self.query.is_aggregate and expression not in grouped:
                reason = f"Ordered field must be grouped or aggregated: {term.path}"
                raise SoqlError("MALFORMED_QUERY", reason)
            direction = "DESC" if term.descending else "ASC"
            terms.append(f"{expression} {direction} NULLS {'LAST' if term.nulls_last else 'FIRST'}")
        if not self.query.is_aggregate:
            # Pages are cut from one order.
            terms.append("t.Id")
        return f" ORDER BY {', '.join(terms)}" if terms else ""

    def resolve(self, path: str) -> tuple[str, Field, str]:
        """A path's SQL expression, its field and its relationship."""
        *relationships, name = path.split(".")
        sobject, alias, relationship = self.result.sobject, "t", ""
        if relationships:
            relationship, sobject = self.parent(relationships, path)
            alias = quoted(relationship)
        folded = name.lower()
        found = next((f for f in sobject.all_fields if f.name.lower() == folded), None)
        if found is None:
            reason = f"No such column '{name}' on entity '{sobject.name}'. "
            raise self.invalid(path, reason + NO_SUCH.format("field", "custom field"))
        return f"{alias}.{quoted(found.name)}", found, relationship

    def parent(self, relationships: list[str], path: str) -> tuple[str, SObject]:
        if len(relationships) > 1:
            raise SoqlError("MALFORMED_QUERY", f"the stand-in covers one relationship: {path}")
        folded = relationships[0].lower()
        lookup = next(
            (f for f in self.result.sobject.all_fields if f.relationship.lower() == folded), None
        )
        if lookup is None:
            reason = f"Didn't understand relationship '{relationships[0]}' in field path. "
            reason += "If you are attempting to use a custom relationship, be sure to append the "
            reason += "'__r' after the custom relationship name. Please reference your WSDL or the "
            reason += "describe call for the appropriate names."
            raise self.invalid(path, reason)
        if len(lookup.parents) > 1:
            raise SoqlError(
                "MALFORMED_QUERY", f"the stand-in does not cover a polymorphic lookup: {path}"
            )
        parent = self.objects[lookup.reference_to]
        self.result.parents[lookup.relationship] = parent
        alias = quoted(lookup.relationship)
        self.joins[lookup.relationship] = (
            f" LEFT JOIN {parent.table} {alias} ON {alias}.Id = t.{quoted(lookup.name)}"
        )
        return lookup.relationship, parent

    def invalid(self, path: str, reason: str) -> SoqlError:
        start = max(0, self.query.text.find(path))
        return SoqlError("INVALID_FIELD", at(self.query.text, start, reason))

    def condition(self, condition: Condition) -> str:
        if isinstance(condition, Comparison):
            return self.comparison(condition)
        if condition.op == "NOT":
            return f"(NOT {self.condition(condition.parts[0])})"
        joined = f" {condition.op} ".join(self.condition(part) for part in condition.parts)
        return f"({joined})"

    def comparison(self, comparison: Comparison) -> str:
        expression, found, _ = self.resolve(comparison.path)
        if found.is_long_text:
            reason = f"field '{found.name}' can not be filtered in a query call"
            raise SoqlError("INVALID_FIELD", at(self.query.text, comparison.start, reason))
        if comparison.op == "LIKE":
            if not found.is_text:
                raise SoqlError("INVALID_FIELD", f"invalid operator on {found.type} field: LIKE")
            pattern = literal(comparison.values[0].value)
            if found.folds_case:
                expression, pattern = f"lower({expression})", f"lower({pattern})"
            return f"coalesce({expression} LIKE {pattern} ESCAPE '\\', false)"
        values = [self.value(v, found, comparison) for v in comparison.values]
        if found.folds_case:
            compared = f"lower({expression})"
            values = [v and f"lower({v})" for v in values]
        else:
            compared = expression
        known = ", ".join(v for v in values if v)
        if comparison.op in ("IN", "NOT IN"):
            is_null = f"{expression} IS NULL" if "" in values else "false"
            inside = f"coalesce({compared} IN ({known}), {is_null})" if known else f"({is_null})"
            return inside if comparison.op == "IN" else f"(NOT {inside})"
        if not known:
            if comparison.op == "=":
                return f"({expression} IS NULL)"
            if comparison.op == "!=":
                return f"({expression} IS NOT NULL)"
            return "false"
        if comparison.op == "!=":
            return f"({compared} IS DISTINCT FROM {known})"
        return f"coalesce({compared} {comparison.op} {known}, false)"

    def value(self, given: Literal, found: Field, comparison: Comparison) -> str:
        """A literal as SQL; "" is null."""
        wanted = LITERAL_KINDS.get(found.type, "text")
        if given.kind == "null" or (given.kind == "text" and wanted == "text" and not given.value):
            return ""
        if given.kind != wanted:
            quotes = "should be" if wanted == "text" else "should not be"
            shown = SHOWN_TYPES.get(found.type, found.type if wanted != "text" else "string")
            reason = (
                f"value of filter criterion for field '{found.name}' must be of type {shown} "
                f"and {quotes} enclosed in quotes"
            )
            raise SoqlError("INVALID_FIELD", at(self.query.text, comparison.start, reason))
        if found.type in ("id", "reference"):
            record_id = to_18(given.value)
            if record_id is None:
                raise SoqlError(
                    "INVALID_QUERY_FILTER_OPERATOR",
                    at(self.query.text, comparison.start, f"invalid ID field: {given.value}"),
                )
            return literal(record_id)
        if found.type in ("date", "datetime"):
            return self.moment(given, comparison)
        return literal(given.value) if wanted == "text" else given.value

    def moment(self, given: Literal, comparison: Comparison) -> str:
        try:
            moment = datetime.fromisoformat(given.value)
        except ValueError as error:
            reason = f"Invalid {given.kind}: {given.value}"
            raise SoqlError(
                "MALFORMED_QUERY", at(self.query.text, comparison.start, reason)
            ) from error
        if given.kind == "date":
            return f"DATE '{moment:%Y-%m-%d}'"
        offset = moment.utcoffset()
        assert offset is not None, "the grammar has no datetime without a zone"
        return f"TIMESTAMP '{moment.replace(tzinfo=None) - offset:%Y-%m-%d %H:%M:%S.%f}'"


def _function(item: Item, expression: str, found: Field) -> str:
    function = item.function
    numeric = function in ("SUM", "AVG")
    if (numeric and found.type != "double") or found.type == "boolean" or found.is_long_text:
        raise SoqlError(
            "MALFORMED_QUERY", f"field {found.name} does not support aggregate operator {function}"
        )
    if function == "COUNT_DISTINCT":
        return f"count(DISTINCT {expression})"
    return f"{function.lower()}({expression})"
