"""Which rows of a table a run moves, as a condition and its binds.

A full run moves a `Window` of whole days. A later one moves an `Increment`: the rows of that window
and after it whose watermark moved since.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from kpcluigi.errors import ConfigurationError
from kpcluigi.tables import Table


@dataclass(frozen=True)
class Window:
    """Whole days of the partition column, both included, half-open in every statement."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise ConfigurationError(f"The window ends on {self.end}, before {self.start}")
        if self.end >= date(9999, 12, 31):
            raise ConfigurationError(f"The window ends on {self.end}; expected an earlier day")

    def condition(self, table: Table) -> str:
        """SQL with the binds of `binds`; `t` is the table's alias."""
        column = f"t.{table.partition_column}"
        return f"{column} >= :window_start AND {column} < :window_end"

    def binds(self, table: Table) -> dict[str, datetime]:
        """Midnight of the first day, and midnight after the last."""
        return {
            "window_start": datetime.combine(self.start, time()),
            "window_end": datetime.combine(self.end + timedelta(days=1), time()),
        }

    def ends_at(self, table: Table) -> datetime:
        """The moment that the window ends at, in UTC, read in the table's zone."""
        after = datetime.combine(self.end + timedelta(days=1), time())
        return after.replace(tzinfo=table.clock_of(table.partition_column)).astimezone(UTC)

    def __str__(self) -> str:
        return f"{self.start}..{self.end}"


DEFAULT_WINDOW = Window(date(2022, 1, 1), date(2024, 12, 31))
"""What is moved where no dates are given."""


@dataclass(frozen=True)
class Increment:
    """Rows since `start` whose watermark lies in [since, until).

    Attributes:
        start: first day of the partition column, as in the full run.
        since: UTC; None where the table has no watermark: all rows since `start`.
        until: UTC.
    """

    start: date
    since: datetime | None
    until: datetime

    def condition(self, table: Table) -> str:
        """SQL with the binds of `binds`; `t` is the table's alias."""
        column = f"t.{table.partition_column}"
        if self.since is None:
            return f"{column} >= :window_start AND {column} < :until"
        moved = watermark_sql(table)
        return f"{column} >= :window_start AND {moved} >= :since AND {moved} < :until"

    def binds(self, table: Table) -> dict[str, datetime]:
        """Whole seconds of the watermark's own wall clock, as DATEs have them."""
        watched = table.partition_column if self.since is None else table.watermark[0]
        clock = table.clock_of(watched)
        binds = {
            "window_start": datetime.combine(self.start, time()),
            "until": _wall_clock(self.until, clock),
        }
        if self.since is not None:
            binds["since"] = _wall_clock(self.since, clock)
        return binds

    def ends_at(self, table: Table) -> datetime:
        """The moment up to which changes are carried, in UTC."""
        return self.until

    def __str__(self) -> str:
        since = f"{self.since:%Y-%m-%dT%H:%M:%SZ}" if self.since else f"{self.start}"
        return f"changed {since}..{self.until:%Y-%m-%dT%H:%M:%SZ}"


AnyWindow = Window | Increment


def watermark_sql(table: Table) -> str:
    """When a row was last changed: the first of the watermark columns that is not NULL."""
    *others, value = [f"t.{column}" for column in table.watermark]
    for column in reversed(others):
        value = f"NVL({column}, {value})"
    return value


def _wall_clock(moment: datetime, clock: ZoneInfo) -> datetime:
    local = moment.astimezone(clock)
    return local.replace(tzinfo=None, microsecond=0)
