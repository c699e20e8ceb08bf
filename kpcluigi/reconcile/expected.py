"""What the org should hold of a range: Oracle's totals, less what is known to be different there.

Known are: rows in the dead letter, rows that somebody corrected before they were sent, and rows
that were sent without their parent. All of them lie in files, so that what they take from a total
is exact, but for an extreme: when such a row holds it, the next one is not known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal, localcontext
from pathlib import Path

import polars as pl

from kpcluigi.csvframes import read_frames
from kpcluigi.fields import NULL
from kpcluigi.load.results import KeySet
from kpcluigi.load.retry import REJECTED
from kpcluigi.load.row_errors import ERROR, lost_lookups
from kpcluigi.markers import RangeTotals, RetrySource
from kpcluigi.reconcile.measures import DIGITS, Aggregates, Measure, Value, mean, merged
from kpcluigi.reconcile.spans import Days, Partition, each_day
from kpcluigi.reconcile.staged import in_utc
from kpcluigi.staging import TableFolder, read_marker
from kpcluigi.tables import Table

REFUSED = "REJECTED:"
"""How the reasons of rows that were refused at their extraction begin."""


@dataclass
class Shift:
    """What the known rows of a day take from Oracle's totals (below 0), or add to them."""

    rows: int = 0
    counts: Counter[Measure] = field(default_factory=Counter)
    sums: dict[Measure, Decimal] = field(default_factory=dict)
    gone: dict[Measure, set[Value]] = field(default_factory=dict)
    come: dict[Measure, set[Value]] = field(default_factory=dict)
    unsure: set[Measure] = field(default_factory=set)
    """Extremes that a date held which no org holds."""
    orphans: Counter[Measure] = field(default_factory=Counter)
    """By lookup: rows that may have been sent without that parent."""


@dataclass
class Expected:
    """What the org should hold of a range.

    Attributes:
        unsure: extremes that a known row held, so that what is left is not known.
        orphans: by lookup, how many fewer parents there may be.
    """

    aggregates: Aggregates
    unsure: set[Measure]
    orphans: Mapping[Measure, int]


class KnownRows:
    """The known rows of a table, day by day."""

    def __init__(self, table: Table, measures: Sequence[Measure]) -> None:
        self._table = table
        self._measures = measures
        self._partition = Partition.of(table)
        self._targets = {m: m.target(table) for m in measures}
        self._days: dict[date | None, Shift] = {}
        self._orphans = KeySet()

    @classmethod
    def of(cls, folder: TableFolder, table: Table, measures: Sequence[Measure]) -> KnownRows:
        """Read the dead letters, the corrected rows, and the rows without their parents."""
        known = cls(table, measures)
        for path in folder.settled_dead_letters:
            known.add(path, -1)
        for attempt in folder.attempts:
            source = read_marker(folder.retry_source(attempt), RetrySource)
            if source is not None and source.corrected:
                known.add(folder.retry_before(attempt), -1)
                known.add(folder.retry_file(attempt), 1)
        for path in folder.blanked_files:
            known.add_orphans(path)
        return known

    @classmethod
    def rejected(cls, folder: TableFolder, table: Table, measures: Sequence[Measure]) -> KnownRows:
        """Only the rows that were refused at their extraction: chunk files lack no others."""
        known = cls(table, measures)
        for path in folder.dead_letters:
            if path.name.endswith(REJECTED):
                known.add(path, -1)
        for attempt in folder.attempts:
            known.add(folder.retry_before(attempt), -1, of=REFUSED)
        return known

    def add(self, path: Path, sign: int, *, of: str | None = None) -> None:
        """The rows of a file are not in the org (-1), or are there though not in Oracle (1).

        Args:
            of: only rows whose `sf__Error` begins so.
        """
        self._add(self._frames(path, of), sign)

    def add_found(self, records: pl.DataFrame) -> None:
        """Records of dead-lettered rows, which the org has of an earlier load."""
        self._add(iter([records]), 1)

    def _add(self, frames: Iterator[pl.DataFrame], sign: int) -> None:
        for day, rows in self._by_day(frames):
            shift = self._days.setdefault(day, Shift())
            shift.rows += sign * rows.height
            for measure in self._measures:
                texts = rows[self._targets[measure]].to_list()
                if measure.kind == "datetime":
                    texts = [in_utc(text) for text in texts]
                there = [text for text in texts if text not in (None, "", NULL)]
                if measure.what in ("non_null", "parents"):
                    shift.counts[measure] += sign * len(there)
                    continue
                if any(measure.is_outside(text) for text in there):
                    shift.unsure.add(measure)
                values = [v for text in there if (v := measure.of_staged(text)) is not None]
                if measure.what == "sum":
                    with localcontext(prec=DIGITS):
                        added = sum((_rounded(measure, v) for v in values), Decimal())
                        shift.sums[measure] = shift.sums.get(measure, Decimal()) + sign * added
                elif measure.what in ("min", "max"):
                    (shift.gone if sign < 0 else shift.come).setdefault(measure, set()).update(
                        values
                    )

    def add_orphans(self, path: Path) -> None:
        """The rows of a file were sent without one of their parents, or more."""
        key = self._table.external_id
        lost = lost_lookups(self._table, pl.col(ERROR))
        for day, found in self._by_day(self._frames(path, "")):
            rows = found.filter(~self._orphans.has(found[key]))
            self._orphans.add(rows[key])
            shift = self._days.setdefault(day, Shift())
            for measure in self._measures:
                if measure.what == "parents":
                    name = self._targets[measure]
                    there = pl.col(name).is_not_null() & ~pl.col(name).is_in(["", NULL])
                    shift.orphans[measure] += rows.filter(there & lost[name]).height

    def of_days(self, days: Days) -> list[Shift]:
        """What is known of these days; of rows without a day, where all days are meant."""
        if self._partition is None:
            return list(self._days.values())
        return [shift for day in each_day(days) if (shift := self._days.get(day))]

    @property
    def columns(self) -> list[str]:
        """What is read of each row."""
        partition = [self._partition.field] if self._partition else []
        return list(dict.fromkeys((self._table.external_id, *self._targets.values(), *partition)))

    def _frames(self, path: Path, of: str | None) -> Iterator[pl.DataFrame]:
        """The rows of a file; with their errors where these begin with `of`."""
        if not path.exists():
            return
        for frame in read_frames(path, self.columns if of is None else [*self.columns, ERROR]):
            yield frame.filter(pl.col(ERROR).str.starts_with(of)) if of else frame

    def _by_day(self, frames: Iterator[pl.DataFrame]) -> Iterator[tuple[date | None, pl.DataFrame]]:
        for frame in frames:
            if self._partition is None:
                yield None, frame
                continue
            texts = frame[self._partition.field]
            days = [self._partition.day_of(text or "") for text in texts]
            for day in set(days):
                yield day, frame.filter(pl.Series([d == day for d in days], dtype=pl.Boolean))


