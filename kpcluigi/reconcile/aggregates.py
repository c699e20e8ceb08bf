"""Levels 1, 2 and 5: counts, aggregates and parents of each range, as the org has them.

One query asks for all numbers of a range. Where the org needs too long for a range, it is asked for
its halves, and theirs, and the answers are added up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any
from urllib.parse import quote

from kpcluigi.errors import SalesforceError
from kpcluigi.markers import Difference
from kpcluigi.reconcile.expected import Expected
from kpcluigi.reconcile.measures import Aggregates, Measure, Value, merged
from kpcluigi.reconcile.spans import Days, Range, Span
from kpcluigi.salesforce import Client

QUERY_BYTES = 12_000
"""Of a query's URL; Salesforce takes 16,384."""
TIMEOUT = "QUERY_TIMEOUT"
SHOWN = 20
"""Digits of a mean, which seldom ends."""


class Asking:
    """A client that counts what it asks."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.requests = 0

    def query(self, soql: str) -> list[dict[str, Any]]:
        """All records of a query, page after page."""
        page = self._get("/query", {"q": soql})
        records: list[dict[str, Any]] = page["records"]
        while not page["done"]:
            page = self._get(f"/query/{page['nextRecordsUrl'].rpartition('/')[2]}")
            records += page["records"]
        return records

    def explain(self, soql: str) -> list[dict[str, Any]]:
        """How the org would run a query, the cheapest plan first."""
        plans: list[dict[str, Any]] = self._get("/query", {"explain": soql})["plans"]
        return plans

    def _get(self, path: str, params: dict[str, str] | None = None) -> Any:
        self.requests += 1
        return self.client.ask(path, params=params)


class OrgAggregates:
    """Asks an object for its numbers, span by span."""

    def __init__(self, asking: Asking, sobject: str, measures: Sequence[Measure]) -> None:
        self._asking = asking
        self._object = sobject
        self._measures = measures
        self._lists = _select_lists(measures)

    def of(self, span: Span) -> Aggregates:
        """Every number of a span.

        Raises:
            SalesforceError: refused; with QUERY_TIMEOUT, where even the shortest span takes too
                long.
        """
        try:
            return self._at_once(span)
        except SalesforceError as error:
            halves = span.halves() if error.code == TIMEOUT else None
            if halves is None:
                raise
        return merged([self.of(half) for half in halves], self._measures)

    def _at_once(self, span: Span) -> Aggregates:
        values: dict[Measure, Value | None] = {}
        rows = 0
        for asked in self._lists:
            select = ", ".join(
                ["COUNT(Id) n", *(f"{measure.soql} v{i}" for i, measure in enumerate(asked))]
            )
            (row,) = self._asking.query(f"SELECT {select} FROM {self._object}{span.where}")
            rows = int(row["n"])
            for i, measure in enumerate(asked):
                values[measure] = measure.of_salesforce(row[f"v{i}"])
        return Aggregates(rows, values)


def _select_lists(measures: Sequence[Measure]) -> list[list[Measure]]:
    """The measures, as many in a query as its URL can hold."""
    lists: list[list[Measure]] = [[]]
    size = 0
    for measure in measures:
        length = len(quote(f"{measure.soql} v1000, "))
        if size + length > QUERY_BYTES:
            lists.append([])
            size = 0
        lists[-1].append(measure)
        size += length
    return lists


@dataclass
class Compared:
    """One range against the org.

    Attributes:
        found: None where the org did not answer in time.
    """

    range: Range
    expected: Expected
    found: Aggregates | None
    differences: list[Difference]

    @property
    def days(self) -> Days:
        return self.range.days

    @property
    def differs(self) -> bool:
        return self.found is None or bool(self.differences)


def compare(one: Range, expected: Expected, found: Aggregates) -> Compared:
    """Every number of a range against what it should be."""
    days = one.days
    should = expected.aggregates
    differences: list[Difference] = []
    if should.rows != found.rows:
        differences.append(
            Difference(
                level=1,
                kind="range",
                measure="rows",
                expected=str(should.rows),
                found=str(found.rows),
                range=str(days),
            )
        )
    for measure, value in found.values.items():
        wanted = should.values.get(measure)
        off = measure.tolerance(wanted) * found.parts
        if not is_as_expected(measure, wanted, value, expected, off):
            differences.append(
                Difference(
                    level=measure.level,
                    kind="no_parent" if measure.what == "parents" else "range",
                    field=measure.field,
                    measure=measure.what,
                    expected=as_text(wanted),
                    found=as_text(value),
                    tolerance=about(off),
                    range=str(days),
                )
            )
    return Compared(one, expected, found, differences)


def is_as_expected(
    measure: Measure, wanted: Value | None, value: Value | None, expected: Expected, off: Decimal
) -> bool:
    """Whether the org's number is the one it should be, as far as either can be known."""
    if measure in expected.unsure or wanted == value:
        return True
    if measure.what == "parents":
        fewer = expected.orphans.get(measure, 0)
        return int(wanted or 0) - fewer <= int(value or 0) <= int(wanted or 0)
    if isinstance(wanted, Decimal) and isinstance(value, Decimal):
        return abs(wanted - value) <= off
    return False


def as_text(value: Value | None) -> str | None:
    """For people; None stays None."""
    if not isinstance(value, Decimal):
        return None if value is None else str(value)
    whole = f"{value:f}"
    if "." in whole:
        whole = whole.rstrip("0").rstrip(".")
    with localcontext(prec=SHOWN):
        return whole if len(whole) <= 2 * SHOWN else f"{+value:f}"


def about(off: Decimal) -> str:
    """A tolerance, in two digits; empty where there is none."""
    return f"{float(off):.2g}" if off else ""


def unsure_sums(compared: Sequence[Compared]) -> list[str]:
    """Sums that the org cannot tell as exactly as their column is written."""
    found: dict[Measure, Decimal] = {}
    for one in compared:
        parts = one.found.parts if one.found else 1
        for measure, value in one.expected.aggregates.values.items():
            off = measure.tolerance(value) * parts
            if measure.what == "sum" and 2 * off >= measure.unit:
                found[measure] = max(off, found.get(measure, off))
    return [
        f"{measure.field}: the org tells its sum as a double, within {about(off)}: a difference of "
        f"{measure.unit} could go unseen; only comparing rows shows it"
        for measure, off in found.items()
    ]


Tell = Callable[[str, float], None]
"""Receives a line and the share done, 0 to 1."""
