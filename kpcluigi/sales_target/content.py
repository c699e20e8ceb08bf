"""Rows as text, and the totals by which the source and its copies are compared.

A row's text is the very line that COPY is sent: the five numbers in canonical form, tabs between
them, NULL as `\\N`. Canonical is what PostgreSQL's `trim_scale(n)::text` gives: no exponent, a
digit before the point, no zeros at the end of a fraction. The checksum of a table is the sum, over
its rows, of the first eight bytes of their text's SHA-256 as a signed number: it does not depend on
the order of the rows, and counts equal rows as often as they are there.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext

import polars as pl

from kpcluigi.errors import OracleError

COLUMNS = ("id", "product_id", "target_month", "target_year", "target_amount")
"""Of both tables, in the order in which they are read, sent and hashed."""

NULL = r"\N"

EXACT = Context(prec=400)
"""Holds the sum of any rows of NUMBERs, which reach from 1E-130 to 1E+126, without rounding."""

_CANONICAL = r"^-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?$"
_DIGITS_OF_DECIMAL = 38
"""That a column of polars adds up exactly."""


@dataclass(frozen=True)
class ColumnSum:
    """How many values of a column are not NULL, and their sum."""

    non_null: int
    sum: Decimal


@dataclass(frozen=True)
class Content:
    """What a table holds, in numbers. `checksum` None: it was not asked for."""

    rows: int
    columns: tuple[ColumnSum, ...]
    checksum: int | None = None

    def differences(self, other: Content) -> list[str]:
        """Where `other` differs, one line each: what it is, this value, the other's."""
        pairs: list[tuple[str, object, object]] = [("rows", self.rows, other.rows)]
        for name, mine, its in zip(COLUMNS, self.columns, other.columns, strict=True):
            pairs.append((f"values of {name}", mine.non_null, its.non_null))
            pairs.append((f"sum of {name}", mine.sum, its.sum))
        if self.checksum is not None and other.checksum is not None:
            pairs.append(("checksum", self.checksum, other.checksum))
        return [f"{what}: {_shown(a)} / {_shown(b)}" for what, a, b in pairs if a != b]


class Tally:
    """Turns batches into text for COPY, and adds up what they hold."""

    def __init__(self) -> None:
        self._rows = 0
        self._checksum = 0
        self._non_null = [0] * len(COLUMNS)
        self._sums = [Decimal(0)] * len(COLUMNS)
        self._whole_digits = [0] * len(COLUMNS)
        self._places = [0] * len(COLUMNS)

    def add(self, batch: pl.DataFrame) -> bytes:
        """The batch's rows as lines for COPY.

        Args:
            batch: a text column per column of the table, numbers as Oracle's `TO_CHAR(…, 'TM9')`
                gives them.

        Raises:
            OracleError: a text is no number.
        """
        columns = [canonical(batch.to_series(i), name) for i, name in enumerate(COLUMNS)]
        for i, column in enumerate(columns):
            self._add_column(i, column)
        text = pl.DataFrame(columns).write_csv(
            include_header=False, separator="\t", null_value=NULL, quote_style="never"
        )
        data = text.encode()
        self._rows += batch.height
        self._checksum += _checksum(data.splitlines())
        return data

    def _add_column(self, i: int, column: pl.Series) -> None:
        values = column.drop_nulls()
        self._non_null[i] += len(values)
        if not len(values):
            return
        whole, places = _digits(values)
        self._whole_digits[i] = max(self._whole_digits[i], whole)
        self._places[i] = max(self._places[i], places)
        with localcontext(EXACT):
            if whole + places + len(str(len(values))) <= _DIGITS_OF_DECIMAL:
                total = values.cast(pl.Decimal(_DIGITS_OF_DECIMAL, places)).sum()
                self._sums[i] += Decimal(total)
            else:
                self._sums[i] += sum(map(Decimal, values.to_list()), Decimal(0))

    @property
    def content(self) -> Content:
        """Of all rows so far."""
        columns = zip(self._non_null, self._sums, strict=True)
        return Content(self._rows, tuple(ColumnSum(n, s) for n, s in columns), self._checksum)

    def whole_digits(self, i: int) -> int:
        """The most digits before the point that a value of column i has."""
        return self._whole_digits[i]

    def places(self, i: int) -> int:
        """The most digits after the point that a value of column i has."""
        return self._places[i]


def canonical(texts: pl.Series, name: str) -> pl.Series:
    """Numbers as Oracle writes them, such as `-.5`, as PostgreSQL does: `-0.5`.

    Raises:
        OracleError: a text is no number.
    """
    if texts.str.contains("E", literal=True).any():  # Oracle's, of more than 64 characters
        plain = [text if text is None else _without_exponent(text, name) for text in texts]
        texts = pl.Series(plain, dtype=pl.String)
    column = pl.col("x").str.replace(r"^(-?)\.", "${1}0.")
    if texts.str.contains(".", literal=True).any():
        trimmed = column.str.strip_chars_end("0").str.strip_chars_end(".")
        column = pl.when(column.str.contains(".", literal=True)).then(trimmed).otherwise(column)
    else:
        column = pl.col("x")
    made = texts.alias("x").to_frame().select(column.alias(name))[name]
    faulty = made.filter(~made.str.contains(_CANONICAL))
    if len(faulty):
        raise OracleError(f"{name.upper()}: {faulty[0]!r} is no number that Oracle could have sent")
    return made


def checksum_sql(columns: Sequence[str]) -> str:
    """PostgreSQL's expression for the checksum over the rows of a table.

    Args:
        columns: names as they stand in SQL, in the order of `COLUMNS`.
    """
    texts = [f"coalesce(trim_scale({column})::text, '{NULL}')" for column in columns]
    line = " || E'\\t' || ".join(texts)
    head = f"substr(sha256(convert_to({line}, 'UTF8')), 1, 8)"
    return f"coalesce(sum(('x' || encode({head}, 'hex'))::bit(64)::bigint), 0)"


def _digits(values: pl.Series) -> tuple[int, int]:
    """The most digits before the point, and after it, of canonical numbers."""
    length = values.str.len_bytes().cast(pl.Int64)
    point = values.str.find(".", literal=True).cast(pl.Int64)
    whole = point.fill_null(length) - values.str.starts_with("-").cast(pl.Int64)
    places = (length - point - 1).drop_nulls()
    return max(whole.to_list()), max(places.to_list(), default=0)


def _checksum(lines: list[bytes]) -> int:
    digest = hashlib.sha256
    heads = b"".join([digest(line).digest()[:8] for line in lines])
    return sum(struct.unpack(f">{len(lines)}q", heads))


def _without_exponent(text: str, name: str) -> str:
    try:
        return f"{Decimal(text):f}"
    except ArithmeticError:
        raise OracleError(f"{name.upper()}: {text!r} is no number") from None


def _shown(value: object) -> str:
    return f"{value:,f}" if isinstance(value, Decimal) else f"{value:,}"