def expected(
    days: Days,
    measures: Sequence[Measure],
    known: KnownRows,
) -> Expected:
    """What the org should hold of these days."""
    found = merged((of_oracle(day, measures) for day in days.totals), measures)
    unsure: set[Measure] = set()
    orphans: Counter[Measure] = Counter()
    for shift in known.of_days(days):
        found.rows += shift.rows
        unsure |= shift.unsure
        orphans += shift.orphans
        for measure, count in shift.counts.items():
            found.values[measure] = int(found.values.get(measure) or 0) + count
        for measure, change in shift.sums.items():
            with localcontext(prec=DIGITS):
                found.values[measure] = Decimal(str(found.values.get(measure) or 0)) + change
        for measure, gone in shift.gone.items():
            if found.values.get(measure) in gone:
                unsure.add(measure)
        for measure, come in shift.come.items():
            extreme = found.values.get(measure)
            found.values[measure] = _extreme(measure, come if extreme is None else {*come, extreme})
    for measure in measures:
        if measure.what == "sum" and not _count(found, measure):
            found.values[measure] = None
        if measure.what == "avg":
            found.values[measure] = mean(found, measure)
    return Expected(found, unsure, orphans)


def of_oracle(day: RangeTotals, measures: Sequence[Measure]) -> Aggregates:
    """One day as `SourceTotals` has it."""
    values: dict[Measure, Value | None] = {}
    for measure in measures:
        totals = day.columns[measure.column]
        raw: int | str | None = getattr(totals, measure.what)
        if measure.what == "sum" and not totals.non_null:
            raw = None
        values[measure] = measure.of_oracle(raw) if isinstance(raw, str) else raw
    return Aggregates(day.rows, values)


def _rounded(measure: Measure, value: Value) -> Decimal:
    """As Oracle rounds each value before it adds them up."""
    return replace(measure, what="min").as_number(str(value))


def _extreme(measure: Measure, values: set[Value]) -> Value:
    found: Value = min(values) if measure.what == "min" else max(values)
    return found


def _count(of: Aggregates, measure: Measure) -> int:
    for other, value in of.values.items():
        if other.column == measure.column and other.what == "non_null":
            return int(value or 0)
    return 0
