"""The files that name what differs: `differences/` in a table's folder.

| file                 | holds                                                                   |
|----------------------|-------------------------------------------------------------------------|
| fields.csv.gz        | a line per field that differs, and per row that one side lacks          |
| send_again.csv.gz    | modified and missing rows, as they were sent: what `Repair` sends       |
| changed_since.csv.gz | rows that were changed in the org after they were loaded, as sent       |
| extra.csv.gz         | records of the org that Oracle does not have                            |
| compared.json        | the days that were compared; they are again, until nothing differs      |
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

import polars as pl

from kpcluigi.chunkfile import ChunkWriter, writing
from kpcluigi.csvframes import header_line
from kpcluigi.fields import NULL
from kpcluigi.markers import ComparedBefore, Difference, DifferenceKind
from kpcluigi.reconcile.alike import Alike, fields_alike
from kpcluigi.reconcile.ledger import NAMED
from kpcluigi.staging import write_marker
from kpcluigi.tables import Table

FIELDS = ("kind", "key", "field", "expected", "found", "changed_at")
CHANGED_AT = "SystemModstamp"
RECORD_ID = "Id"

KIND = " kind"
DIFFERS = "differs "
"""Before the name of a field: whether it differs."""
ORG = "org "
"""Before the name of a column: as the org has it."""

KINDS: tuple[DifferenceKind, ...] = ("missing", "modified", "changed_since", "trimmed", "extra")


class Named:
    """Takes classified rows; once closed, the files take the place of all earlier ones.

    Args:
        folder: where they are found in the end.
        new: where they are made; in the same folder.

    Attributes:
        first: the first differences, for the marker.
        rows: that were named.
    """

    def __init__(self, folder: Path, new: Path, table: Table, key: Alike, stack: ExitStack) -> None:
        self.first: list[Difference] = []
        self.rows = 0
        self._folder = folder
        self._new = new
        self._table = table
        self._key = key
        self._stack = stack
        self._writers: dict[str, ChunkWriter] = {}
        self._columns = [field.name for field in fields_alike(table)]
        shutil.rmtree(self._new, ignore_errors=True)

    def add(self, classified: pl.DataFrame) -> None:
        """Name the rows of these that differ."""
        for kind in KINDS:
            rows = classified.filter(pl.col(KIND) == kind)
            if not rows.height:
                continue
            self.rows += rows.height
            if kind == "extra":
                columns = [RECORD_ID, self._key.name, CHANGED_AT]
                chosen = rows.select(pl.col(ORG + name).alias(name) for name in columns)
                self._write("extra", tuple(columns), chosen)
            elif kind != "trimmed":
                file = "changed_since" if kind == "changed_since" else "send_again"
                whole = rows.select(pl.col(self._table.fields).fill_null(""))
                self._write(file, self._table.fields, whole)
            self._lines(self._told(kind, rows))

    def twins(self, rows: pl.DataFrame) -> None:
        """Rows that share their external id with a later one: the org can hold only one."""
        if rows.height:
            self.rows += rows.height
            told = {
                "kind": pl.lit("duplicate"),
                "key": pl.col(self._key.name),
                "field": pl.lit(self._key.name),
                "expected": pl.lit("a record of its own"),
                "found": pl.lit("another row of Oracle has the same external id"),
                "changed_at": pl.lit(None, pl.String),
            }
            self._lines(rows.select(**told))

    def close(self) -> None:
        """End the files."""
        for writer in self._writers.values():
            writer.close()

    def publish(self, ranges: list[str]) -> None:
        """Put the files, which are whole now, in the place of those before.

        Args:
            ranges: the days that were compared; none: all.
        """
        if self._writers:
            before = ComparedBefore(table=self._table.name, ranges=ranges)
            write_marker(self._new / "compared.json", before)
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._writers:
            self._new.rename(self._folder)

    def _told(self, kind: DifferenceKind, rows: pl.DataFrame) -> pl.DataFrame:
        """A line per row that one side lacks, a line per differing field of the others."""
        whose = ORG + self._key.name if kind == "extra" else self._key.name
        common = {"kind": pl.lit(kind), "key": pl.col(whose)}
        changed_at = pl.col(ORG + CHANGED_AT)
        if kind in ("missing", "extra"):
            nothing = {n: pl.lit(None, pl.String) for n in ("field", "expected", "found")}
            return rows.select(**common, **nothing, changed_at=changed_at)
        return pl.concat(
            rows.filter(DIFFERS + name).select(
                **common,
                field=pl.lit(name),
                expected=_or_null(pl.col(name)),
                found=_or_null(pl.col(ORG + name)),
                changed_at=changed_at,
            )
            for name in self._columns
        )

    def _lines(self, lines: pl.DataFrame) -> None:
        self._write("fields", FIELDS, lines)
        for line in lines.head(NAMED - len(self.first)).iter_rows(named=True):
            del line["changed_at"]
            line["field"] = line["field"] or ""
            self.first.append(Difference(level=4, **line))

    def _write(self, name: str, columns: tuple[str, ...], rows: pl.DataFrame) -> None:
        if name not in self._writers:
            path = self._new / f"{name}.csv.gz"
            self._writers[name] = self._stack.enter_context(writing(path, header_line(columns)))
        self._writers[name].add(rows.select(columns))


def _or_null(text: pl.Expr) -> pl.Expr:
    return pl.when((text != "") & (text != NULL)).then(text)
