"""One form for one value, whether it stands in a chunk file or in an answer of the org.

| type     | chunk file                   | org                          | alike               |
|----------|------------------------------|------------------------------|---------------------|
| text     | as it is; `#N/A` is NULL     | as it is; no empty text      | the very characters |
| decimal  | plain digits; by hand, any   | a double, maybe 1.2E7        | the double, or NaN  |
| boolean  | true or false                | true or false                | true or false       |
| date     | 2024-01-31                   | 2024-01-31                   | 2024-01-31          |
| datetime | 2024-01-31T10:20:30.123Z     | …30.000Z or …30.000+0000     | to the second, UTC  |
| (lookup) | the parent's external id     | the parent's external id     | in lower case       |
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from kpcluigi.fields import NULL
from kpcluigi.reconcile.measures import SECONDS
from kpcluigi.tables import ColumnType, Table

SPELLINGS = {"1": "true", "y": "true", "yes": "true", "0": "false", "n": "false", "no": "false"}
"""Of a checkbox, as a person may write it."""
KEY = " key"
"""Column of the external id in one form; no field has such a name."""


@dataclass(frozen=True)
class Alike:
    """One column of the chunk files, which is also a path of SOQL.

    Attributes:
        folds_case: texts that differ in case alone are the same.
    """

    name: str
    type: ColumnType | str
    folds_case: bool = False
    is_number: bool = False
    """Of a lookup: the parent's external id is a number."""

    @property
    def is_text(self) -> bool:
        return self.type == "text"

    def but_for_blanks(self, prefix: str) -> pl.Expr:
        """Whether the org has what was sent, without the blanks at its ends."""
        if not self.is_text:
            return pl.lit(False)
        bare = self.of_staged().str.strip_chars()
        return pl.when(bare != "").then(bare).eq_missing(self.of_org(prefix))

    def of_staged(self) -> pl.Expr:
        """From the text of a chunk file."""
        text = pl.col(self.name)
        return self._alike(pl.when((text != NULL) & (text != "")).then(text))

    def of_org(self, prefix: str = "") -> pl.Expr:
        """From the text of an answer of the org, in a column of this name behind a prefix."""
        text = pl.col(prefix + self.name)
        return self._alike(pl.when(text != "").then(text))

    def _alike(self, text: pl.Expr) -> pl.Expr:
        if self.type == "decimal":
            number = text.str.strip_chars().cast(pl.Float64, strict=False)
            none = pl.when(text.is_not_null()).then(float("nan"))
            return pl.coalesce(number, none).alias(self.name)
        if self.type == "boolean":
            flag = text.str.strip_chars().str.to_lowercase().replace(SPELLINGS)
            return flag.fill_null("false").alias(self.name)
        if self.type == "datetime":
            return text.str.slice(0, SECONDS).alias(self.name)
        if self.type == "lookup":
            text = text.str.strip_chars_end(" ")
            number = text.cast(pl.Float64, strict=False).cast(pl.String)
            text = pl.coalesce(number, text) if self.is_number else text
        return (text.str.to_lowercase() if self.folds_case else text).alias(self.name)


def fields_alike(table: Table, numbers: Collection[str] = ()) -> list[Alike]:
    """Every column of a table's chunk files.

    Args:
        numbers: lookups whose parents' external id is a number.
    """
    columns = [Alike(column.field, column.type) for column in table.columns.values()]
    lookups = table.lookups.values()
    return [*columns, *(Alike(name, "lookup", True, name in numbers) for name in lookups)]


def key_of(table: Table, described: Mapping[str, Mapping[str, Any]]) -> Alike:
    """The external id, as the org tells records apart by it."""
    kind = table.columns[table.external_id_column].type
    exact = bool(described.get(table.external_id, {}).get("caseSensitive"))
    return Alike(table.external_id, "decimal" if kind == "decimal" else "key", not exact)


def staged_alike(frame: pl.DataFrame, key: Alike, fields: Sequence[Alike]) -> pl.DataFrame:
    """Rows of a chunk file in one form, with their key."""
    return frame.select(as_key(key.of_staged()), *(field.of_staged() for field in fields))


def org_alike(frame: pl.DataFrame, key: Alike, fields: Sequence[Alike]) -> pl.DataFrame:
    """Records of the org in one form, with their key."""
    return frame.select(as_key(key.of_org()), *(field.of_org() for field in fields))


def as_key(value: pl.Expr) -> pl.Expr:
    """The column of the keys."""
    return value.cast(pl.String).str.strip_chars(" ").alias(KEY)


def as_texts(record: Mapping[str, Any], fields: Sequence[str]) -> dict[str, str | None]:
    """A record of a JSON answer as the text that a CSV would have."""
    found: dict[str, str | None] = {}
    for path in fields:
        value: Any = record
        for part in path.split("."):
            value = None if value is None else value[part]
        if isinstance(value, bool):
            value = "true" if value else "false"
        found[path] = None if value is None else str(value)
    return found
