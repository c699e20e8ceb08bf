"""What an expression compiles to, and the conversions that Oracle does unasked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from kpcluigi.rehearsal.oracle import oradate
from kpcluigi.rehearsal.oracle.errors import OraError, unimplemented
from kpcluigi.rehearsal.oracle.oranumber import canonical
from kpcluigi.rehearsal.oracle.oratypes import (
    DATE,
    MAX_DECIMAL,
    NUMBER,
    ROWID,
    OraType,
    char,
    number,
    varchar2,
)


@dataclass(frozen=True)
class Typed:
    """DuckDB SQL and the Oracle type of what it gives.

    A TIMESTAMP WITH TIME ZONE is carried as STRUCT(u TIMESTAMP, o SMALLINT): UTC, and the minutes
    east of it.

    Attributes:
        text: the value, when it is a text known before the statement runs.
        null: whether it is the literal NULL.
        row: of the ROWID of a table's row: SQL for the row's number, and the rowid of number 0.
    """

    sql: str
    type: OraType
    nullable: bool = True
    text: str | None = None
    null: bool = False
    row: tuple[str, int] | None = None


@dataclass(frozen=True)
class Nls:
    """The session's settings that conversions read."""

    date_format: str = "DD-MON-RR"
    timestamp_format: str = "DD-MON-RR HH.MI.SSXFF AM"
    timestamp_tz_format: str = "DD-MON-RR HH.MI.SSXFF AM TZH:TZM"
    numeric_characters: str = ".,"
    time_zone: int = 420


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def text_literal(text: str) -> Typed:
    """A text literal: a CHAR, or NULL when it is empty."""
    if text == "":
        return replace(NULL, text="")
    return Typed(quoted(text), char(len(text.encode())), nullable=False, text=text)


NULL = Typed("CAST(NULL AS VARCHAR)", OraType("VARCHAR2"), null=True)


def number_literal(value: Decimal) -> Typed:
    text = canonical(value)
    whole, _, fraction = text.lstrip("-").partition(".")
    digits = len(whole) + len(fraction)
    if digits > MAX_DECIMAL:
        return Typed(quoted(text), NUMBER, nullable=False)
    fixed = (digits, len(fraction))
    return Typed(f"CAST('{text}' AS DECIMAL({digits},{len(fraction)}))", number(fixed), False)


def whole_number(sql: str, nullable: bool = False) -> Typed:
    """A count or a position of at most 18 digits."""
    return Typed(f"CAST({sql} AS DECIMAL(18,0))", number((18, 0)), nullable)


def null_of(type_: OraType) -> Typed:
    return Typed(f"CAST(NULL AS {engine_type(type_)})", type_, null=True)


def engine_type(type_: OraType) -> str:
    if type_.kind == "NUMBER":
        return "VARCHAR" if type_.fixed is None else f"DECIMAL({type_.fixed[0]},{type_.fixed[1]})"
    if type_.kind == "TSTZ":
        return "STRUCT(u TIMESTAMP, o SMALLINT)"
    if type_.is_time:
        return "TIMESTAMP"
    if type_.kind == "ROWID":
        return "HUGEINT"
    return "BLOB" if type_.kind in ("RAW", "BLOB") else "VARCHAR"


def label(type_: OraType) -> str:
    """The type as ORA-00932 names it."""
    return {"VARCHAR2": "CHAR", "RAW": "BINARY", "TSTZ": "TIMESTAMP WITH TIME ZONE"}.get(
        type_.kind, type_.kind
    )


def inconsistent(expected: str, got: OraType) -> OraError:
    return OraError(932, expected, label(got))


# -- numbers


def widened(fixed: tuple[int, int] | None, other: tuple[int, int] | None) -> tuple[int, int] | None:
    """The DECIMAL that holds both, or None when only text does."""
    if fixed is None or other is None:
        return None
    scale = max(fixed[1], other[1])
    digits = max(fixed[0] - fixed[1], other[0] - other[1]) + scale
    return (digits, scale) if digits <= MAX_DECIMAL else None


def canonical_sql(value: Typed) -> str:
    """SQL for the canonical text of a NUMBER."""
    if value.type.fixed is None:
        return value.sql
    plain = f"CAST({value.sql} AS VARCHAR)"
    return plain if value.type.fixed[1] == 0 else f"rtrim(rtrim({plain}, '0'), '.')"


def number_as(value: Typed, fixed: tuple[int, int] | None) -> str:
    """SQL for a NUMBER carried by that DECIMAL, or by text when `fixed` is None."""
    if fixed is None:
        return canonical_sql(value)
    if value.type.fixed == fixed:
        return value.sql
    return f"CAST({value.sql} AS DECIMAL({fixed[0]},{fixed[1]}))"


def number_text(value: Typed) -> Typed:
    """TO_CHAR(number): '.5', not '0.5'."""
    sql = canonical_sql(value)
    if value.type.fixed is None or value.type.fixed[1] > 0:
        sql = f"ora_number_text({sql})"
    return Typed(sql, varchar2(40), value.nullable)


