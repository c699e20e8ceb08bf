"""Level 3: sampled rows, as Oracle gave them, through the mapping, against the org's, by hashes.

The sample was drawn when the totals were read; see `kpcluigi.oracle.totals`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import polars as pl
import pyarrow as pa

from kpcluigi import transform
from kpcluigi.csvframes import read_frames
from kpcluigi.fields import NULL
from kpcluigi.load.row_errors import ERROR, lost_lookups
from kpcluigi.markers import Difference, DifferenceKind, RetrySource, SourceTotals
from kpcluigi.oracle import Source
from kpcluigi.oracle.totals import LOB_HEAD
from kpcluigi.reconcile.aggregates import Asking
from kpcluigi.reconcile.alike import (
    KEY,
    Alike,
    as_key,
    org_alike,
    staged_alike,
)
from kpcluigi.reconcile.measures import SECONDS
from kpcluigi.reconcile.named import CHANGED_AT
from kpcluigi.reconcile.records import records_of
from kpcluigi.reconcile.staged import CLOCKS
from kpcluigi.staging import TableFolder, read_marker
from kpcluigi.tables import Table

SEPARATOR, NOTHING = "|", "-"
"""Between two values of a hashed row, each of them behind its length; and in the place of NULL."""

_PLACE = " place"


@dataclass
class Sampled:
    """What became of the sample.

    Attributes:
        rows: that were compared; those in the dead letter were not.
        checksum: over all of them as Oracle has them.
        suspects: rows that differ, as they stand in the chunk file.
    """

    rows: int
    checksum: str
    differences: list[Difference]
    suspects: pl.DataFrame


def sampled_rows(
    asking: Asking,
    source: Source,
    totals: SourceTotals,
    folder: TableFolder,
    key: Alike,
    every: Sequence[Alike],
    *,
    last_sent: datetime,
) -> Sampled:
    """Compare every field of every sampled row with the org.

    Args:
        every: every column of the chunk files.
        last_sent: when the last row of the table was sent; what was changed after it was changed by
            somebody else.
    """
    table = source.table
    fields = [field for field in every if _is_whole(source, field)]
    expected = _sent(_converted(source, totals), folder, key, table.fields)
    alike = staged_alike(expected, key, fields)
    paths = list(dict.fromkeys([key.name, *(field.name for field in fields), CHANGED_AT]))
    records = records_of(asking, table.object, paths, expected[key.name].to_list(), key)
    found = org_alike(records, key, fields).with_columns(records[CHANGED_AT])
    excused = _lost(source.table, folder, key, alike[KEY])
    heads = {f.name for f in fields if _is_head(source, f)}
    there = {row[KEY]: row for row in found.iter_rows(named=True)}
    checksum = hashlib.sha256()
    differences: list[Difference] = []
    suspects: list[int] = []
    for row in alike.with_row_index(_PLACE).sort(KEY).iter_rows(named=True):
        digest = _digest(row, fields)
        checksum.update(digest)
        record = there.get(row[KEY])
        if record is not None:
            for name in excused.get(row[KEY], ()):
                row[name] = row[name] if record[name] is not None else None
            for name in heads:
                record[name] = _head_like(record[name], row[name])
            if _digest(record, fields) == _digest(row, fields):
                continue
        suspects.append(row[_PLACE])
        differences += _named(row, record, fields, last_sent + asking.client.clock_ahead + CLOCKS)
    return Sampled(
        rows=alike.height,
        checksum=checksum.hexdigest() if alike.height else "",
        differences=differences,
        suspects=expected[suspects] if suspects else expected.clear(),
    )


def sample_against_sent(sampled: Sampled, folder: TableFolder, key: Alike) -> list[str]:
    """Sampled rows that the org has as they were sent, and not as Oracle gave them.

    Once rows were compared, those that differ from what was sent are named in `differences/`.
    """
    named: set[tuple[str, str]] = set()
    path = folder.differences / "fields.csv.gz"
    if sampled.differences and path.exists():
        for frame in read_frames(path, ["key", "field"]):
            keys = frame.select(as_key(replace(key, name="key").of_staged()))
            named |= set(zip(keys[KEY], frame["field"].fill_null(""), strict=True))
    missing = {key for key, field in named if field in ("", NULL)}
    return [
        f"sampled row {d.key}: {d.field}: Oracle {d.expected}, sent {d.found}"
        for d in sampled.differences
        if d.field and d.key not in missing and (d.key, d.field) not in named
    ]


def _converted(source: Source, totals: SourceTotals) -> pl.DataFrame:
    """The sample as its chunk files have it; rows that are rejected are in the dead letter."""
    table = source.table
    names = [n for n in table.source_columns if n in source.columns]
    columns = {}
    for name in names:
        values = [row.get(name) for row in totals.sample.values()]
        columns[name] = _typed(values, source.columns[name].arrow)
    frame = pl.DataFrame(columns)
    rows = transform.convert(table, frame, in_utc=source.in_utc, ledger=transform.FitLedger()).rows
    lines = transform.to_csv(rows)
    return pl.read_csv(
        lines, has_header=False, new_columns=list(table.fields), infer_schema=False
    ) if rows.height else pl.DataFrame(schema=dict.fromkeys(table.fields, pl.String))  # fmt: skip


def _typed(values: list[str | None], arrow: pa.DataType) -> pl.Series:
    """Texts of the sample as the column that a chunk's statement gives."""
    texts = pl.Series(values, dtype=pl.String)
    if pa.types.is_decimal(arrow):
        return texts.cast(pl.Decimal(arrow.precision, arrow.scale))
    if pa.types.is_timestamp(arrow):
        seconds = arrow.unit == "s"
        pattern = "%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M:%S%.6f"
        return texts.str.to_datetime(pattern, time_unit="ms" if seconds else "us")
    if pa.types.is_binary(arrow) or pa.types.is_large_binary(arrow):
        return texts.str.decode("hex")
    return texts


