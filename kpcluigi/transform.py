"""A table's mapping as column expressions: Oracle's values in, Salesforce's CSV text out.

Knows no I/O. A frame of Oracle's columns becomes a frame of text under the header of the CSV, plus
what was changed to make it fit and the rows that cannot be sent at all.

| type     | CSV text                                                                        |
|----------|---------------------------------------------------------------------------------|
| text     | CR and CRLF become LF; cut at `length`, which is counted                         |
| decimal  | plain digits with `scale` places, half rounded away from zero, which is counted |
| boolean  | 1, Y, YES, TRUE: true; 0, N, NO, FALSE: false; else an error that names the key  |
| date     | YYYY-MM-DD, never shifted                                                        |
| datetime | UTC, YYYY-MM-DDThh:mm:ss.SSSZ, from the column's zone                            |
| (lookup) | the parent's external id, trailing blanks removed                                |

NULL and the empty string (which Oracle does not tell apart) are `#N/A`, which sets the field to
NULL; an empty CSV value would leave it as it is (Bulk API 2.0 Developer Guide, "Prepare CSV
Files"). A line ending other than the job's inside a quoted value makes Salesforce refuse the whole
job, hence the normalisation.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import dataclass, field

import polars as pl

from kpcluigi.errors import OracleError
from kpcluigi.markers import Fitted
from kpcluigi.tables import Column, Table

NULL = "#N/A"
SAMPLES = 5
"""Keys named per column for values that were changed to fit."""

_DATETIME = "%Y-%m-%dT%H:%M:%S%.3fZ"
_DATE = "%Y-%m-%d"
_TRUE = ["1", "Y", "YES", "TRUE"]
_FALSE = ["0", "N", "NO", "FALSE"]


@dataclass
class FitLedger:
    """Counts of values changed to fit, by column, over all frames of a chunk."""

    columns: dict[str, Fitted] = field(default_factory=dict)

    def add(self, column: str, found: Fitted) -> None:
        """Add what one frame held; sample keys only until there are enough of them."""
        before = self.columns.get(column, Fitted())
        self.columns[column] = Fitted(
            truncated=before.truncated + found.truncated,
            rounded=before.rounded + found.rounded,
            null_literal=before.null_literal + found.null_literal,
            sample_keys=(before.sample_keys + found.sample_keys)[:SAMPLES],
        )


def header(table: Table) -> bytes:
    """The CSV's first line."""
    return (",".join(table.fields) + "\n").encode()


def to_csv(frame: pl.DataFrame) -> bytes:
    """A frame of text as CSV lines: LF, quoted where needed, NULL as `#N/A`."""
    buffer = io.BytesIO()
    frame.write_csv(
        buffer,
        include_header=False,
        line_terminator="\n",
        null_value=NULL,
        quote_style="necessary",
    )
    return buffer.getvalue()


