"""Texts: as they are, cut or rejected where they are too long; bytes as base64; lookups."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import polars as pl

from kpcluigi.fields.base import MOST_DIGITS, NO_ID, NULL, Facts, Field, null_if_empty, plain_text
from kpcluigi.fields.dates import EARLIEST
from kpcluigi.tables import Column

FIELD_CHARACTERS = 131_072
"""What any field takes at most (Bulk API 2.0 Developer Guide, "Limits")."""
LONG_ID = "REJECTED:the external id is longer than its field:--"


class TextField(Field):
    """Text, as it is; what is too long is cut."""

    def __init__(self, column: Column | None, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.length = column.length if column else None
        self.trim = column.trim if column else False
        self.overflow = column.on_overflow if column else "truncate"

    @property
    def strict(self) -> bool:
        return self.is_key or self.overflow == "reject"

    @property
    def most(self) -> int:
        """Characters that can be sent."""
        return FIELD_CHARACTERS if self.length is None else self.length

    def longest(self, facts: Facts) -> int:
        if self.in_digits:
            return super().longest(facts)
        return min(facts.get(f"longest {self.target}") or 0, self.most)

    def characters(self) -> pl.Expr | None:
        if self.in_digits:
            return None
        return self.value.str.len_chars().fill_null(0).clip(upper_bound=self.most)

    @cached_property
    def in_digits(self) -> bool:
        """A whole number that always fits: the CSV writer prints it faster than a text."""
        return (
            isinstance(self.kind, pl.Decimal)
            and self.kind.scale == 0
            and (self.length is None or (self.kind.precision or MOST_DIGITS) < self.length)
        )

    def whole(self) -> pl.Expr:
        if self.in_digits:
            return pl.col(self.name)
        text = plain_text(self.name, self.kind)
        return text.str.strip_chars_end(" ") if self.trim else text

    def facts(self) -> dict[str, pl.Expr]:
        found = super().facts()
        if self.in_digits:
            return found
        size = self.value.str.len_bytes()
        found |= {"shortest": size.min(), "longest": size.max()}
        if self.kind == pl.String:
            found["null_literals"] = (self.value == NULL).sum()
        if self.is_key:
            found["blank"] = self.value.str.starts_with(" ").any()
        if isinstance(self.kind, pl.Datetime):
            found["earliest"] = self._is_earliest.any()
        return found

    def closer_facts(self, facts: Facts) -> dict[str, pl.Expr]:
        longest = facts.get(f"longest {self.target}") or 0
        if longest <= self.most:
            return {}
        return {
            "characters": self.value.str.len_chars().max(),
            "returns": self.value.str.contains("\r", literal=True).any(),
        }

    def rejections(self, facts: Facts) -> Iterator[tuple[str, pl.Expr]]:
        yield from super().rejections(facts)
        if self.is_key and (facts.get(f"blank {self.target}") or self._has_empty(facts)):
            yield NO_ID, self.value.str.strip_chars(" ") == ""
        if self.is_key and facts.get(f"null_literals {self.target}"):
            yield NO_ID, self.value == NULL
        if (self.strict or self.length is None) and self._may_be_long(facts):
            whose = "any field" if self.length is None else "its field"
            reason = f"is longer than the {self.most} characters of {whose}"
            yield LONG_ID if self.is_key else self.reason(reason), self._is_long(facts)
        if facts.get(f"earliest {self.target}"):
            yield self.reason("holds a date before the year 1"), self._is_earliest

    def changes(self, facts: Facts) -> dict[str, pl.Expr]:
        found = super().changes(facts)
        if self.length is not None and self._may_be_long(facts):
            found["truncated"] = self._is_long(facts)
        if facts.get(f"null_literals {self.target}"):
            found["null_literal"] = self.value == NULL
        return found

    def final(self, facts: Facts) -> pl.Expr:
        long = self.length is not None and self._may_be_long(facts)
        text = self._unix(facts).str.slice(0, self.length) if long else self.value
        return null_if_empty(text) if self._has_empty(facts) else text

    def uncut(self) -> pl.Expr:
        text = super().uncut()
        return text if self.in_digits else null_if_empty(text)

    def _has_empty(self, facts: Facts) -> bool:
        return facts.get(f"shortest {self.target}") == 0

    def _may_be_long(self, facts: Facts) -> bool:
        characters = facts.get(f"characters {self.target}") or 0
        return characters > self.most

    def _unix(self, facts: Facts) -> pl.Expr:
        """The text as it is counted: with CRLF and CR as one LF."""
        if not facts.get(f"returns {self.target}"):
            return self.value
        text = self.value.str.replace_all("\r\n", "\n", literal=True)
        return text.str.replace_all("\r", "\n", literal=True)

    def _is_long(self, facts: Facts) -> pl.Expr:
        return self._unix(facts).str.len_chars() > self.most

    @property
    def _is_earliest(self) -> pl.Expr:
        return self.value.str.starts_with(EARLIEST.isoformat(" "))


class Base64Field(TextField):
    """Bytes, which are of no use when they are cut."""

    @property
    def strict(self) -> bool:
        return True

    def whole(self) -> pl.Expr:
        return pl.col(self.name).bin.encode("base64")


class LookupField(TextField):
    """A parent's external id."""

    def __init__(self, mapped: bool, *args: Any, **options: Any) -> None:
        super().__init__(None, *args, **options)
        self.mapped = mapped

    def whole(self) -> pl.Expr:
        return super().whole() if self.in_digits else super().whole().str.strip_chars_end(" ")

    def changes(self, facts: Facts) -> dict[str, pl.Expr]:
        # What the column holds is counted once, where it is mapped to a field as well
        return {} if self.mapped else super().changes(facts)
