"""What every field has in common: how a column is looked over, tested, and converted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

NULL = "#N/A"
NO_ID = "REJECTED:the row has no external id and cannot be upserted:--"

INVALID_UTF8 = "invalid_utf8 "
"""Prefix of a frame's flag columns: true where a text's bytes were no UTF-8. A space cannot stand
in the name of an Oracle column."""

MOST_DIGITS = 38
"""Of an exact decimal."""

LOCAL = "%Y-%m-%d %H:%M:%S"

Facts = Mapping[str, Any]
"""What the aggregates say of a frame, by `WHAT TARGET`."""


class Field:
    """One column on its way to one field; a subclass for each type of the mapping.

    Expressions of `whole` read the frame as Oracle gave it; all others read its result, in which
    columns are called like their targets.
    """

    expected = ""
    """What a readable value is, for the message that names one that is not."""

    def __init__(
        self, name: str, target: str, kind: pl.DataType, *, is_key: bool, flagged: bool
    ) -> None:
        self.name = name
        self.target = target
        self.kind = kind
        self.is_key = is_key
        self.flagged = flagged

    @property
    def value(self) -> pl.Expr:
        return pl.col(self.target)

    @property
    def strict(self) -> bool:
        """Whether a value that does not fit costs the row."""
        return self.is_key

    def reason(self, what: str) -> str:
        return f"REJECTED:{self.name} {what}:{self.target} --"

    def whole(self) -> pl.Expr:
        """The value uncut, as a kind that does not vary from frame to frame."""
        return pl.col(self.name)

    def facts(self) -> dict[str, pl.Expr]:
        """Aggregates that tell whether anything of the frame has to be tested row by row."""
        return {"nulls": self.value.null_count()}

    def closer_facts(self, facts: Facts) -> dict[str, pl.Expr]:
        """Dearer aggregates, where the first ones leave it open."""
        return {}

    def rejections(self, facts: Facts) -> Iterator[tuple[str, pl.Expr]]:
        """Reasons for which rows of this frame may be rejected, each with its test."""
        if self.is_key and facts[f"nulls {self.target}"]:
            yield NO_ID, self.value.is_null()
        if self.flagged and self.strict:
            yield self.reason("holds bytes that are no UTF-8"), self._flag

    def changes(self, facts: Facts) -> dict[str, pl.Expr]:
        """Tests of what may have been changed, by their name in `Fitted`."""
        return {"invalid_utf8": self._flag} if self.flagged else {}

    def longest(self, facts: Facts) -> int:
        """Characters that a value of this frame takes at most, about."""
        return MOST_DIGITS + 2

    def characters(self) -> pl.Expr | None:
        """How many a value takes; None where it is never many."""
        return None

    def final(self, facts: Facts) -> pl.Expr:
        """The value as it is sent, for rows that were not rejected."""
        return self.value

    def uncut(self) -> pl.Expr:
        """The value as text, for the file of the rejected rows."""
        return self.value.cast(pl.String)

    def suspicious(self, nulls_before: int, nulls_after: int) -> bool:
        """Whether some value may not have been understood."""
        return False

    def unreadable(self, facts: Facts) -> pl.Expr:
        """Test for values that were not understood."""
        return pl.lit(False)

    @property
    def _flag(self) -> pl.Expr:
        return pl.col(INVALID_UTF8 + self.target)


def plain_text(name: str, kind: pl.DataType) -> pl.Expr:
    """Any value as plain text: no exponent, no zeros at the end of a fraction."""
    if kind == pl.String:
        return pl.col(name)
    if isinstance(kind, pl.Datetime):
        # A DATE comes in milliseconds and has none; a TIMESTAMP keeps its fraction, as a key must
        return pl.col(name).dt.to_string(LOCAL if kind.time_unit == "ms" else f"{LOCAL}%.6f")
    return digits_text(pl.col(name), kind)


def digits_text(value: pl.Expr, kind: pl.DataType) -> pl.Expr:
    text = value.cast(pl.String)
    return text.str.strip_chars_end("0").str.strip_chars_end(".") if places_of(kind) else text


def places_of(kind: pl.DataType) -> int:
    return kind.scale if isinstance(kind, pl.Decimal) else 0


def null_if_empty(text: pl.Expr) -> pl.Expr:
    return pl.when(text != "").then(text)
