"""Flags: what a checkbox can hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from kpcluigi.fields.base import Facts, Field, null_if_empty, plain_text
from kpcluigi.tables import Column

_TRUE = ["1", "Y", "YES", "TRUE"]
_FALSE = ["0", "N", "NO", "FALSE"]


class BooleanField(Field):
    """A flag. A checkbox has no third state, so NULL is false by consent or costs the row."""

    expected = f"one of {', '.join(_TRUE + _FALSE)}"

    def __init__(self, column: Column, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.null_as = column.null_as

    def whole(self) -> pl.Expr:
        text = plain_text(self.name, self.kind)
        return null_if_empty(text.str.strip_chars(" ").str.to_uppercase())

    def rejections(self, facts: Facts) -> Iterator[tuple[str, pl.Expr]]:
        yield from super().rejections(facts)
        if self.null_as is None and facts[f"nulls {self.target}"]:
            reason = 'is NULL, which a checkbox cannot be (null_as = "false" would send false)'
            yield self.reason(reason), self.value.is_null()

    def changes(self, facts: Facts) -> dict[str, pl.Expr]:
        found = super().changes(facts)
        if facts[f"nulls {self.target}"]:
            found["null_as_false"] = self.value.is_null()
        return found

    def final(self, facts: Facts) -> pl.Expr:
        flag = (
            pl.when(self.value.is_in(_TRUE)).then(True).when(self.value.is_in(_FALSE)).then(False)
        )
        return flag.when(self.value.is_null()).then(False) if self.null_as else flag

    def uncut(self) -> pl.Expr:
        known = pl.when(self.value.is_in(_TRUE)).then(pl.lit("true"))
        return known.when(self.value.is_in(_FALSE)).then(pl.lit("false")).otherwise(self.value)

    def suspicious(self, nulls_before: int, nulls_after: int) -> bool:
        return nulls_after != (0 if self.null_as else nulls_before)

    def unreadable(self, facts: Facts) -> pl.Expr:
        return self.value.is_not_null() & ~self.value.is_in(_TRUE + _FALSE)