# -- conversions that Oracle does unasked


def as_text(value: Typed, nls: Nls) -> Typed:
    kind = value.type.kind
    if value.type.is_text:
        return value
    if kind == "NUMBER":
        return number_text(value)
    if kind == "ROWID":
        return Typed(f"ora_rowid_text({value.sql})", varchar2(18), value.nullable)
    if kind == "RAW":
        return Typed(f"upper(hex({value.sql}))", varchar2(value.type.size * 2), value.nullable)
    if value.type.is_time:
        model = {"DATE": nls.date_format, "TIMESTAMP": nls.timestamp_format}.get(
            kind, nls.timestamp_tz_format
        )
        return moment_text(value, model)
    raise inconsistent("CHAR", value.type)


def moment_text(value: Typed, model: str) -> Typed:
    """TO_CHAR(date, model)."""
    size = sum(9 if p.upper() in ("MONTH", "DAY", "FF") else 4 for p in oradate.elements(model))
    if value.type.kind == "DATE" and any(
        p.upper().startswith(("FF", "TZ")) for p in oradate.elements(model)
    ):
        raise OraError(1821)
    if value.type.kind == "TSTZ":
        local = f"({value.sql}.u + to_minutes({value.sql}.o))"
        return Typed(oradate.to_char_sql(local, model, f"{value.sql}.o"), varchar2(size))
    return Typed(oradate.to_char_sql(value.sql, model), varchar2(size), value.nullable)


def as_rowid(value: Typed) -> Typed:
    kind = value.type.kind
    if kind == "ROWID":
        return value
    if value.null:
        return null_of(ROWID)
    if kind in ("VARCHAR2", "CHAR"):
        return Typed(f"ora_to_rowid({value.sql})", ROWID, value.nullable)
    raise inconsistent("ROWID", value.type)


def as_number(value: Typed) -> Typed:
    kind = value.type.kind
    if kind == "NUMBER":
        return value
    if value.null:
        return null_of(number((18, 0)))
    if kind in ("VARCHAR2", "CHAR"):
        return Typed(f"ora_to_number({value.sql})", NUMBER, value.nullable)
    raise inconsistent("NUMBER", value.type)


def as_moment(value: Typed, nls: Nls) -> Typed:
    if value.type.is_time:
        return value
    if value.null:
        return null_of(DATE)
    if value.type.kind in ("VARCHAR2", "CHAR"):
        return Typed(f"ora_to_date({value.sql}, {quoted(nls.date_format)})", DATE, value.nullable)
    raise inconsistent("DATE", value.type)


def in_utc(value: Typed, nls: Nls) -> str:
    """SQL for a moment in UTC; one without a zone is in the session's."""
    if value.type.kind == "TSTZ":
        return f"{value.sql}.u"
    return f"({value.sql} - to_minutes({nls.time_zone}))"


def sort_key(value: Typed) -> str:
    """SQL that sorts and compares as Oracle does."""
    if value.type.is_lob or value.type.kind == "LONG":
        raise OraError(932, "-", label(value.type))
    if value.type.kind == "NUMBER" and value.type.fixed is None:
        return f"ora_number_key({value.sql})"
    return f"{value.sql}.u" if value.type.kind == "TSTZ" else value.sql


def group_key(value: Typed) -> str:
    """SQL whose equal values are equal in Oracle, and that a SELECT may show."""
    if value.type.is_lob or value.type.kind == "LONG":
        raise OraError(932, "-", label(value.type))
    if value.type.kind == "TSTZ":
        raise unimplemented("grouping by a TIMESTAMP WITH TIME ZONE")
    return value.sql


def comparable(left: Typed, right: Typed, nls: Nls) -> tuple[str, str]:
    """SQL for both sides of a comparison, after Oracle's conversions."""
    for side in (left, right):
        if side.type.is_lob or side.type.kind == "LONG":
            raise OraError(932, "-", label(side.type))
    kinds = {left.type.kind, right.type.kind}
    if left.null or right.null:
        known = right if left.null else left
        null = null_of(known.type).sql
        return (null if left.null else left.sql), (null if right.null else right.sql)
    if "ROWID" in kinds:
        return as_rowid(left).sql, as_rowid(right).sql
    if "NUMBER" in kinds:
        return _comparable_numbers(as_number(left), as_number(right))
    if left.type.is_time or right.type.is_time:
        return _comparable_moments(as_moment(left, nls), as_moment(right, nls), nls)
    if kinds == {"RAW"}:
        return left.sql, right.sql
    if "RAW" in kinds:
        return as_text(left, nls).sql, as_text(right, nls).sql
    if kinds == {"CHAR"}:
        # Blank-padded comparison: only when neither side is a VARCHAR2.
        if left.type.size == right.type.size and left.text is None and right.text is None:
            return left.sql, right.sql
        return f"rtrim({left.sql}, ' ')", f"rtrim({right.sql}, ' ')"
    return left.sql, right.sql


