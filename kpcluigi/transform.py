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
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation, localcontext
from typing import Literal

import polars as pl

from kpcluigi.errors import OracleError
from kpcluigi.markers import Fitted
from kpcluigi.tables import Column, ColumnType, Table

NULL = "#N/A"
NO_ID = "REJECTED:the row has no external id and cannot be upserted:--"
LONG_ID = "REJECTED:the external id is longer than its field:--"
SAMPLES = 5
"""Keys named per column for values that were changed to fit."""

_DATETIME = "%Y-%m-%dT%H:%M:%S%.3fZ"
_DATE = "%Y-%m-%d"
HALF: Literal["half_away_from_zero"] = "half_away_from_zero"
_TRUE = ["1", "Y", "YES", "TRUE"]
_FALSE = ["0", "N", "NO", "FALSE"]
_EXPECTED: dict[ColumnType, str] = {
    "text": "a text",
    "decimal": "a number of at most 38 digits",
    "boolean": f"one of {', '.join(_TRUE + _FALSE)}",
    "date": "a date",
    "datetime": "a date",
}


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


def rejections(table: Table, frame: pl.DataFrame) -> pl.Series:
    """Why each row cannot be sent, or NULL where it can.

    Without an external id a row cannot be upserted; cut to fit, two rows might become one.
    """
    column = table.columns[table.external_id_column]
    text = _text_of(table.external_id_column, column, frame.schema[table.external_id_column])
    empty = text.is_null() | (text.str.strip_chars(" ") == "")
    too_long = pl.lit(False) if column.length is None else text.str.len_chars() > column.length
    reason = pl.when(empty).then(pl.lit(NO_ID)).when(too_long).then(pl.lit(LONG_ID))
    return frame.select(reason.alias("sf__Error")).to_series()


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
    """Any value as plain text: no exponent, no zeros at the end of a fraction, LF line ends."""
    if kind == pl.String:
        unix = pl.col(name).str.replace_all("\r\n", "\n", literal=True)
        return unix.str.replace_all("\r", "\n", literal=True)
    if isinstance(kind, pl.Decimal) and kind.scale:
        return pl.col(name).cast(pl.String).str.strip_chars_end("0").str.strip_chars_end(".")
    if isinstance(kind, pl.Datetime):
        return pl.col(name).dt.to_string("%Y-%m-%d %H:%M:%S")
    return pl.col(name).cast(pl.String)


def _text(name: str, column: Column, kind: pl.DataType) -> pl.Expr:
    text = _text_of(name, column, kind)
    if column.length is not None:
        text = text.str.slice(0, column.length)
    return _null_if_empty(text)


def _text_of(name: str, column: Column, kind: pl.DataType) -> pl.Expr:
    """The whole text, before it is cut to fit."""
    text = _plain_text(name, kind)
    return text.str.strip_chars_end(" ") if column.trim else text


def _null_if_empty(text: pl.Expr) -> pl.Expr:
    return pl.when(text != "").then(text)


def _decimal(name: str, column: Column, kind: pl.DataType) -> pl.Expr:
    if column.scale is None:
        return _plain_text(name, kind)
    if kind == pl.String:
        places = column.scale
        return pl.col(name).map_batches(
            lambda texts: pl.Series([_rounded_text(t, places) for t in texts], dtype=pl.String),
            return_dtype=pl.String,
        )
    rounded = pl.col(name).cast(pl.Decimal(38, _scale(kind))).round(column.scale, mode=HALF)
    # A number too long for its places becomes NULL here, and an error that names it below
    return rounded.cast(pl.Decimal(38, column.scale), strict=False).cast(pl.String)


def _is_rounded(name: str, column: Column, kind: pl.DataType) -> pl.Expr:
    """Whether the value loses something of its fraction."""
    assert column.scale is not None
    if kind == pl.String:
        places = column.scale
        return pl.col(name).map_batches(
            lambda texts: pl.Series([_loses(t, places) for t in texts], dtype=pl.Boolean),
            return_dtype=pl.Boolean,
        )
    value = pl.col(name).cast(pl.Decimal(38, _scale(kind)))
    return value != value.round(column.scale, mode=HALF)


def _scale(kind: pl.DataType) -> int:
    return kind.scale if isinstance(kind, pl.Decimal) else 0


def _rounded_text(text: str | None, places: int) -> str | None:
    """A number's digits rounded half away from zero; None where the text is no number."""
    if text is None:
        return None
    with localcontext(prec=200):
        try:
            value = Decimal(text.strip())
            return f"{value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):f}"
        except InvalidOperation:
            return None


def _loses(text: str | None, places: int) -> bool:
    rounded = _rounded_text(text, places)
    return text is not None and rounded is not None and Decimal(rounded) != Decimal(text.strip())


def _count_fits(table: Table, frame: pl.DataFrame, ledger: FitLedger) -> None:
    """One pass over the frame for all columns; keys are looked up only where something changed."""
    flags: dict[str, pl.Expr] = {}
    for name, column in table.columns.items():
        kind = frame.schema[name]
        if column.type == "text" and column.length is not None:
            text = _text_of(name, column, kind)
            flags[f"truncated {name}"] = text.str.len_chars() > column.length
        if column.type == "text" and kind == pl.String:
            flags[f"null_literal {name}"] = pl.col(name) == NULL
        if column.type == "decimal" and column.scale is not None:
            flags[f"rounded {name}"] = _is_rounded(name, column, kind)
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
            f"{row[name]!r} ({unread.height} such rows in this batch); expected "
            f"{_EXPECTED[column.type]}. Correct the type in tables.toml"
        )
