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
mapping says (`on_overflow`, `out_of_range`, `null_as`). A frame is looked over first, with cheap
aggregates, and only what they show to be possible is tested row by row.

NULL and the empty string (which Oracle does not tell apart) are `#N/A`, which sets the field to
NULL; an empty CSV value would leave it as it is (Bulk API 2.0 Developer Guide, "Prepare CSV
Files"). A line ending other than the job's inside a quoted value makes Salesforce refuse the whole
job, hence the normalisation.
"""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, localcontext
from functools import cached_property
from typing import Any, Literal

import polars as pl

from kpcluigi.errors import OracleError
from kpcluigi.markers import Fitted
from kpcluigi.tables import Column, Table

NULL = "#N/A"
NO_ID = "REJECTED:the row has no external id and cannot be upserted:--"
LONG_ID = "REJECTED:the external id is longer than its field:--"
SAMPLES = 5
"""Keys named per column for values that were changed to fit."""

INVALID_UTF8 = "invalid_utf8 "
"""Prefix of a frame's flag columns: true where a text's bytes were no UTF-8. A space cannot stand
in the name of an Oracle column."""

EARLIEST = datetime(1, 1, 1)
"""What `oracle.source` reads any earlier date as, since no driver can give those to Python."""
FIRST, LAST = datetime(1700, 1, 1), datetime(4000, 12, 31)
"""What Salesforce holds, as days and as moments in UTC: the last is that midnight (Data Loader
Guide, "Data Import Dates")."""
_SURELY = datetime(1700, 1, 3), datetime(4000, 12, 29)
"""The same, less what any zone can shift."""
EPOCH = datetime(1970, 1, 1)
"""Before it the tz database is not to be trusted for wall clocks."""

_DATETIME = "%Y-%m-%dT%H:%M:%S%.3fZ"
_DATE = "%Y-%m-%d"
_LOCAL = "%Y-%m-%d %H:%M:%S"
HALF: Literal["half_away_from_zero"] = "half_away_from_zero"
_TRUE = ["1", "Y", "YES", "TRUE"]
_FALSE = ["0", "N", "NO", "FALSE"]
_NUMBER = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?"
_DIGITS = 38

Facts = Mapping[str, Any]
"""What the aggregates say of a frame, by `WHAT TARGET`."""


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
        date_format=_DATE,
        datetime_format=_DATETIME,
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
    fields = _fields(table, frame.schema, in_utc)
    flags = {INVALID_UTF8 + f.target: pl.col(INVALID_UTF8 + f.name) for f in fields if f.flagged}
    whole = frame.select(**{f.target: f.whole() for f in fields}, **flags)
    facts = _look_over(fields, whole)
    rejected: pl.DataFrame | None = None
    tests = [test for f in fields for test in f.rejections(facts)]
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


class _Field:
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


class _Text(_Field):
    """Text, as it is; what is too long is cut."""

    def __init__(self, column: Column | None, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.length = column.length if column else None
        self.trim = column.trim if column else False
        self.overflow = column.on_overflow if column else "truncate"

    @property
    def strict(self) -> bool:
        return self.is_key or self.overflow == "reject"

    @cached_property
    def in_digits(self) -> bool:
        """A whole number that always fits: the CSV writer prints it faster than a text."""
        return (
            isinstance(self.kind, pl.Decimal)
            and self.kind.scale == 0
            and (self.length is None or (self.kind.precision or _DIGITS) < self.length)
        )

    def whole(self) -> pl.Expr:
        if self.in_digits:
            return pl.col(self.name)
        text = _plain_text(self.name, self.kind)
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
        if self.length is None or longest <= self.length:
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
        if self.strict and self._may_be_long(facts):
            reason = f"is longer than the {self.length} characters of its field"
            yield LONG_ID if self.is_key else self.reason(reason), self._is_long(facts)
        if facts.get(f"earliest {self.target}"):
            yield self.reason("holds a date before the year 1"), self._is_earliest

    def changes(self, facts: Facts) -> dict[str, pl.Expr]:
        found = super().changes(facts)
        if self._may_be_long(facts):
            found["truncated"] = self._is_long(facts)
        if facts.get(f"null_literals {self.target}"):
            found["null_literal"] = self.value == NULL
        return found

    def final(self, facts: Facts) -> pl.Expr:
        long = self._may_be_long(facts)
        text = self._unix(facts).str.slice(0, self.length) if long else self.value
        return _null_if_empty(text) if self._has_empty(facts) else text

    def uncut(self) -> pl.Expr:
        text = super().uncut()
        return text if self.in_digits else _null_if_empty(text)

    def _has_empty(self, facts: Facts) -> bool:
        return facts.get(f"shortest {self.target}") == 0

    def _may_be_long(self, facts: Facts) -> bool:
        characters = facts.get(f"characters {self.target}") or 0
        return self.length is not None and characters > self.length

    def _unix(self, facts: Facts) -> pl.Expr:
        """The text as it is counted: with CRLF and CR as one LF."""
        if not facts.get(f"returns {self.target}"):
            return self.value
        text = self.value.str.replace_all("\r\n", "\n", literal=True)
        return text.str.replace_all("\r", "\n", literal=True)

    def _is_long(self, facts: Facts) -> pl.Expr:
        assert self.length is not None
        return self._unix(facts).str.len_chars() > self.length

    @property
    def _is_earliest(self) -> pl.Expr:
        return self.value.str.starts_with(EARLIEST.isoformat(" "))


class _Base64(_Text):
    """Bytes, which are of no use when they are cut."""

    @property
    def strict(self) -> bool:
        return True

    def whole(self) -> pl.Expr:
        return pl.col(self.name).bin.encode("base64")


class _Lookup(_Text):
    """A parent's external id."""

    def __init__(self, mapped: bool, *args: Any, **options: Any) -> None:
        super().__init__(None, *args, **options)
        self.mapped = mapped

    def whole(self) -> pl.Expr:
        return super().whole() if self.in_digits else super().whole().str.strip_chars_end(" ")

    def changes(self, facts: Facts) -> dict[str, pl.Expr]:
        # What the column holds is counted once, where it is mapped to a field as well
        return {} if self.mapped else super().changes(facts)


class _Decimal(_Field):
    """A number with the field's places; exact, no float on the way."""

    expected = f"a number of at most {_DIGITS} digits"

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
            return _null_if_empty(pl.col(self.name).str.strip_chars(" "))
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
                return self.uncut() if _places(self.kind) else self.value
            return self._number if odd else self.value
        if not self.is_text and _places(self.kind) == self.scale:
            return self.value
        # A number too long for its places becomes NULL here, and an error that names it below
        return (self._rounded if odd else self.value).cast(
            pl.Decimal(_DIGITS, self.scale), strict=False
        )

    def uncut(self) -> pl.Expr:
        return self.value if self.is_text else _digits(self.value, self.kind)

    def suspicious(self, nulls_before: int, nulls_after: int) -> bool:
        return nulls_after != nulls_before

    def unreadable(self, facts: Facts) -> pl.Expr:
        return self.value.is_not_null() & self.final(facts).is_null()

    @property
    def _more_places(self) -> bool:
        return self.scale is not None and _places(self.kind) > self.scale

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


class _Boolean(_Field):
    """A flag. A checkbox has no third state, so NULL is false by consent or costs the row."""

    expected = f"one of {', '.join(_TRUE + _FALSE)}"

    def __init__(self, column: Column, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.null_as = column.null_as

    def whole(self) -> pl.Expr:
        text = _plain_text(self.name, self.kind)
        return _null_if_empty(text.str.strip_chars(" ").str.to_uppercase())

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


class _Date(_Field):
    """A calendar day, as it stands in Oracle."""

    def __init__(self, column: Column, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.out_of_range = column.out_of_range

    def facts(self) -> dict[str, pl.Expr]:
        return {**super().facts(), "first": self.value.min(), "last": self.value.max()}

    def rejections(self, facts: Facts) -> Iterator[tuple[str, pl.Expr]]:
        yield from super().rejections(facts)
        if self.out_of_range == "reject" and self._may_be_outside(facts):
            reason = "is outside 1700-01-01 to 4000-12-31, the dates that Salesforce holds"
            yield self.reason(reason), self._is_outside(facts)

    def changes(self, facts: Facts) -> dict[str, pl.Expr]:
        found = super().changes(facts)
        if self._may_be_outside(facts):
            found["out_of_range"] = self._is_outside(facts)
        return found

    def final(self, facts: Facts) -> pl.Expr:
        value = self._converted(facts)
        if self._may_be_outside(facts):
            value = pl.when(~self._is_outside(facts)).then(value)
        return value

    def uncut(self) -> pl.Expr:
        facts = {f"first {self.target}": EARLIEST, f"last {self.target}": datetime.max}
        local = self.value.dt.to_string(_LOCAL)
        early = pl.when(self.value == EARLIEST).then(pl.lit(f"{EARLIEST.date()} or earlier"))
        return (
            early.when(self._is_outside(facts))
            .then(local)
            .otherwise(pl.coalesce(self._converted(facts).dt.to_string(self._format), local))
        )

    _format = _DATE

    def _converted(self, facts: Facts) -> pl.Expr:
        return self.value.cast(pl.Date)

    def _may_be_outside(self, facts: Facts) -> bool:
        first, last = facts[f"first {self.target}"], facts[f"last {self.target}"]
        return first is not None and not (first >= _SURELY[0] and last <= _SURELY[1])

    def _is_outside(self, facts: Facts) -> pl.Expr:
        return (self.value < FIRST) | (self.value.cast(pl.Date) > LAST.date())


class _DateTime(_Date):
    """A moment: the wall clock of its zone, as UTC."""

    _format = _DATETIME

    def __init__(self, zone: Any, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.zone = zone
        self.expected = f"a time that the clocks of {zone} showed"

    def suspicious(self, nulls_before: int, nulls_after: int) -> bool:
        return nulls_after != nulls_before

    def unreadable(self, facts: Facts) -> pl.Expr:
        return self.value.is_not_null() & self._converted(facts).is_null()

    def _converted(self, facts: Facts) -> pl.Expr:
        """UTC. A time that the clocks skipped is NULL, of one that they showed twice the first."""
        if str(self.zone) == "UTC":
            return self.value
        first = facts[f"first {self.target}"]
        if first is None or first >= EPOCH:
            return self._in_zone(self.value)
        offset = pl.lit(EPOCH.replace(tzinfo=self.zone).utcoffset())
        early = pl.when(self.value < EPOCH).then(self.value - offset)
        since = pl.when(self.value >= EPOCH).then(self.value)
        return early.otherwise(self._in_zone(since))

    def _in_zone(self, value: pl.Expr) -> pl.Expr:
        local = value.dt.replace_time_zone(
            str(self.zone), ambiguous="earliest", non_existent="null"
        )
        return local.dt.convert_time_zone("UTC").dt.replace_time_zone(None)

    def _is_outside(self, facts: Facts) -> pl.Expr:
        moment = self._converted(facts)
        return (moment < FIRST) | (moment > LAST)


def _fields(
    table: Table, schema: Mapping[str, pl.DataType], in_utc: Collection[str]
) -> list[_Field]:
    """The fields in the order of the header."""
    fields: list[_Field] = []
    for name, column in table.columns.items():
        place = (name, column.field, schema[name])
        marks = {
            "is_key": column.field == table.external_id,
            "flagged": INVALID_UTF8 + name in schema,
        }
        match column.type:
            case "text":
                fields.append(_Text(column, *place, **marks))
            case "base64":
                fields.append(_Base64(column, *place, **marks))
            case "decimal":
                fields.append(_Decimal(column, *place, **marks))
            case "boolean":
                fields.append(_Boolean(column, *place, **marks))
            case "date":
                fields.append(_Date(column, *place, **marks))
            case "datetime":
                zone = "UTC" if name in in_utc else table.zone_of(column)
                fields.append(_DateTime(zone, column, *place, **marks))
    for name, target in table.lookups.items():
        flagged = INVALID_UTF8 + name in schema
        mapped = name in table.columns
        fields.append(_Lookup(mapped, name, target, schema[name], is_key=False, flagged=flagged))
    return fields


def _look_over(fields: list[_Field], whole: pl.DataFrame) -> Facts:
    """The aggregates of all fields, in one pass, or two."""
    wanted = {f"{what} {f.target}": test for f in fields for what, test in f.facts().items()}
    facts = whole.select(**wanted).row(0, named=True)
    closer = {
        f"{what} {f.target}": test for f in fields for what, test in f.closer_facts(facts).items()
    }
    return {**facts, **whole.select(**closer).row(0, named=True)} if closer else facts


def _count_changes(
    table: Table, fields: list[_Field], whole: pl.DataFrame, facts: Facts, ledger: FitLedger
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
    table: Table, frame: pl.DataFrame, whole: pl.DataFrame, f: _Field, facts: Facts
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


def _plain_text(name: str, kind: pl.DataType) -> pl.Expr:
    """Any value as plain text: no exponent, no zeros at the end of a fraction."""
    if kind == pl.String:
        return pl.col(name)
    if isinstance(kind, pl.Datetime):
        # A DATE comes in milliseconds and has none; a TIMESTAMP keeps its fraction, as a key must
        return pl.col(name).dt.to_string(_LOCAL if kind.time_unit == "ms" else f"{_LOCAL}%.6f")
    return _digits(pl.col(name), kind)


def _digits(value: pl.Expr, kind: pl.DataType) -> pl.Expr:
    text = value.cast(pl.String)
    return text.str.strip_chars_end("0").str.strip_chars_end(".") if _places(kind) else text


def _places(kind: pl.DataType) -> int:
    return kind.scale if isinstance(kind, pl.Decimal) else 0


def _null_if_empty(text: pl.Expr) -> pl.Expr:
    return pl.when(text != "").then(text)


def _rounded_text(text: str | None, places: int) -> str | None:
    """A number's digits rounded half away from zero; None where the text is no number."""
    if text is None or not re.fullmatch(_NUMBER, text):
        return None
    with localcontext(prec=2000):
        return f"{Decimal(text).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):f}"


def _loses(text: str | None, places: int) -> bool:
    rounded = _rounded_text(text, places)
    return text is not None and rounded is not None and Decimal(rounded) != Decimal(text)