def _comparable_numbers(left: Typed, right: Typed) -> tuple[str, str]:
    if widened(left.type.fixed, right.type.fixed) is not None:
        return left.sql, right.sql
    return f"ora_number_key({canonical_sql(left)})", f"ora_number_key({canonical_sql(right)})"


def _comparable_moments(left: Typed, right: Typed, nls: Nls) -> tuple[str, str]:
    if "TSTZ" in (left.type.kind, right.type.kind):
        return in_utc(left, nls), in_utc(right, nls)
    return left.sql, right.sql


def convert(value: Typed, to: OraType, nls: Nls) -> Typed:
    """`value` as the kind of `to`, as Oracle converts unasked."""
    if value.null:
        return null_of(to)
    if to.kind == "NUMBER":
        return as_number(value)
    if to.kind == "DATE":
        moment = as_moment(value, nls)
        if moment.type.kind == "TSTZ":
            moment = Typed(f"({moment.sql}.u + to_minutes({moment.sql}.o))", DATE, moment.nullable)
        if moment.type.kind == "DATE":
            return moment
        return Typed(f"date_trunc('second', {moment.sql})", DATE, moment.nullable)
    if to.kind == "TIMESTAMP":
        if value.type.is_text:
            model = quoted(nls.timestamp_format)
            return Typed(f"ora_to_timestamp({value.sql}, {model})", to, value.nullable)
        moment = as_moment(value, nls)
        if moment.type.kind == "TSTZ":
            return Typed(f"({moment.sql}.u + to_minutes({moment.sql}.o))", to, moment.nullable)
        return replace(moment, type=to)
    if to.kind == "TSTZ":
        moment = as_moment(value, nls)
        if moment.type.kind == "TSTZ":
            return moment
        made = f"struct_pack(u := {in_utc(moment, nls)}, o := CAST({nls.time_zone} AS SMALLINT))"
        return Typed(f"CASE WHEN {moment.sql} IS NOT NULL THEN {made} END", to, moment.nullable)
    if to.kind in ("VARCHAR2", "CHAR", "CLOB"):
        return as_text(value, nls)
    if to.kind == "ROWID":
        return replace(as_rowid(value), row=None)
    if to.kind in ("RAW", "BLOB"):
        if value.type.kind in ("RAW", "BLOB"):
            return value
        if value.type.is_text:
            return Typed(f"ora_hex_to_raw({value.sql})", to, value.nullable)
    raise inconsistent(label(to), value.type)


def unified(values: list[Typed], nls: Nls, follow: OraType | None = None) -> list[Typed]:
    """`values` brought to one type: that of `follow`, or of the first that is not NULL.

    Raises:
        OraError: ORA-00932 when a CASE, COALESCE or UNION mixes kinds and `follow` is None.
    """
    known = [v for v in values if not v.null]
    if not known:
        return values
    base = follow or known[0].type
    if follow is None:
        for value in known[1:]:
            _same_kind(base, value.type)
    if base.kind == "NUMBER":
        return _unified_numbers(
            [null_of(number((1, 0))) if v.null else as_number(v) for v in values]
        )
    if base.kind in ("VARCHAR2", "CHAR"):
        texts = [as_text(v, nls) for v in known]
        if any(t.type.kind == "CLOB" for t in texts):
            target = next(t.type for t in texts if t.type.kind == "CLOB")
        elif all(t.type == texts[0].type for t in texts):
            target = texts[0].type
        else:
            size, chars = max(t.type.size for t in texts), max(t.type.chars for t in texts)
            target = varchar2(size, chars)
        made = iter(texts)
        return [null_of(target) if v.null else replace(next(made), type=target) for v in values]
    if base.is_time and follow is None:
        order = ("DATE", "TIMESTAMP", "TSTZ")
        base = max((v.type for v in known), key=lambda t: order.index(t.kind))
    return [convert(v, base, nls) for v in values]


def _same_kind(base: OraType, other: OraType) -> None:
    groups = ({"VARCHAR2", "CHAR", "CLOB"}, {"DATE", "TIMESTAMP", "TSTZ"}, {"RAW"}, {"BLOB"})
    if base.kind == other.kind or any(base.kind in g and other.kind in g for g in groups):
        return
    raise OraError(932, label(base), label(other))


def _unified_numbers(values: list[Typed]) -> list[Typed]:
    fixed = values[0].type.fixed
    for value in values[1:]:
        fixed = widened(fixed, value.type.fixed)
    same = all(v.type == values[0].type for v in values)
    target = values[0].type if same and not any(v.null for v in values) else number(fixed)
    return [
        null_of(target) if v.null else replace(v, sql=number_as(v, fixed), type=target)
        for v in values
    ]


def need_text(value: Typed, what: str) -> str:
    """The text of a format model, which the stand-in must know before it runs the statement."""
    if value.text is None:
        raise unimplemented(f"{what} that is neither a literal nor a bind")
    return value.text
