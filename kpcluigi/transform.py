"""A table's mapping as column expressions: Oracle's values in, Salesforce's CSV text out.

Knows no I/O. A frame of Oracle's columns becomes a frame under the header of the CSV, whose values
`to_csv` writes as text, plus what was changed to make it fit and the rows that cannot be sent.

| type     | CSV text                                                                         |
|----------|----------------------------------------------------------------------------------|
| text     | CR and CRLF become LF; cut at `length`, which is counted                          |
| decimal  | plain digits with `scale` places, half rounded away from zero, which is counted  |
| boolean  | 1, Y, YES, TRUE: true; 0, N, NO, FALSE: false; else an error that names the key   |
| date     | YYYY-MM-DD, never shifted                                                         |
| datetime | UTC, YYYY-MM-DDThh:mm:ss.SSSZ, from the column's zone                             |
| base64   | the bytes as base64, never cut                                                   |
| (lookup) | the parent's external id, trailing blanks removed                                 |

A value that does not fit is changed and counted, or its row rejected with the reason, as the
mapping says (`on_overflow`, `out_of_range`, `null_as`). What no field and no record of Salesforce
takes is rejected in any case. A frame is looked over first, with cheap
aggregates, and only what they show to be possible is tested row by row.

NULL and the empty string (which Oracle does not tell apart) are `#N/A`, which sets the field to
NULL; an empty CSV value would leave it as it is (Bulk API 2.0 Developer Guide, "Prepare CSV
Files"). A line ending other than the job's inside a quoted value makes Salesforce refuse the whole
job, hence the normalisation.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from kpcluigi.errors import OracleError
from kpcluigi.fields import DATE, DATETIME, INVALID_UTF8, NULL, Facts, Field, fields_of
from kpcluigi.markers import Fitted
from kpcluigi.tables import Table

RECORD_CHARACTERS = 400_000
"""What a record takes at most (Bulk API 2.0 Developer Guide, "Limits")."""
LONG_RECORD = f"REJECTED:the record is longer than {RECORD_CHARACTERS:,} characters:--"
SAMPLES = 5
"""Keys named per column for values that were changed to fit."""


@dataclass
class FitLedger:
    """Counts of values changed to fit and of rows rejected, over all frames of a chunk."""

    columns: dict[str, Fitted] = field(default_factory=dict)
    rejected_for: dict[str, int] = field(default_factory=dict)

    def add(self, column: str, found: Fitted) -> None:
        """Add what one frame held; sample keys only until there are enough of them."""
        before = self.columns.get(column, Fitted())
        counts = {
            what: getattr(before, what) + getattr(found, what)
            for what in Fitted.model_fields
            if what != "sample_keys"
        }
        keys = list(dict.fromkeys(before.sample_keys + found.sample_keys))
        self.columns[column] = Fitted(**counts, sample_keys=keys[:SAMPLES])

    def reject(self, reasons: pl.Series) -> None:
        """Count one frame's rejected rows by their reason."""
        for reason, count in reasons.value_counts(sort=True).iter_rows():
            self.rejected_for[reason] = self.rejected_for.get(reason, 0) + count


@dataclass(frozen=True)
class Converted:
    """What became of one frame."""

    rows: pl.DataFrame
    """The rows to send, under the CSV's header."""
    rejected: pl.DataFrame | None
    """The others as text, uncut, with `sf__Error` in front; None where there are none."""


def header(table: Table) -> bytes:
    """The CSV's first line."""
    return (",".join(table.fields) + "\n").encode()


def to_csv(frame: pl.DataFrame) -> bytes:
    """Converted rows as CSV lines: LF, quoted where needed, NULL as `#N/A`."""
    buffer = io.BytesIO()
    frame.write_csv(
        buffer,
        include_header=False,
        line_terminator="\n",
        null_value=NULL,
        quote_style="necessary",
        date_format=DATE,
        datetime_format=DATETIME,
    )
    data = buffer.getvalue()
    if b"\r" in data:
        # Only values hold it, and those are quoted, so that the lines stay what they are
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data


