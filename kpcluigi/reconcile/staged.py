"""The rows of a table as they were sent: its chunk files, and what was sent again since."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl

from kpcluigi.csvframes import read_frames
from kpcluigi.errors import StagingError
from kpcluigi.fields import NULL
from kpcluigi.load import Standing
from kpcluigi.load.retry import REJECTED
from kpcluigi.load.row_errors import ERROR, lost_lookups
from kpcluigi.markers import JobOutcome, LoadResult, RepairResult, RetryResult, RetrySource
from kpcluigi.reconcile.alike import Alike, as_key
from kpcluigi.reconcile.deal import Deal
from kpcluigi.reconcile.measures import SECONDS, Aggregates, Measure, Value, merged
from kpcluigi.reconcile.spans import Partition, Range
from kpcluigi.staging import TableFolder, read_marker
from kpcluigi.tables import Table

SENT = " sent"
"""Column: when all of the file was in the org, in UTC."""
CORRECTED = " corrected"
"""Column: whether somebody corrected the row before it was sent again."""
CLOCKS = timedelta(seconds=2)
"""How far two moments have to lie apart to tell which was first: one is the org's, to the second,
and how far the clocks differ is known to the second."""
LOST = " lost"
"""Column: the lookups that the row was sent without, each between bars."""
INSIDE = " inside"
"""Column: whether the row, as it was sent again, lies in the ranges that are compared."""
_MOST_DIGITS, _MOST_PLACES = 38, 18
"""Of a number; an org keeps 18 digits."""
_PLACE, _ROWS = "place", "rows"


class Sent:
    """What was sent of a table.

    Args:
        file_of: where the file of a chunk lies; None where it is gone.
        partition: the field that tells which rows lie in a range; None: all lie in the only one.
    """

    def __init__(
        self,
        folder: TableFolder,
        table: Table,
        loads: Standing,
        file_of: Callable[[int], Path | None],
        *,
        partition: Partition | None,
    ) -> None:
        self._partition = partition
        self.folder = folder
        self._table = table
        self._loads = loads
        self._file_of = file_of
        self._reach: dict[int, tuple[str, str]] = {}
        """By chunk whose file was read: the least and the greatest value of the partition field."""

    def missing_files(self) -> list[int]:
        """Chunks whose rows can no longer be looked up."""
        return [load.n for load in self._loads.finished if self._file_of(load.n) is None]

    def first_sent(self) -> datetime:
        """When the first job was about to be created."""
        jobs = [job for load in self._loads.finished for job in load.jobs]
        begun = [job.sent_at for job in jobs if job.sent_at is not None]
        return min(begun, default=datetime.min.replace(year=2000, tzinfo=UTC))

    def last_sent(self) -> datetime:
        """When the last row was in the org."""
        ends = [sent_at(load.jobs, load.written_at) for load in self._loads.finished]
        return max([*ends, *(when for _, when, _ in self._later())], default=datetime.now(UTC))

    def verify(self) -> None:
        """Raises `StagingError` unless each chunk file is, byte for byte, the one that was sent."""
        for load in self._loads.finished:
            path = self._path(load)
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != load.chunk_sha256:
                raise StagingError(
                    f"{path} is not the file that was sent (sha256 {found[:12]}…, sent was "
                    f"{load.chunk_sha256[:12]}…): its rows cannot be compared; restore it from a "
                    f"backup"
                )

    def deal(self, ranges: Sequence[Range], deal: Deal, key: Alike, totals: StagedTotals) -> None:
        """Deal out the rows of these ranges, and those that were sent again, died or lost a parent.

        Args:
            totals: receives the rows of the chunk files.
        """
        fields = self._table.fields
        within = Within(self._partition, ranges)
        as_staged = as_key(key.of_staged())
        for load in self._loads.finished:
            if load.n in self._reach and not within.reaches(*self._reach[load.n]):
                continue
            sent = _moment(sent_at(load.jobs, load.written_at)).alias(SENT)
            reach: list[str] = []
            for frame in read_frames(self._path(load), fields):
                reach += within.reach_of(frame)
                rows, places = within.of(frame)
                if rows.height:
                    totals.add(rows, places, ranges)
                    deal.add("staged", rows.with_columns(as_staged, sent))
            self._reach[load.n] = min(reach, default=""), max(reach, default="")
        for path, when, corrected in self._later():
            known = _moment(when).alias(SENT), pl.lit(corrected).alias(CORRECTED)
            for given in read_frames(path, fields):
                frame = given.with_columns(self._in_utc(given)) if corrected else given
                inside = within.places(frame).is_not_null().alias(INSIDE)
                deal.add("later", frame.with_columns(as_staged, *known, inside))
        for path in self.folder.settled_dead_letters:
            side = "refused" if path.name.endswith(REJECTED) else "dead"
            for frame in read_frames(path, fields):
                rows, _ = within.of(frame)
                deal.add(side, rows.select(as_staged))
        lost = lost_lookups(self._table, pl.col(ERROR))
        named = [pl.when(flag).then(pl.lit(f"|{name}|")) for name, flag in lost.items()]
        for path in self.folder.blanked_files:
            for frame in read_frames(path, [ERROR, *fields]):
                told = pl.concat_str(named, ignore_nulls=True).alias(LOST)
                deal.add("blanked", frame.select(as_staged, told))

    def _path(self, load: LoadResult) -> Path:
        path = self._file_of(load.n)
        if path is None:
            raise StagingError(f"the file of chunk {load.n} is gone: it was deleted once loaded")
        return path

    def _in_utc(self, frame: pl.DataFrame) -> list[pl.Series]:
        """The moments of corrected rows, which somebody may have written with an offset."""
        names = [c.field for c in self._table.columns.values() if c.type == "datetime"]
        return [pl.Series(name, map(in_utc, frame[name]), dtype=pl.String) for name in names]

    def _later(self) -> Iterator[tuple[Path, datetime, bool]]:
        """Files of rows that were sent again, when, and whether somebody corrected them."""
        found: list[tuple[Path, datetime, bool]] = []
        for attempt in self.folder.attempts:
            source = read_marker(self.folder.retry_source(attempt), RetrySource)
            result = read_marker(self.folder.retry_result(attempt), RetryResult)
            if source is not None and result is not None:
                when = sent_at(result.jobs, result.written_at)
                found.append((self.folder.retry_file(attempt), when, bool(source.corrected)))
        for attempt in self.folder.repaired:
            repaired = read_marker(self.folder.repair_result(attempt), RepairResult)
            if repaired is not None:
                when = sent_at(repaired.jobs, repaired.written_at)
                found.append((self.folder.repair_file(attempt), when, False))
        yield from sorted(found, key=lambda one: one[1])


def sent_at(jobs: Sequence[JobOutcome], written_at: datetime) -> datetime:
    """When the last of the jobs was seen to have ended."""
    ended = [job.ended_at for job in jobs if job.ended_at is not None]
    return max(ended, default=written_at)


def in_utc(text: str | None) -> str | None:
    """A moment with an offset as chunk files have it; anything else as it is."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return text
    if moment.tzinfo is None:
        return text
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def _moment(when: datetime) -> pl.Expr:
    return pl.lit(when.replace(tzinfo=None)).cast(pl.Datetime("us"))


