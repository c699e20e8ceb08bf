"""What Salesforce says of a row that it did not take: passing or final, and for which reason.

An `sf__Error` is `CODE:message:FIELD1,FIELD2 --`, or `CODE:message:--` without fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import polars as pl

from kpcluigi.markers import RowErrors
from kpcluigi.tables import Table

ERROR = "sf__Error"
UNPROCESSED = "UNPROCESSED:Salesforce did not process this row:--"

PASSING_CODES = (
    "API_TEMPORARILY_UNAVAILABLE",
    "QUERY_TIMEOUT",
    "REQUEST_RUNNING_TOO_LONG",
    "SERVER_UNAVAILABLE",
    "UNABLE_TO_LOCK_ROW",
    "UNKNOWN_EXCEPTION",
)
"""Row errors that the same row gets past when it is sent again (SOAP API Developer Guide, "Core
Data Types Used in API Calls", StatusCode)."""

_NO_PARENT = (
    r"(?s)^INVALID_FIELD:Foreign key external ID: (.*) not found for field (\w+) in entity "
)
SAMPLES = 5


def is_passing(error: pl.Expr) -> pl.Expr:
    """Whether the row is worth another try. A lock may be named inside a trigger's error."""
    code = error.str.extract(r"^([A-Z_]+)")
    return code.is_in(PASSING_CODES) | error.str.contains("UNABLE_TO_LOCK_ROW", literal=True)


def missing_parent(error: pl.Expr) -> pl.Expr:
    """The external id of the parent that the org does not have; null for any other error."""
    return error.str.extract(_NO_PARENT, 1)


def missing_parent_field(error: pl.Expr) -> pl.Expr:
    """The field by which that parent was looked for; null for any other error."""
    return error.str.extract(_NO_PARENT, 2)


def lookups_by(table: Table) -> dict[str, list[str]]:
    """The lookups of a table by the field that they find their parent by."""
    found: dict[str, list[str]] = {}
    for name in table.lookups.values():
        found.setdefault(name.rpartition(".")[2], []).append(name)
    return found


def lost_lookups(table: Table, error: pl.Expr) -> dict[str, pl.Expr]:
    """For each lookup, whether a row in `blanked/` was sent without that parent, by its errors."""
    found: dict[str, pl.Expr] = {}
    for field, names in lookups_by(table).items():
        named = error.str.contains(f" not found for field {field} in entity ", literal=True)
        found |= dict.fromkeys(names, named.fill_null(False))
    return found


class ErrorCounts:
    """Rows by code and field, as they are added."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], RowErrors] = {}

    def add(self, errors: pl.DataFrame, external_id: str) -> None:
        """Count the rows of a frame that has the columns `sf__Error` and the external id."""
        groups = errors.group_by(
            code=pl.col(ERROR).str.extract(r"^([^:]*)").fill_null(""),
            field=pl.col(ERROR).str.extract(r"(?s):([^:]*)--$").str.strip_chars().fill_null(""),
            maintain_order=True,
        ).agg(
            rows=pl.len(),
            message=pl.col(ERROR).first(),
            sample_keys=pl.col(external_id).head(SAMPLES),
        )
        self.merge(RowErrors.model_validate(group) for group in groups.iter_rows(named=True))

    def merge(self, others: Iterable[RowErrors]) -> None:
        """Add what was counted elsewhere."""
        for other in others:
            key = other.code, other.field
            known = self._found.get(key)
            if known is None:
                self._found[key] = other
                continue
            keys = [*known.sample_keys, *other.sample_keys][:SAMPLES]
            update = {"rows": known.rows + other.rows, "sample_keys": keys}
            self._found[key] = known.model_copy(update=update)

    def ordered(self) -> list[RowErrors]:
        """The most frequent first."""
        return sorted(self._found.values(), key=lambda found: -found.rows)


def is_unreadable(message: str) -> bool:
    """Whether a job's message says that a row of its CSV cannot be read, not a column.

    A column that does not exist fails every part of the file alike; a row only its own.
    """
    if re.search(r"field name|column|header", message, re.IGNORECASE):
        return False
    return bool(re.match(r"(InvalidBatch|ClientInputError)\b", message))


def is_for_columns(message: str) -> bool:
    """Whether a job was refused for its columns: sending it again changes nothing."""
    return message.startswith("InvalidBatch") and not is_unreadable(message)


def unreadable_error(message: str) -> str:
    """The `sf__Error` of a row that a job could not read."""
    return f"UNREADABLE:{message}:--"