def split_rejected(table: Table, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that can be sent, and rows that cannot: without an external id none can be upserted."""
    key = pl.col(table.external_id_column)
    empty = key.is_null()
    if frame.schema[table.external_id_column] == pl.String:
        empty = empty | (key.str.strip_chars(" ") == "")
    if not frame.select(empty.any()).item():
        return frame, frame.clear()
    return frame.filter(~empty), frame.filter(empty)


def convert(
    table: Table, frame: pl.DataFrame, *, in_utc: Collection[str], ledger: FitLedger
) -> pl.DataFrame:
    """Oracle's columns as text columns named by the CSV's header.

    Args:
        frame: Oracle's columns under their own names.
        in_utc: the columns whose datetimes are UTC already (they came with a zone).
        ledger: receives what was changed to fit.

    Raises:
        OracleError: a value cannot be read as the type of its mapping; key and value are named.
    """
    _count_fits(table, frame, ledger)
    converted = {
        column.field: _expression(table, name, column, frame.schema[name], name in in_utc)
        for name, column in table.columns.items()
    }
    for name, target in table.lookups.items():
        text = _plain_text(name, frame.schema[name]).str.strip_chars_end(" ")
        converted[target] = _null_if_empty(text)
    result = frame.select(**converted)
    for name, column in table.columns.items():
        if column.type == "boolean":
            _refuse_unreadable(table, frame, result, name, column)
    return result


def _expression(
    table: Table, name: str, column: Column, kind: pl.DataType, in_utc: bool
) -> pl.Expr:
    match column.type:
        case "text":
            return _text(name, column, kind)
        case "decimal":
            return _decimal(name, column, kind)
        case "boolean":
            upper = _plain_text(name, kind).str.strip_chars(" ").str.to_uppercase()
            return (
                pl.when(upper.is_in(_TRUE))
                .then(pl.lit("true"))
                .when(upper.is_in(_FALSE))
                .then(pl.lit("false"))
            )
        case "date":
            return pl.col(name).dt.to_string(_DATE)
        case "datetime":
            zone = "UTC" if in_utc else str(table.zone_of(column))
            local = pl.col(name).dt.cast_time_unit("ms").dt.replace_time_zone(
                zone, ambiguous="earliest"
            )  # fmt: skip
            return local.dt.convert_time_zone("UTC").dt.to_string(_DATETIME)


def _plain_text(name: str, kind: pl.DataType) -> pl.Expr:
    """Any value as Oracle's TO_CHAR would print it, with LF for every line ending."""
    if kind == pl.String:
        unix = pl.col(name).str.replace_all("\r\n", "\n", literal=True)
        return unix.str.replace_all("\r", "\n", literal=True)
    if isinstance(kind, pl.Decimal) and kind.scale:
        return pl.col(name).cast(pl.String).str.strip_chars_end("0").str.strip_chars_end(".")
    if isinstance(kind, pl.Datetime):
        return pl.col(name).dt.to_string("%Y-%m-%d %H:%M:%S")
    return pl.col(name).cast(pl.String)


def _text(name: str, column: Column, kind: pl.DataType) -> pl.Expr:
    text = _plain_text(name, kind)
    if column.trim:
        text = text.str.strip_chars_end(" ")
    if column.length is not None:
        text = text.str.slice(0, column.length)
    return _null_if_empty(text)


def _null_if_empty(text: pl.Expr) -> pl.Expr:
    return pl.when(text != "").then(text)


def _exact(name: str, kind: pl.DataType) -> pl.Expr:
    """A NUMBER as a decimal; those without declared places arrive as text."""
    if kind == pl.String:
        return pl.col(name).str.to_decimal(scale=18)
    if kind.is_integer():
        return pl.col(name).cast(pl.Decimal(38, 0))
    return pl.col(name)


def _decimal(name: str, column: Column, kind: pl.DataType) -> pl.Expr:
    value = _exact(name, kind)
    if column.scale is None:
        return _plain_text(name, kind)
    rounded = value.round(column.scale, mode="half_away_from_zero")
    return rounded.cast(pl.Decimal(38, column.scale)).cast(pl.String)


def _count_fits(table: Table, frame: pl.DataFrame, ledger: FitLedger) -> None:
    """One pass over the frame for all columns; keys are looked up only where something changed."""
    flags: dict[str, pl.Expr] = {}
    for name, column in table.columns.items():
        kind = frame.schema[name]
        if column.type == "text" and column.length is not None:
            text = _plain_text(name, kind)
            if column.trim:
                text = text.str.strip_chars_end(" ")
            flags[f"truncated {name}"] = text.str.len_chars() > column.length
        if column.type == "text" and kind == pl.String:
            flags[f"null_literal {name}"] = pl.col(name) == NULL
        if column.type == "decimal" and column.scale is not None:
            value = _exact(name, kind)
            flags[f"rounded {name}"] = value != value.round(
                column.scale, mode="half_away_from_zero"
            )
    if not flags:
        return
    sums = frame.select(**{flag: test.sum() for flag, test in flags.items()}).row(0, named=True)
    key = table.external_id_column
    for flag, count in sums.items():
        if count:
            what, name = flag.split(" ")
            keys = frame.filter(flags[flag]).head(SAMPLES)[key].cast(pl.String).to_list()
            ledger.add(name, Fitted.model_validate({what: count, "sample_keys": keys}))


def _refuse_unreadable(
    table: Table, frame: pl.DataFrame, result: pl.DataFrame, name: str, column: Column
) -> None:
    """A value that is there but came out as NULL was not understood."""
    unread = frame.filter(frame[name].is_not_null() & result[column.field].is_null())
    if frame.schema[name] == pl.String:
        unread = unread.filter(pl.col(name).str.strip_chars(" ") != "")
    if unread.height:
        row = unread.row(0, named=True)
        key = row[table.external_id_column]
        raise OracleError(
            f"{table.name}.{name} is mapped as {column.type}, but row {key} holds "
            f"{row[name]!r} ({unread.height} such rows in this batch); expected one of "
            f"{', '.join(_TRUE + _FALSE)}. Correct the type in tables.toml"
        )
