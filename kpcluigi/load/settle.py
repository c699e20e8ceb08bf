"""What becomes of the rows of a job that has ended: settled for good, dead, or sent again.

A row is sent again when its error is passing, when Salesforce did not come to it, when no result
names it, or, without its parent, where the mapping says so. All else is final. The rows that are
sent again, and the dead ones, are taken from the file that was sent, never from what Salesforce
echoes: they are those very bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl

from kpcluigi.chunkfile import JobBody
from kpcluigi.csvframes import frames_of, header_line, to_lines
from kpcluigi.fields.base import NULL
from kpcluigi.files import gzip_writer, replacing
from kpcluigi.load.results import CREATED, JobResults, KeySet, KeySum, Survey, places_of
from kpcluigi.load.row_errors import (
    ERROR,
    UNPROCESSED,
    ErrorCounts,
    lookups_by,
    missing_parent,
    missing_parent_field,
)
from kpcluigi.markers import RowErrors
from kpcluigi.tables import Table

DEAD_AT_ONCE = 200_000
"""Dead rows whose errors are held at the same time; more take another pass over the file."""

_PARENT = "missing parent"
_PARENT_FIELD = "missing parent's field"


@dataclass(frozen=True)
class RowsFile:
    """Rows that were written as a CSV: how many, and the bytes behind its header."""

    rows: int
    start: int
    end: int


@dataclass(frozen=True)
class Places:
    """Where the rows of one job go that it did not bring to their end."""

    again: Path
    dead: Path
    blanked: Path


@dataclass(frozen=True)
class Patience:
    """Whether rows with a passing error, and rows without their parent, may be sent once more."""

    passing: bool
    orphans: bool


@dataclass(frozen=True)
class Settled:
    """Every row of a job: rows sent = created + updated + failed + unprocessed + again."""

    created: int
    updated: int
    failed: int = 0
    unprocessed: int = 0
    errors: tuple[RowErrors, ...] = ()
    again: RowsFile | None = None

    @property
    def rows(self) -> int:
        again = self.again.rows if self.again else 0
        return self.created + self.updated + self.failed + self.unprocessed + again


def sent_keys(body: JobBody, external_id: str) -> KeySum:
    """How many rows a job's CSV has, and which."""
    found = KeySum()
    for frame in frames_of(body, [external_id]):
        found = found.plus(frame[external_id])
    return found


def settle(
    table: Table,
    body: JobBody,
    sent: KeySum,
    results: JobResults,
    survey: Survey,
    places: Places,
    patience: Patience,
) -> Settled:
    """Sort the rows of a job by their outcome, and write those that did not arrive.

    Args:
        body: what was sent; `sent`: its rows.
        results: fetched; `survey`: counted.
        places: where the rows go that are sent again, that are dead, and that lose their parent.
    """
    left = survey.failed + survey.passing + survey.orphans + survey.unprocessed
    if not left and survey.named == sent:
        return Settled(created=survey.created, updated=survey.updated)
    return _Sorting(table, body, results, places, patience).run()