def convert(
    table: Table, frame: pl.DataFrame, *, in_utc: Collection[str], ledger: FitLedger
) -> Converted:
    """Oracle's columns as the columns of the CSV.

    Args:
        frame: Oracle's columns under their own names; flag columns `INVALID_UTF8 + name` beside
            those that hold texts with bytes that had to be replaced.
        in_utc: the columns whose datetimes are UTC already (they came with a zone).
        ledger: receives what was changed to fit, and why rows were rejected.

    Raises:
        OracleError: a value cannot be read as the type of its mapping; key and value are named.
    """
    fields = fields_of(table, frame.schema, in_utc)
    flags = {INVALID_UTF8 + f.target: pl.col(INVALID_UTF8 + f.name) for f in fields if f.flagged}
    whole = frame.select(**{f.target: f.whole() for f in fields}, **flags)
    facts = _look_over(fields, whole)
    rejected: pl.DataFrame | None = None
    tests = [test for f in fields for test in f.rejections(facts)]
    tests += _long_records(fields, facts)
    if tests:
        reasons = whole.select(
            pl.coalesce(*(pl.when(test).then(pl.lit(reason)) for reason, test in tests))
        ).to_series()
        if reasons.null_count() < whole.height:
            bad = whole.filter(reasons.is_not_null())
            texts = bad.select(**{f.target: f.uncut() for f in fields})
            rejected = texts.insert_column(0, reasons.drop_nulls().alias("sf__Error"))
            ledger.reject(rejected["sf__Error"])
            frame, whole = frame.filter(reasons.is_null()), whole.filter(reasons.is_null())
            facts = _look_over(fields, whole)
    result = whole.select(**{f.target: f.final(facts) for f in fields})
    for f in fields:
        if f.suspicious(whole[f.target].null_count(), result[f.target].null_count()):
            _refuse_unreadable(table, frame, whole, f, facts)
    _count_changes(table, fields, whole, facts, ledger)
    return Converted(result, rejected)


def _long_records(fields: list[Field], facts: Facts) -> Iterator[tuple[str, pl.Expr]]:
    """The test for rows that are too long as a whole, where some of the frame may be."""
    if sum(f.longest(facts) for f in fields) <= RECORD_CHARACTERS:
        return
    long = [found for f in fields if (found := f.characters()) is not None]
    others = sum(f.longest(facts) for f in fields if f.characters() is None)
    if long:
        total = pl.sum_horizontal(length.cast(pl.Int64) for length in long)
        yield LONG_RECORD, total + others > RECORD_CHARACTERS


def _look_over(fields: list[Field], whole: pl.DataFrame) -> Facts:
    """The aggregates of all fields, in one pass, or two."""
    wanted = {f"{what} {f.target}": test for f in fields for what, test in f.facts().items()}
    facts = whole.select(**wanted).row(0, named=True)
    closer = {
        f"{what} {f.target}": test for f in fields for what, test in f.closer_facts(facts).items()
    }
    return {**facts, **whole.select(**closer).row(0, named=True)} if closer else facts


def _count_changes(
    table: Table, fields: list[Field], whole: pl.DataFrame, facts: Facts, ledger: FitLedger
) -> None:
    """Counts what was changed to fit; keys are looked up only while there are too few."""
    tests = {f"{what} {f.name}": test for f in fields for what, test in f.changes(facts).items()}
    if not tests:
        return
    counts = whole.select(**{name: test.sum() for name, test in tests.items()}).row(0, named=True)
    for name, count in counts.items():
        if not count:
            continue
        what, column = name.split(" ")
        keys: list[str] = []
        if len(ledger.columns.get(column, Fitted()).sample_keys) < SAMPLES:
            changed = whole.filter(tests[name])[table.external_id]
            keys = changed.head(SAMPLES).cast(pl.String).to_list()
        ledger.add(column, Fitted.model_validate({what: count, "sample_keys": keys}))


def _refuse_unreadable(
    table: Table, frame: pl.DataFrame, whole: pl.DataFrame, f: Field, facts: Facts
) -> None:
    """Raises `OracleError` where a value is there but was not understood."""
    unread = frame.filter(whole.select(f.unreadable(facts)).to_series())
    if unread.height:
        row = unread.row(0, named=True)
        value = row[f.name]
        shown = str(value) if isinstance(value, datetime) else repr(value)
        raise OracleError(
            f"{table.name}.{f.name} is mapped as {table.columns[f.name].type}, but row "
            f"{row[table.external_id_column]} holds {shown} ({unread.height} such rows in this "
            f"batch); expected {f.expected}. Correct the mapping in tables.toml"
        )