def _sent(
    expected: pl.DataFrame, folder: TableFolder, key: Alike, columns: tuple[str, ...]
) -> pl.DataFrame:
    """Without the rows of the dead letter; as they were corrected, where they were."""

    def of(frames: Iterator[pl.DataFrame]) -> pl.DataFrame:
        keys = expected.select(as_key(key.of_staged()))
        found = [
            f.with_columns(as_key(key.of_staged())).join(keys, on=KEY, how="semi") for f in frames
        ]
        return pl.concat(found) if found else pl.DataFrame()

    for attempt in folder.attempts:
        source = read_marker(folder.retry_source(attempt), RetrySource)
        if source is None or not source.corrected:
            continue
        corrected = of(read_frames(folder.retry_file(attempt), columns))
        if corrected.height:
            left = expected.with_columns(as_key(key.of_staged())).join(
                corrected, on=KEY, how="anti"
            )
            expected = pl.concat([left, corrected]).drop(KEY)
    for path in folder.settled_dead_letters:
        dead = of(read_frames(path, [key.name]))
        if dead.height:
            left = expected.with_columns(as_key(key.of_staged())).join(dead, on=KEY, how="anti")
            expected = left.drop(KEY)
    return expected


def _lost(table: Table, folder: TableFolder, key: Alike, keys: pl.Series) -> dict[str, list[str]]:
    """By key, the lookups of sampled rows that were sent without that parent."""
    found: dict[str, list[str]] = {}
    lost = lost_lookups(table, pl.col(ERROR))
    for path in folder.blanked_files:
        for frame in read_frames(path, [ERROR, key.name]):
            named = frame.select(as_key(key.of_staged()), **lost).filter(pl.col(KEY).is_in(keys))
            for row in named.iter_rows(named=True):
                found.setdefault(row[KEY], []).extend(name for name in lost if row[name])
    return found


def _is_whole(source: Source, field: Alike) -> bool:
    """Whether the sample shows the field at all: of BLOBs it does not."""
    column = _column(source, field)
    return column is None or not pa.types.is_large_binary(source.columns[column].arrow)


def _is_head(source: Source, field: Alike) -> bool:
    column = _column(source, field)
    return column is not None and pa.types.is_large_string(source.columns[column].arrow)


def _column(source: Source, field: Alike) -> str | None:
    return next((n for n, c in source.table.columns.items() if c.field == field.name), None)


def _head_like(value: str | None, head: str | None) -> str | None:
    """A long text cut as the sample cut it: its line ends may have been two characters."""
    if value is None or head is None or len(head) < LOB_HEAD - head.count("\n"):
        return value
    return value[: len(head)]


def _digest(row: Mapping[str, object], fields: list[Alike]) -> bytes:
    values = [_shown(row[field.name]) for field in fields]
    text = SEPARATOR.join(NOTHING if v is None else f"{len(v)}:{v}" for v in values)
    return hashlib.sha256(text.encode()).digest()


def _named(
    row: Mapping[str, object],
    record: Mapping[str, object] | None,
    fields: list[Alike],
    last_sent: datetime,
) -> list[Difference]:
    key = str(row[KEY])
    if record is None:
        return [Difference(level=3, kind="missing", key=key)]
    changed_at = datetime.fromisoformat(f"{str(record[CHANGED_AT])[:SECONDS]}+00:00")
    differing = [field for field in fields if row[field.name] != record[field.name]]
    kind: DifferenceKind = "changed_since" if changed_at > last_sent else "modified"
    if all(field.is_text and _bare(row[field.name]) == record[field.name] for field in differing):
        kind = "trimmed"
    return [
        Difference(
            level=3,
            kind=kind,
            key=key,
            field=field.name,
            expected=_shown(row[field.name]),
            found=_shown(record[field.name]),
        )
        for field in differing
    ]


def _bare(text: object) -> str | None:
    """Without the blanks at its ends."""
    return str(text).strip() or None if text is not None else None


def _shown(value: object) -> str | None:
    return None if value is None else str(value)