class _Sorting:
    """One pass over each result set, then over the file that was sent."""

    def __init__(
        self, table: Table, body: JobBody, results: JobResults, places: Places, patience: Patience
    ) -> None:
        self.table = table
        self.key = table.external_id
        self.body = body
        self.results = results
        self.places = places
        self.patience = patience
        self.retry, self.orphans = self._find_retried()

    def run(self) -> Settled:
        created = updated = 0
        errors = ErrorCounts()
        settled = KeySet()
        for frame in self.results.successful():
            final = frame.filter(~self.retry.has(frame[self.key]))
            made = int((final[CREATED] == "true").sum())
            created += made
            updated += final.height - made
            settled.add(final[self.key])
        failed = unprocessed = 0
        for frame in self._dead():
            unheard = int((frame[ERROR] == UNPROCESSED).sum())
            unprocessed += unheard
            failed += frame.height - unheard
            errors.add(frame, self.key)
            settled.add(frame[self.key])
        again, unnamed = self._write_again(settled)
        unprocessed += sum(frame.height for frame in unnamed)
        for frame in unnamed:
            errors.add(frame.select(ERROR, self.key), self.key)
        if failed or unprocessed:
            write_rows(self.places.dead, [ERROR, *self.table.fields], self._dead_rows(unnamed))
        return Settled(
            created=created,
            updated=updated,
            failed=failed,
            unprocessed=unprocessed,
            errors=tuple(errors.ordered()),
            again=again if again.rows else None,
        )

    def _find_retried(self) -> tuple[KeySet, _Errors | None]:
        """The external ids that are sent again, and the errors of those without their parent."""
        retried = KeySet()
        hashes: list[pl.Series] = []
        texts: list[pl.Series] = []
        for frame in self.results.failed():
            if self.patience.passing:
                retried.add(frame.filter(self.results.passing)[self.key])
            if self.patience.orphans:
                found = frame.filter(self.results.orphaned)
                retried.add(found[self.key])
                hashes.append(found[self.key].hash())
                texts.append(found[ERROR])
        if self.patience.passing:
            for keys in self.results.unprocessed_keys():
                retried.add(keys)
        return retried, _Errors(hashes, texts) if any(map(len, hashes)) else None

    def _dead(self) -> Iterator[pl.DataFrame]:
        """`sf__Error` and the external id of the rows that are given up."""
        for frame in self.results.failed():
            yield frame.filter(~self.retry.has(frame[self.key]))
        for keys in self.results.unprocessed_keys():
            final = keys.filter(~self.retry.has(keys))
            yield final.to_frame().select(pl.lit(UNPROCESSED).alias(ERROR), self.key)

    def _write_again(self, settled: KeySet) -> tuple[RowsFile, list[pl.DataFrame]]:
        """Write the rows that are sent again; return those that no result names, if given up."""
        unnamed: list[pl.DataFrame] = []
        columns = [ERROR, *self.table.fields]
        with ExitStack() as stack:
            again = stack.enter_context(writing_rows(self.places.again, self.table.fields))
            lost: RowsWriter | None = None
            for frame in frames_of(self.body):
                retried = self.retry.has(frame[self.key])
                missing = ~(retried | settled.has(frame[self.key]))
                if self.patience.passing:
                    retried = retried | missing
                elif missing.any():
                    unnamed.append(
                        frame.filter(missing).with_columns(**{ERROR: pl.lit(UNPROCESSED)})
                    )
                if not retried.any():
                    continue
                chosen, blanked = self._without_parents(frame.filter(retried))
                again.add(chosen)
                if blanked.height:
                    if lost is None:
                        lost = stack.enter_context(writing_rows(self.places.blanked, columns))
                    lost.add(blanked)
        if not again.rows:
            self.places.again.unlink()
        return again.written, unnamed

    def _without_parents(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The rows with the lookups emptied that found no parent; and those rows as they were."""
        if self.orphans is None:
            return frame, frame.clear()
        orphaned, texts = self.orphans.of(frame[self.key])
        error = pl.col(ERROR)
        joined = frame.with_columns(texts).with_columns(
            missing_parent(error).alias(_PARENT),
            missing_parent_field(error).alias(_PARENT_FIELD),
        )
        changes = []
        for field, lookups in lookups_by(self.table).items():
            lacking = pl.col(_PARENT_FIELD) == field
            # Two lookups may find parents by fields of one name: the value tells which it was,
            # unless Salesforce shows it otherwise than it was sent
            exact = pl.any_horizontal(pl.col(name) == pl.col(_PARENT) for name in lookups)
            for name in lookups:
                here = lacking & ((pl.col(name) == pl.col(_PARENT)) | ~exact.fill_null(False))
                changes.append(pl.when(here).then(pl.lit(NULL)).otherwise(pl.col(name)).alias(name))
        changed = joined.with_columns(changes).select(frame.columns)
        return changed, joined.filter(orphaned).select(ERROR, *frame.columns)

    def _dead_rows(self, unnamed: list[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """The given-up rows as they were sent, each with its error."""
        columns = [ERROR, *self.table.fields]
        for errors in _held(self._dead(), self.key):
            for frame in frames_of(self.body):
                dead, texts = errors.of(frame[self.key])
                if dead.any():
                    yield frame.with_columns(texts).filter(dead).select(columns)
            del errors  # before the next are gathered
        for frame in unnamed:
            yield frame.select(columns)


class _Errors:
    """Texts by the hash of their row's external id; of the ids only 8 bytes are held."""

    def __init__(self, hashes: Sequence[pl.Series], texts: Sequence[pl.Series]) -> None:
        found = pl.concat(hashes).to_numpy()
        self._order = np.argsort(found)
        self._hashes = found[self._order]
        self._texts = pl.concat(texts, rechunk=True)

    def of(self, keys: pl.Series) -> tuple[pl.Series, pl.Series]:
        """For each key, whether it has a text, and that text or null."""
        places, known = places_of(keys, self._hashes)
        has_text = pl.Series(known)
        index = pl.select(pl.when(has_text).then(pl.Series(self._order[places]))).to_series()
        return has_text, self._texts.gather(index)


def _held(frames: Iterator[pl.DataFrame], key: str) -> Iterator[_Errors]:
    """`sf__Error` of all rows, about `DEAD_AT_ONCE` at a time."""
    hashes: list[pl.Series] = []
    texts: list[pl.Series] = []
    rows = 0
    for frame in frames:
        hashes.append(frame[key].hash())
        texts.append(frame[ERROR])
        rows += frame.height
        if rows >= DEAD_AT_ONCE:
            errors = [_Errors(hashes, texts)]
            hashes, texts, rows = [], [], 0
            yield errors.pop()  # held by the caller alone
    if rows:
        yield _Errors(hashes, texts)


class RowsWriter:
    """Takes frames of some columns. See `writing_rows`."""

    def __init__(self, packed: BinaryIO, columns: Sequence[str]) -> None:
        self._packed = packed
        self._columns = columns
        header = header_line(columns)
        packed.write(header)
        self._start = self._end = len(header)
        self.rows = 0

    def add(self, frame: pl.DataFrame) -> None:
        data = to_lines(frame.select(self._columns))
        self._packed.write(data)
        self.rows += frame.height
        self._end += len(data)

    @property
    def written(self) -> RowsFile:
        return RowsFile(rows=self.rows, start=self._start, end=self._end)


@contextmanager
def writing_rows(path: Path, columns: Sequence[str]) -> Iterator[RowsWriter]:
    """A gzip CSV of these columns that appears whole, when the block ends well, or not at all."""
    with replacing(path) as file, gzip_writer(file) as packed:
        yield RowsWriter(packed, columns)


def write_rows(path: Path, columns: Sequence[str], frames: Iterable[pl.DataFrame]) -> RowsFile:
    """Write frames of these columns as a gzip CSV that appears whole or not at all."""
    with writing_rows(path, columns) as writer:
        for frame in frames:
            writer.add(frame)
    return writer.written
