"""Days as they stand in Oracle, and moments: the wall clock of a zone, as UTC."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import polars as pl

from kpcluigi.fields.base import LOCAL, Facts, Field
from kpcluigi.tables import Column

DATE = "%Y-%m-%d"
DATETIME = "%Y-%m-%dT%H:%M:%S%.3fZ"
"""How the CSV has them."""

EARLIEST = datetime(1, 1, 1)
"""What `oracle.source` reads any earlier date as, since no driver can give those to Python."""
FIRST, LAST = datetime(1700, 1, 1), datetime(4000, 12, 31)
"""What Salesforce holds, as days and as moments in UTC: the last is that midnight (Data Loader
Guide, "Data Import Dates")."""
_SURELY = datetime(1700, 1, 3), datetime(4000, 12, 29)
"""The same, less what any zone can shift."""
EPOCH = datetime(1970, 1, 1)
"""Before it the tz database is not to be trusted for wall clocks."""


class DateField(Field):
    """A calendar day, as it stands in Oracle."""

    def __init__(self, column: Column, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.out_of_range = column.out_of_range

    def facts(self) -> dict[str, pl.Expr]:
        return {**super().facts(), "first": self.value.min(), "last": self.value.max()}

    def rejections(self, facts: Facts) -> Iterator[tuple[str, pl.Expr]]:
        yield from super().rejections(facts)
        if self.out_of_range == "reject" and self._may_be_outside(facts):
            reason = "is outside 1700-01-01 to 4000-12-31, the dates that Salesforce holds"
            yield self.reason(reason), self._is_outside(facts)

    def changes(self, facts: Facts) -> dict[str, pl.Expr]:
        found = super().changes(facts)
        if self._may_be_outside(facts):
            found["out_of_range"] = self._is_outside(facts)
        return found

    def final(self, facts: Facts) -> pl.Expr:
        value = self._converted(facts)
        if self._may_be_outside(facts):
            value = pl.when(~self._is_outside(facts)).then(value)
        return value

    def uncut(self) -> pl.Expr:
        facts = {f"first {self.target}": EARLIEST, f"last {self.target}": datetime.max}
        local = self.value.dt.to_string(LOCAL)
        early = pl.when(self.value == EARLIEST).then(pl.lit(f"{EARLIEST.date()} or earlier"))
        return (
            early.when(self._is_outside(facts))
            .then(local)
            .otherwise(pl.coalesce(self._converted(facts).dt.to_string(self._format), local))
        )

    _format = DATE

    def _converted(self, facts: Facts) -> pl.Expr:
        return self.value.cast(pl.Date)

    def _may_be_outside(self, facts: Facts) -> bool:
        first, last = facts[f"first {self.target}"], facts[f"last {self.target}"]
        return first is not None and not (first >= _SURELY[0] and last <= _SURELY[1])

    def _is_outside(self, facts: Facts) -> pl.Expr:
        return (self.value < FIRST) | (self.value.cast(pl.Date) > LAST.date())


class DateTimeField(DateField):
    """A moment: the wall clock of its zone, as UTC."""

    _format = DATETIME

    def __init__(self, zone: Any, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.zone = zone
        self.expected = f"a time that the clocks of {zone} showed"

    def suspicious(self, nulls_before: int, nulls_after: int) -> bool:
        return nulls_after != nulls_before

    def unreadable(self, facts: Facts) -> pl.Expr:
        return self.value.is_not_null() & self._converted(facts).is_null()

    def _converted(self, facts: Facts) -> pl.Expr:
        """UTC. A time that the clocks skipped is NULL, of one that they showed twice the first."""
        if str(self.zone) == "UTC":
            return self.value
        first = facts[f"first {self.target}"]
        if first is None or first >= EPOCH:
            return self._in_zone(self.value)
        offset = pl.lit(EPOCH.replace(tzinfo=self.zone).utcoffset())
        early = pl.when(self.value < EPOCH).then(self.value - offset)
        since = pl.when(self.value >= EPOCH).then(self.value)
        return early.otherwise(self._in_zone(since))

    def _in_zone(self, value: pl.Expr) -> pl.Expr:
        local = value.dt.replace_time_zone(
            str(self.zone), ambiguous="earliest", non_existent="null"
        )
        return local.dt.convert_time_zone("UTC").dt.replace_time_zone(None)

    def _is_outside(self, facts: Facts) -> pl.Expr:
        moment = self._converted(facts)
        return (moment < FIRST) | (moment > LAST)
