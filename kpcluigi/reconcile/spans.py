"""The window in pieces that Salesforce can be asked for: days of the partition column."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from kpcluigi.markers import RangeTotals
from kpcluigi.oracle import Window
from kpcluigi.tables import Table

LEAST_ROWS, MOST_ROWS = 100_000, 300_000
"""In one range. A filter on a custom index is selective below a tenth of the first million records
and a twentieth of all others, and below 333,333 (Best Practices for Deployments with Large Data
Volumes, "Indexes"); ranges of less than the first would be many for nothing."""
MOST_RANGES, RANGES_PER_MILLION = 50, 5
"""What sums of many digits may cost."""
GROUP_ROWS = 16_000_000
"""Whose rows are compared at once: they make 64 files of each side."""
JOB_ROWS = 3_000_000
"""That one query job is asked for, about."""
SHORTEST = timedelta(minutes=1)
DOUBLE_BITS = 53

Moment = date | datetime


@dataclass(frozen=True)
class Span:
    """Part of the window, half-open, as a condition on a field of the org.

    Attributes:
        field: what the partition column is mapped to; empty: all records of the object.
        low, high: days where the field is a date, moments in UTC where it is a datetime.
    """

    field: str
    low: Moment | None = None
    high: Moment | None = None

    @property
    def where(self) -> str:
        """The end of a SOQL query; empty for all records."""
        if not self.field:
            return ""
        low, high = _literal(self.low), _literal(self.high)
        return f" WHERE {self.field} >= {low} AND {self.field} < {high}"

    def halves(self) -> tuple[Span, Span] | None:
        """None where it cannot be made smaller."""
        if self.low is None or self.high is None:
            return None
        if isinstance(self.low, datetime) and isinstance(self.high, datetime):
            seconds = int((self.high - self.low).total_seconds()) // 2
            if timedelta(seconds=seconds) < SHORTEST:
                return None
            middle: Moment = self.low + timedelta(seconds=seconds)
        else:
            days = (self.high - self.low).days // 2
            if not days:
                return None
            middle = self.low + timedelta(days=days)
        return Span(self.field, self.low, middle), Span(self.field, middle, self.high)


def _literal(moment: Moment | None) -> str:
    if isinstance(moment, datetime):
        return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    return str(moment)


@dataclass(frozen=True)
class Days:
    """Days of the window that are compared together.

    Attributes:
        end: the last day; it is included.
        totals: Oracle's, of each of them that has rows.
    """

    start: date
    end: date
    totals: tuple[RangeTotals, ...]

    @classmethod
    def fromiso(cls, start: str, end: str, totals: Sequence[RangeTotals]) -> Days:
        """From the texts of two days."""
        return cls(date.fromisoformat(start), date.fromisoformat(end), tuple(totals))

    @property
    def rows(self) -> int:
        return sum(day.rows for day in self.totals)

    def halves(self) -> tuple[Days, Days] | None:
        """Two runs of days with about as many rows; None of a single day."""
        if len(self.totals) < 2:
            return None
        seen, middle = 0, 1
        for i, day in enumerate(self.totals[:-1], 1):
            seen, middle = seen + day.rows, i
            if 2 * seen >= self.rows:
                break
        second = date.fromisoformat(self.totals[middle].day)
        return (
            Days(self.start, second - timedelta(days=1), self.totals[:middle]),
            Days(second, self.end, self.totals[middle:]),
        )

    def between(self, start: date, end: date) -> Days | None:
        """Those from one day to another; None where there are none."""
        first, last = max(start, self.start), min(end, self.end)
        if first > last:
            return None
        totals = tuple(t for t in self.totals if str(first) <= t.day <= str(last))
        return Days(first, last, totals)

    def __str__(self) -> str:
        return f"{self.start}" if self.start == self.end else f"{self.start}..{self.end}"


@dataclass(frozen=True)
class Range:
    """Days, and how the org is asked for them."""

    days: Days
    span: Span


@dataclass(frozen=True)
class Partition:
    """The field that the partition column is mapped to.

    Attributes:
        zone: of the column's wall clock; None where the field is a date, which has no zone.
    """

    field: str
    zone: ZoneInfo | None

    @classmethod
    def of(cls, table: Table) -> Partition | None:
        """None where the column is not mapped as date or datetime."""
        column = table.columns.get(table.partition_column)
        if column is None or column.type not in ("date", "datetime"):
            return None
        return cls(column.field, table.zone_of(column) if column.type == "datetime" else None)

    def span(self, start: date, end: date) -> Span:
        """Whole days, both included."""
        after = end + timedelta(days=1)
        if self.zone is None:
            return Span(self.field, start, after)
        return Span(self.field, *(self._midnight(day, self.zone) for day in (start, after)))

    def day_of(self, value: str) -> date | None:
        """The day of a value as it stands in a chunk file; None where it is none."""
        try:
            if self.zone is None or len(value) == 10:
                return date.fromisoformat(value[:10])
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        return (moment.astimezone(self.zone) if moment.tzinfo else moment).date()

    @staticmethod
    def _midnight(day: date, zone: ZoneInfo) -> datetime:
        return datetime.combine(day, time(), zone).astimezone(UTC)


def days_of(
    window: Window, ranges: Sequence[RangeTotals], *, units: dict[str, Decimal]
) -> list[Days]:
    """The whole window as runs of days, as long as their rows and sums allow.

    Args:
        units: for each column that is added up, the least difference that counts: 0.01. A sum comes
            from the org as a double, whose last digit has to be smaller. A column that would need
            too many ranges for it is left out.
    """
    most = _most_rows(sum(day.rows for day in ranges))
    enough = MOST_RANGES + RANGES_PER_MILLION * sum(day.rows for day in ranges) // 1_000_000
    sizes = {
        column: [abs(Decimal(day.columns[column].sum or 0)) for day in ranges] for column in units
    }
    limits = {column: unit * 2 ** (DOUBLE_BITS - 3) for column, unit in units.items()}
    told = [
        (sizes[column], limit)
        for column, limit in limits.items()
        if len(_cut(window, ranges, [(sizes[column], limit)], most)) <= enough
    ]
    return _cut(window, ranges, told, most)


def _cut(
    window: Window,
    ranges: Sequence[RangeTotals],
    limits: Sequence[tuple[list[Decimal], Decimal]],
    most: int,
) -> list[Days]:
    """Cut before a day with which there would be too many rows, or a sum reach its limit."""
    days = [date.fromisoformat(day.day) for day in ranges]
    # A day of a value's own clock may lie beside the window
    start, last = min([window.start, *days]), max([window.end, *days])
    found: list[Days] = []
    begin, rows, sums = 0, 0, [Decimal(0) for _ in limits]
    for i, day in enumerate(ranges):
        rows += day.rows
        sums = [held + sizes[i] for held, (sizes, _) in zip(sums, limits, strict=True)]
        full = any(held >= limit for held, (_, limit) in zip(sums, limits, strict=True))
        if i > begin and (rows > most or full):
            found.append(Days(start, days[i] - timedelta(days=1), tuple(ranges[begin:i])))
            start, begin, rows = days[i], i, day.rows
            sums = [sizes[i] for sizes, _ in limits]
    return [*found, Days(start, last, tuple(ranges[begin:]))]


def _most_rows(rows: int) -> int:
    """For an object with so many records."""
    selective = min(rows, 1_000_000) // 10 + max(rows - 1_000_000, 0) // 20
    return max(LEAST_ROWS, min(selective, MOST_ROWS))


def each_day(days: Days) -> Iterator[date]:
    """Its days, one by one."""
    for i in range((days.end - days.start).days + 1):
        yield days.start + timedelta(days=i)


def grouped(ranges: Sequence[Range]) -> Iterator[list[Range]]:
    """Ranges whose rows are compared at once."""
    yield from _runs(ranges, GROUP_ROWS, lambda last, following: True)


def spans_of_jobs(ranges: Sequence[Range]) -> Iterator[Span]:
    """What one query job each is asked for: ranges that follow one another, taken together."""
    for run in _runs(ranges, JOB_ROWS, lambda last, following: last.high == following.low):
        yield Span(run[0].span.field, run[0].span.low, run[-1].span.high)


def _runs(
    ranges: Sequence[Range], most: int, joins: Callable[[Span, Span], bool]
) -> Iterator[list[Range]]:
    run: list[Range] = []
    for one in ranges:
        rows = sum(held.days.rows for held in [*run, one])
        if run and (rows > most or not joins(run[-1].span, one.span)):
            yield run
            run = []
        run.append(one)
    if run:
        yield run


def distinct(ranges: Sequence[Range]) -> list[Range]:
    """In the order of their days, and none that lies within another."""
    found: list[Range] = []
    for one in sorted(ranges, key=lambda r: (r.days.start, -r.days.end.toordinal())):
        if not found or one.days.end > found[-1].days.end:
            found.append(one)
    return found
