"""What is compared of a range: rows, sums, means, extremes and non-null counts, as values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any, Literal
from zoneinfo import ZoneInfo

from kpcluigi.fields.dates import EPOCH, FIRST, LAST
from kpcluigi.oracle import Source
from kpcluigi.tables import Table

What = Literal["non_null", "sum", "avg", "min", "max", "parents"]
Value = Decimal | int | str
"""A number, a count, or a day or a moment in UTC as ISO 8601 writes it, to the second."""

SECONDS = 19
"""Characters of 2024-01-31T10:20:30: an org keeps no fraction of a second."""
DIGITS = 80
AVG_ULPS = 16
"""A mean may be rounded more than once on its way; sum and count beside it are exact."""


@dataclass(frozen=True)
class Measure:
    """One number of one column.

    Attributes:
        field: in Salesforce; of a lookup the field itself, Account__c.
        kind: of the values.
        scale: places behind the point that the mapping gives; None: as many as there are.
        zone: of the column's wall clock, where the field is a datetime; None: it is in UTC.
    """

    column: str
    field: str
    what: What
    kind: Literal["number", "date", "datetime", "lookup"]
    scale: int | None = 0
    zone: ZoneInfo | None = None

    @property
    def level(self) -> int:
        return 5 if self.what == "parents" else 2

    def target(self, table: Table) -> str:
        """The column of the chunk files."""
        if self.what == "parents":
            return table.lookups[self.column]
        return table.columns[self.column].field

    @property
    def soql(self) -> str:
        function = "COUNT" if self.what in ("non_null", "parents") else self.what.upper()
        return f"{function}({self.field})"

    @property
    def unit(self) -> Decimal:
        """The least difference of two values that counts."""
        return Decimal(1).scaleb(-(self.scale or 0))

    def of_oracle(self, text: str) -> Value:
        """A value of `ColumnTotals`, as its field has it."""
        if self.kind == "number":
            return self.as_number(text)
        if self.kind == "date":
            return text[:10]
        return self._in_utc(text)

    def of_staged(self, text: str) -> Value | None:
        """A value as it stands in a chunk file or a dead letter; None where it is none."""
        if self.kind == "number":
            try:
                return self.as_number(text)
            except ArithmeticError:
                return None
        if self.kind == "datetime" and "T" not in text:
            return self._in_utc(text)  # a row that was refused: as it stands in Oracle
        return text[: 10 if self.kind == "date" else SECONDS]

    def is_outside(self, text: str) -> bool:
        """Whether it is a day or moment that no org holds, as rejected rows may have."""
        if self.kind not in ("date", "datetime"):
            return False
        return not str(FIRST) <= text[:SECONDS].replace("T", " ") <= str(LAST + timedelta(days=1))

    def _in_utc(self, text: str) -> str:
        """A wall clock of Oracle as the transform reads it."""
        if self.zone is None or self.is_outside(text):
            return text[:SECONDS].replace(" ", "T")
        moment = datetime.fromisoformat(text)
        # Before 1970 the offset is that of 1970
        known = max(moment, EPOCH).replace(tzinfo=self.zone)
        return (moment - (known.utcoffset() or timedelta())).isoformat(timespec="seconds")

    def of_salesforce(self, found: Any) -> Value | None:
        """A value of the org's answer."""
        if found is None:
            return None
        if self.what in ("non_null", "parents"):
            return int(found)
        if self.kind == "number":
            return Decimal(repr(found))
        return str(found)[: 10 if self.kind == "date" else SECONDS]

    def as_number(self, text: str) -> Decimal:
        with localcontext(prec=DIGITS):
            value = Decimal(text)
            if self.what in ("sum", "avg") or self.scale is None:
                return value
            return value.quantize(self.unit, ROUND_HALF_UP)

    def tolerance(self, expected: Value | None) -> Decimal:
        """How far the org's answer may be off because it is a double."""
        if self.kind != "number" or expected is None or isinstance(expected, str | int):
            return Decimal(0)
        size = math.ulp(abs(float(expected)))
        return Decimal(size) * (AVG_ULPS if self.what == "avg" else 1)


def measures_of(
    table: Table, source: Source, described: Mapping[str, Mapping[str, Any]]
) -> tuple[list[Measure], list[str]]:
    """What is compared of a table, and what cannot be.

    Args:
        described: the object's fields as the org describes them.
    """
    found: list[Measure] = []
    left_out: list[str] = []
    for name, column in table.columns.items():
        if column.type not in ("decimal", "date", "datetime"):
            continue
        field = described.get(column.field)
        if field is None or not field.get("aggregatable", True):
            left_out.append(f"{column.field}: the org adds nothing up there")
        elif column.type != "decimal":
            zone = None
            if column.type == "datetime" and name not in source.in_utc:
                zone = table.zone_of(column)
            found += [
                Measure(name, column.field, what, column.type, zone=zone)
                for what in ("non_null", "min", "max")
            ]
        elif not source.columns[name].is_amount:
            left_out.append(
                f"{column.field}: {name} is a text in Oracle, which adds nothing up there"
            )
        else:
            found += [
                Measure(name, column.field, what, "number", scale=column.scale)
                for what in ("non_null", "sum", "avg", "min", "max")
            ]
    by_relationship = {(f["relationshipName"] or "").lower(): f for f in described.values()}
    for name, target in table.lookups.items():
        field = by_relationship.get(target.partition(".")[0].lower())
        if field is None:
            left_out.append(f"{target}: the org describes no such lookup")
            continue
        found.append(Measure(name, field["name"], "parents", "lookup"))
    return found, left_out


@dataclass
class Aggregates:
    """Rows and values of a range. What no row has is None, or 0 where it is a count."""

    rows: int
    values: dict[Measure, Value | None]
    parts: int = 1
    """How many answers of the org it was added up from."""


def merged(parts: Iterable[Aggregates], measures: Iterable[Measure]) -> Aggregates:
    """Aggregates of ranges as those of all of them together."""
    every = list(parts)
    values: dict[Measure, Value | None] = {}
    for measure in measures:
        known = [v for part in every if (v := part.values.get(measure)) is not None]
        none = 0 if measure.what in ("non_null", "parents") else None
        values[measure] = _together(measure, known) if known else none
    rows, answers = sum(part.rows for part in every), sum(part.parts for part in every)
    result = Aggregates(rows, values, answers)
    for measure in values:
        if measure.what == "avg":
            values[measure] = mean(result, measure)
    return result


def mean(of: Aggregates, avg: Measure) -> Value | None:
    """A mean from the sum and the count beside it."""
    beside = {m.what: v for m, v in of.values.items() if m.column == avg.column}
    total, count = beside.get("sum"), beside.get("non_null")
    if not isinstance(total, Decimal) or not count:
        return None
    with localcontext(prec=DIGITS):
        return total / Decimal(count)


def _together(measure: Measure, known: list[Value]) -> Value:
    if measure.what in ("min", "max"):
        better: Any = min if measure.what == "min" else max
        extreme: Value = better(known)
        return extreme
    with localcontext(prec=DIGITS):
        total: Value = sum(known)  # type: ignore[arg-type]
        return total
