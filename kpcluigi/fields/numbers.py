"""Numbers with their field's places, exact; no float on the way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any, Literal

import polars as pl

from kpcluigi.fields.base import MOST_DIGITS, Facts, Field, digits_text, null_if_empty, places_of
from kpcluigi.tables import Column

HALF: Literal["half_away_from_zero"] = "half_away_from_zero"
_NUMBER = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?"


class DecimalField(Field):
    """A number with the field's places; exact, no float on the way."""

    expected = f"a number of at most {MOST_DIGITS} digits"

    def __init__(self, column: Column, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.scale = column.scale
        self.overflow = column.on_overflow
        self.is_text = self.kind == pl.String

    @property
    def strict(self) -> bool:
        return self.is_key or self.overflow == "reject"

    def whole(self) -> pl.Expr:
        if self.is_text:
            return null_if_empty(pl.col(self.name).str.strip_chars(" "))
        return pl.col(self.name)

    def facts(self) -> dict[str, pl.Expr]:
        found = super().facts()
        if self.is_text:
            found["odd"] = ~self.value.str.contains(self._exact).all()
        elif self._more_places:
            found["odd"] = (self.value != self._rounded).any()
        return found

    def rejections(self, facts: Facts) -> Iterator[tuple[str, pl.Expr]]:
        yield from super().rejections(facts)
        if self.strict and self._may_be_rounded(facts):
            reason = f"has more than {self.scale} places behind the point"
            yield self.reason(reason), self._is_rounded

    def changes(self, facts: Facts) -> dict[str, pl.Expr]:
        found = super().changes(facts)
        if self._may_be_rounded(facts):
            found["rounded"] = self._is_rounded
        return found

    def final(self, facts: Facts) -> pl.Expr:
        odd = facts.get(f"odd {self.target}")
        if self.scale is None:
            if not self.is_text:
                return self.uncut() if places_of(self.kind) else self.value
            return self._number if odd else self.value
        if not self.is_text and places_of(self.kind) == self.scale:
            return self.value
        # A number too long for its places becomes NULL here, and an error that names it below
        return (self._rounded if odd else self.value).cast(
            pl.Decimal(MOST_DIGITS, self.scale), strict=False
        )

    def uncut(self) -> pl.Expr:
        return self.value if self.is_text else digits_text(self.value, self.kind)

    def suspicious(self, nulls_before: int, nulls_after: int) -> bool:
        return nulls_after != nulls_before

    def unreadable(self, facts: Facts) -> pl.Expr:
        return self.value.is_not_null() & self.final(facts).is_null()

    @property
    def _more_places(self) -> bool:
        return self.scale is not None and places_of(self.kind) > self.scale

    @property
    def _exact(self) -> str:
        """Texts that are read as they stand, by polars itself."""
        if self.scale is None:
            return f"^{_NUMBER}$"
        return rf"^-?([0-9]+\.?|[0-9]*\.[0-9]{{1,{self.scale}}})$" if self.scale else "^-?[0-9]+$"

    @property
    def _number(self) -> pl.Expr:
        return pl.when(self.value.str.contains(f"^{_NUMBER}$")).then(self.value)

    @property
    def _rounded(self) -> pl.Expr:
        assert self.scale is not None
        places = self.scale
        if not self.is_text:
            return self.value.round(places, mode=HALF)
        return self.value.map_batches(
            lambda texts: pl.Series([_rounded_text(t, places) for t in texts], dtype=pl.String),
            return_dtype=pl.String,
        )

    def _may_be_rounded(self, facts: Facts) -> bool:
        return self.scale is not None and bool(facts.get(f"odd {self.target}"))

    @property
    def _is_rounded(self) -> pl.Expr:
        """Whether the value loses something of its fraction."""
        assert self.scale is not None
        places = self.scale
        if not self.is_text:
            return self.value != self._rounded
        return self.value.map_batches(
            lambda texts: pl.Series([_loses(t, places) for t in texts], dtype=pl.Boolean),
            return_dtype=pl.Boolean,
        )


def _rounded_text(text: str | None, places: int) -> str | None:
    """A number's digits rounded half away from zero; None where the text is no number."""
    if text is None or not re.fullmatch(_NUMBER, text):
        return None
    with localcontext(prec=2000):
        return f"{Decimal(text).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):f}"


def _loses(text: str | None, places: int) -> bool:
    rounded = _rounded_text(text, places)
    return text is not None and rounded is not None and Decimal(rounded) != Decimal(text)
