"""What a reconciliation is given, and what both kinds of it ask the org first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kpcluigi.load import Standing
from kpcluigi.markers import Plan, SourceTotals
from kpcluigi.oracle import AnyWindow
from kpcluigi.reconcile.aggregates import Asking, Tell
from kpcluigi.reconcile.alike import Alike, fields_alike
from kpcluigi.reconcile.queryjobs import QueryRules
from kpcluigi.salesforce import Client, describe
from kpcluigi.staging import TableFolder
from kpcluigi.tables import Table

NUMBERS = ("double", "int", "currency", "percent")


@dataclass(frozen=True)
class Ends:
    """What a reconciliation compares, and by what.

    Attributes:
        file_of: where the file of a chunk lies; None where it is gone.
        full: compare every row, whether or not anything else differs.
    """

    client: Client
    table: Table
    window: AnyWindow
    plan: Plan
    totals: SourceTotals
    loads: Standing
    folder: TableFolder
    file_of: Callable[[int], Path | None]
    rules: QueryRules
    full: bool
    tell: Tell


def fields_of(
    asking: Asking, table: Table, described: Mapping[str, Mapping[str, Any]]
) -> list[Alike]:
    """Every column of the chunk files; the parents' objects tell which are found by a number."""
    parents = {
        (field["relationshipName"] or "").lower(): field["referenceTo"]
        for field in described.values()
    }
    known: dict[str, dict[str, dict[str, Any]]] = {}
    numbers: set[str] = set()
    for target in table.lookups.values():
        relationship, _, name = target.partition(".")
        for parent in parents.get(relationship.lower(), ())[:1]:
            if parent not in known:
                asking.requests += 1
                known[parent] = describe(asking.client, parent)
            if known[parent].get(name, {}).get("type") in NUMBERS:
                numbers.add(target)
    return fields_alike(table, numbers)