class Within:
    """Finds the rows of some ranges by the field of the partition column."""

    def __init__(self, partition: Partition | None, ranges: Sequence[Range]) -> None:
        self._partition = partition
        spans = [one.span for one in ranges]
        self._size = 10 if partition is not None and partition.zone is None else SECONDS
        self._lows = pl.Series([_text(span.low) for span in spans], dtype=pl.String)
        self._highs = pl.Series([_text(span.high) for span in spans], dtype=pl.String)

    def of(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
        """The rows that lie in a range, and the place of that range among them."""
        places = self.places(frame)
        inside = places.is_not_null()
        return (frame, places) if inside.all() else (frame.filter(inside), places.drop_nulls())

    def places(self, frame: pl.DataFrame) -> pl.Series:
        """Of the range that each row lies in; null where it lies in none."""
        if self._partition is None:
            return pl.repeat(0, frame.height, dtype=pl.Int64, eager=True)
        moments = self._moments(frame)
        places = self._lows.search_sorted(moments, side="right").cast(pl.Int64) - 1
        inside = (places >= 0) & (moments < self._highs.gather(places.clip(0)))
        return places.set(~inside, None)

    def reach_of(self, frame: pl.DataFrame) -> list[str]:
        """The least and the greatest value of the partition field; none without such a field."""
        if self._partition is None or not frame.height:
            return []
        moments = self._moments(frame)
        return [str(moments.min()), str(moments.max())]

    def reaches(self, least: str, greatest: str) -> bool:
        """Whether rows between these may lie in a range."""
        if self._partition is None:
            return True
        return any(
            low <= greatest and least < high
            for low, high in zip(self._lows, self._highs, strict=True)
        )

    def _moments(self, frame: pl.DataFrame) -> pl.Series:
        assert self._partition is not None
        return frame[self._partition.field].str.slice(0, self._size).fill_null("")


def _text(moment: object) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}" if isinstance(moment, datetime) else f"{moment}"


class StagedTotals:
    """What the chunk files hold of each range, by the same measures as the org is asked for."""

    def __init__(self, table: Table, measures: Sequence[Measure], ranges: Sequence[Range]) -> None:
        self._measures = [m for m in measures if m.what != "avg"]
        self._of = {m: m.target(table) for m in self._measures}
        self._typed = {target: _typed(m, target) for m, target in self._of.items()}
        nothing = Aggregates(0, dict.fromkeys(self._measures))
        self._found = {str(one.days): nothing for one in ranges}

    def add(self, rows: pl.DataFrame, places: pl.Series, ranges: Sequence[Range]) -> None:
        """Add rows, each with the place of its range among these."""
        values = rows.select(self._typed.values())
        grouped = values.group_by(places.alias(_PLACE)).agg(
            pl.len().alias(_ROWS),
            *(_added(m, self._of[m]).alias(f"{i}") for i, m in enumerate(self._measures)),
        )
        for row in grouped.iter_rows(named=True):
            found = {m: _value(m, row[f"{i}"]) for i, m in enumerate(self._measures)}
            days = str(ranges[row[_PLACE]].days)
            # Exact, however many are added up: they are no further answers of the org
            added = Aggregates(row[_ROWS], found, parts=0)
            self._found[days] = merged([self._found[days], added], self._measures)

    def of(self, one: Range) -> Aggregates:
        """Of one range."""
        return self._found[str(one.days)]


def _typed(measure: Measure, target: str) -> pl.Expr:
    text = pl.col(target)
    there: pl.Expr = pl.when((text != NULL) & (text != "")).then(text)
    if measure.kind == "number":
        places = _MOST_PLACES if measure.scale is None else measure.scale
        there = there.cast(pl.Decimal(_MOST_DIGITS, places), strict=False)
    return there.alias(target)


def _added(measure: Measure, target: str) -> pl.Expr:
    match measure.what:
        case "sum":
            return pl.col(target).sum()
        case "min":
            return pl.col(target).min()
        case "max":
            return pl.col(target).max()
        case _:
            return pl.col(target).count()


def _value(measure: Measure, found: object) -> Value | None:
    if found is None or isinstance(found, int | Decimal):
        return found
    return measure.of_staged(str(found))
