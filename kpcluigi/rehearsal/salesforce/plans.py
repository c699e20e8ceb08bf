"""Query plans: the index that an org takes for a query, and how many rows it reads.

An index serves a query whose conditions, joined by AND, ask for few enough of its rows (Large Data
Volumes guide, "Indexes"; its thresholds are below). It does not serve !=, NOT, NOT IN, null, a LIKE
that begins with a wildcard, nor a field of a parent. OR is served where each of its fields has an
index. Where an org joins two indexes, the stand-in takes the better one.

Costs are reckoned as recorded plans do: an index's rows by its threshold, and a scan's 1 + 0.65
of its rows by the threshold of standard indexes. From 1 on an index is not selective: it is listed
after the scan, as recorded, or not at all where its cost would put it before. An org's numbers of
rows are estimates, these are exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb

from kpcluigi.rehearsal.salesforce.schema import Field
from kpcluigi.rehearsal.salesforce.soql import Comparison, Condition, Item, Logic
from kpcluigi.rehearsal.salesforce.soql_sql import Statement, compile_query

STANDARD_INDEXES = frozenset({"Id", "Name", "OwnerId", "CreatedDate", "SystemModstamp"})
"""Beside every lookup. External ids and unique fields have a custom index."""

MILLION = 1_000_000
UNINDEXED = "Not considering filter for optimization because unindexed"


@dataclass(frozen=True)
class Index:
    """Up to which share of an object's rows an index is selective."""

    of_first_million: float
    of_the_rest: float
    most: int

    def threshold(self, rows: int) -> float:
        first = self.of_first_million * min(rows, MILLION)
        return min(first + self.of_the_rest * max(0, rows - MILLION), self.most)


STANDARD = Index(0.30, 0.15, MILLION)
CUSTOM = Index(0.10, 0.05, 333_333)


@dataclass(frozen=True)
class Plan:
    """One way to run a query."""

    operation: str
    """Index, TableScan or Other."""
    fields: tuple[str, ...]
    cardinality: int
    cost: float


@dataclass(frozen=True)
class Plans:
    """A query's plans, cheapest first, and how many rows its object has."""

    listed: tuple[Plan, ...]
    rows: int

    @property
    def rows_read(self) -> int:
        best = self.listed[0]
        return self.rows if best.operation == "TableScan" else best.cardinality


def index_of(field: Field) -> Index | None:
    """The index that the field has."""
    if field.name in STANDARD_INDEXES or field.type == "reference":
        return STANDARD
    if field.external_id or field.unique or field.indexed:
        return CUSTOM
    return None


def make_plans(statement: Statement, con: duckdb.DuckDBPyConnection) -> Plans:
    """The plans of a query; only rows are counted."""
    query = statement.query
    rows = _count(statement, None, con)
    standard = STANDARD.threshold(rows)
    matching = _count(statement, query.where, con) if query.where else rows
    scan = Plan("TableScan", (), matching, 1 + 0.65 * _share(matching, standard))
    found = [scan]
    for fields, condition, index in _candidates(statement):
        cardinality = _count(statement, condition, con)
        cost = _share(cardinality, index.threshold(rows))
        if cost <= 1 or cost > scan.cost:
            found.append(Plan("Index", fields, cardinality, cost))
    takes_any = not (query.where or query.order_by or query.is_aggregate)
    if takes_any and query.limit is not None:
        # Recorded of SELECT Id FROM Account LIMIT 10.
        most = min(query.limit, rows)
        found.append(Plan("Other", (), most, _share(most, standard)))
    return Plans(tuple(sorted(found, key=lambda plan: plan.cost)), rows)


def explain_body(statement: Statement, plans: Plans) -> dict[str, Any]:
    """The answer to `explain` (REST API Developer Guide, "Query Performance Feedback")."""
    name = statement.sobject.name
    notes = [
        {"description": UNINDEXED, "fields": [field], "tableEnumOrId": table}
        for table, field in _unindexed(statement)
    ]
    listed = [
        {
            "cardinality": plan.cardinality,
            "fields": list(plan.fields),
            "leadingOperationType": plan.operation,
            "notes": notes,
            "relativeCost": plan.cost,
            "sobjectCardinality": plans.rows,
            "sobjectType": name,
        }
        for plan in plans.listed
    ]
    return {"plans": listed, "sourceQuery": statement.query.text}


def _share(rows: int, threshold: float) -> float:
    return rows / threshold if threshold else 0.0


def _count(
    statement: Statement, condition: Condition | None, con: duckdb.DuckDBPyConnection
) -> int:
    """How many rows of the query's object the condition holds for."""
    query = replace(
        statement.query,
        items=(Item("", "COUNT"),),
        where=condition,
        group_by=(),
        order_by=(),
        limit=None,
        offset=0,
    )
    return compile_query(query, statement.objects).count(con)


def _candidates(statement: Statement) -> Iterator[tuple[tuple[str, ...], Condition, Index]]:
    """What an index may serve: fields, their part of the condition, the index."""
    ranges: dict[str, list[Comparison]] = {}
    for part in _joined("AND", statement.query.where):
        if isinstance(part, Comparison):
            field = _own_field(statement, part)
            if field is not None and index_of(field) is not None and _is_served(part):
                ranges.setdefault(field.name, []).append(part)
        elif part.op == "OR" and (served := _union(statement, part)) is not None:
            yield served
    for name, comparisons in ranges.items():
        field = statement.sobject.field(name)
        index = None if field is None else index_of(field)
        assert index is not None, "only fields with an index are gathered"
        condition = comparisons[0] if len(comparisons) == 1 else Logic("AND", tuple(comparisons))
        yield (name,), condition, index


def _union(statement: Statement, either: Logic) -> tuple[tuple[str, ...], Condition, Index] | None:
    fields: dict[str, Index] = {}
    for part in _joined("OR", either):
        field = _own_field(statement, part) if isinstance(part, Comparison) else None
        index = None if field is None else index_of(field)
        if (
            field is None
            or index is None
            or not (isinstance(part, Comparison) and _is_served(part))
        ):
            return None
        fields[field.name] = index
    least = CUSTOM if CUSTOM in fields.values() else STANDARD
    return tuple(fields), either, least


def _joined(op: str, condition: Condition | None) -> Sequence[Condition]:
    """The parts of a condition that `op` joins, on however many levels."""
    if condition is None:
        return []
    if isinstance(condition, Logic) and condition.op == op:
        return [part for inner in condition.parts for part in _joined(op, inner)]
    return [condition]


def _own_field(statement: Statement, comparison: Comparison) -> Field | None:
    """The object's field that is compared; None for a parent's."""
    folded = comparison.path.lower()
    return next((f for f in statement.sobject.all_fields if f.name.lower() == folded), None)


def _is_served(comparison: Comparison) -> bool:
    if comparison.op in ("!=", "NOT IN"):
        return False
    if any(value.kind == "null" or value.value == "" for value in comparison.values):
        return False
    return comparison.op != "LIKE" or comparison.values[0].value[0] not in "%_"


def _unindexed(statement: Statement) -> list[tuple[str, str]]:
    """Object and name of the filtered fields that have no index; IsDeleted is always filtered."""
    found: dict[tuple[str, str], None] = {}
    for comparison in _comparisons(statement.query.where):
        relationship, _, name = comparison.path.rpartition(".")
        folded = relationship.lower()
        parents = {known.lower(): parent for known, parent in statement.parents.items()}
        owner = parents[folded] if relationship else statement.sobject
        field = next(f for f in owner.all_fields if f.name.lower() == name.lower())
        if index_of(field) is None:
            found[owner.name, field.name] = None
    if statement.sobject.field("IsDeleted") is not None:
        found[statement.sobject.name, "IsDeleted"] = None
    return list(found)


def _comparisons(condition: Condition | None) -> Iterator[Comparison]:
    if isinstance(condition, Comparison):
        yield condition
    elif condition is not None:
        for part in condition.parts:
            yield from _comparisons(part)
