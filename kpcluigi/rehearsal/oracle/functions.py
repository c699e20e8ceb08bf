"""Oracle's single-row functions: how many arguments each takes, its type, and its DuckDB SQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal

from kpcluigi.rehearsal.oracle import syntax as s
from kpcluigi.rehearsal.oracle import values
from kpcluigi.rehearsal.oracle.errors import OraError, unimplemented
from kpcluigi.rehearsal.oracle.expressions import Expressions
from kpcluigi.rehearsal.oracle.oratypes import (
    DATE,
    MAX_DECIMAL,
    NUMBER,
    TIMESTAMP,
    TSTZ,
    OraType,
    number,
    varchar2,
)
from kpcluigi.rehearsal.oracle.scope import Scope
from kpcluigi.rehearsal.oracle.values import Typed

_DATE_UNITS = {
    "CC": "century", "YYYY": "year", "YEAR": "year", "SYYYY": "year", "YY": "year", "Y": "year",
    "Q": "quarter", "MM": "month", "MONTH": "month", "MON": "month", "IW": "week",
    "DD": "day", "DDD": "day", "J": "day", "HH": "hour", "HH24": "hour", "HH12": "hour",
    "MI": "minute",
}  # fmt: skip

_NOT_COVERED = frozenset(
    """
    ACOS ASCIISTR ASIN ATAN ATAN2 BITAND COMPOSE CONVERT COS DBTIMEZONE DUMP EMPTY_BLOB
    EMPTY_CLOB EXP FROM_TZ INSTRB JSON_OBJECT JSON_QUERY JSON_VALUE LN LNNVL LOG MONTHS_BETWEEN
    NANVL NEW_TIME NEXT_DAY NLSSORT NLS_LOWER NLS_UPPER NUMTODSINTERVAL NUMTOYMINTERVAL REMAINDER
    SESSIONTIMEZONE SIN SOUNDEX SQRT SYS_GUID TAN TIMESTAMP_TO_SCN
    TO_BINARY_DOUBLE TO_BINARY_FLOAT TO_DSINTERVAL TO_NCHAR TO_TIMESTAMP_TZ TO_YMINTERVAL UNISTR
    USERENV VSIZE WIDTH_BUCKET XMLELEMENT
    """.split()  # noqa: SIM905
)
"""Oracle's functions that are refused as such, unlike names that Oracle does not know either."""

Handler = Callable[["Functions", s.Call, Scope], Typed]


@dataclass(frozen=True)
class _Known:
    least: int
    most: int
    handler: Handler


_FUNCTIONS: dict[str, _Known] = {}


def function(name: str, least: int, most: int | None = None) -> Callable[[Handler], Handler]:
    def noted(handler: Handler) -> Handler:
        for one in name.split():
            _FUNCTIONS[one] = _Known(least, least if most is None else most, handler)
        return handler

    return noted


class Functions(Expressions):
    """Calls by name; aggregates and window functions come from `aggregates`."""

    def call(self, node: s.Call, scope: Scope) -> Typed:
        packaged = len(node.path) > 1
        path = node.path[1:] if node.path[0] == "SYS" else node.path
        known = _FUNCTIONS.get(".".join(path))
        if known is not None:
            if node.distinct or node.over or node.within or node.star:
                raise OraError(30482 if node.over else 907)
            if packaged and not known.least <= len(node.args) <= known.most:
                raise OraError(6553, node.path[-1])
            if len(node.args) < known.least:
                raise OraError(938 if node.args else 909, offset=node.offset)
            if len(node.args) > known.most:
                raise OraError(939, offset=node.offset)
            return known.handler(self, node, scope)
        if path in _NULLARY and not node.args and self.around.privileges.may_execute(path[0]):
            return _NULLARY[path](self)
        if path not in _NULLARY and self._is_oracles(node.path):
            raise unimplemented(".".join(node.path))
        shown = ".".join(f'"{p}"' for p in node.path)
        raise OraError(904, shown, offset=node.offset)

    @staticmethod
    def _is_oracles(path: tuple[str, ...]) -> bool:
        """Whether Oracle knows the function, although the stand-in does not."""
        return path[-1] in _NOT_COVERED or path[0].startswith(("DBMS_", "UTL_"))

    def pseudo(self, name: str, scope: Scope) -> Typed | None:
        moment = _MOMENTS.get(name)
        if moment is not None:
            return self.now(*moment)
        if name == "USER":
            return Typed(values.quoted(self.around.user), varchar2(128), nullable=False)
        if name in ("LEVEL", "UID", "ORA_ROWSCN"):
            raise unimplemented(name)
        return None

    def now(self, type_: OraType, local: bool) -> Typed:
        """The present: `local` in the session's zone, else in the server's, which is Bangkok's."""
        east = self.nls.time_zone if local else 420
        utc = "(now()::TIMESTAMPTZ AT TIME ZONE 'UTC')"
        if type_.kind == "TSTZ":
            return Typed(f"struct_pack(u := {utc}, o := {east}::SMALLINT)", type_, nullable=False)
        moment = f"({utc} + to_minutes({east}))"
        if type_.kind == "DATE":
            moment = f"date_trunc('second', {moment})"
        return Typed(moment, type_, nullable=False)

    def text(self, node: s.Value, scope: Scope) -> Typed:
        return values.as_text(self.value(node, scope), self.nls)

    def number(self, node: s.Value, scope: Scope) -> Typed:
        return values.as_number(self.value(node, scope))

    def whole(self, node: s.Value, scope: Scope) -> str:
        """SQL for an argument that counts characters: cut to a whole number."""
        value = self.number(node, scope)
        if value.type.fixed is not None and value.type.fixed[1] == 0:
            return f"CAST({value.sql} AS BIGINT)"
        return f"CAST(ora_truncate({values.canonical_sql(value)}, 0) AS BIGINT)"


_MOMENTS = {
    "SYSDATE": (DATE, False),
    "SYSTIMESTAMP": (TSTZ, False),
    "CURRENT_DATE": (DATE, True),
    "CURRENT_TIMESTAMP": (TSTZ, True),
    "LOCALTIMESTAMP": (TIMESTAMP, True),
}


def _system_change_number(f: Functions) -> Typed:
    f.parameters.fixed_by_value = True
    return values.whole_number(str(f.around.current_scn()))


_NULLARY: dict[tuple[str, ...], Callable[[Functions], Typed]] = {
    ("DBMS_FLASHBACK", "GET_SYSTEM_CHANGE_NUMBER"): _system_change_number,
}


# -- NULLs and choices


@function("NVL", 2)
def _nvl(f: Functions, node: s.Call, scope: Scope) -> Typed:
    first, second = (f.value(a, scope) for a in node.args)
    follow = None if first.null else first.type
    first, second = values.unified([first, second], f.nls, follow)
    sql = f"coalesce({first.sql}, {second.sql})"
    return Typed(sql, _computed(first.type), first.nullable and second.nullable)


@function("NVL2", 3)
def _nvl2(f: Functions, node: s.Call, scope: Scope) -> Typed:
    test = f.value(node.args[0], scope)
    then, other = (f.value(a, scope) for a in node.args[1:])
    then, other = values.unified([then, other], f.nls, None if then.null else then.type)
    sql = f"CASE WHEN {test.sql} IS NOT NULL THEN {then.sql} ELSE {other.sql} END"
    return Typed(sql, _computed(then.type), then.nullable or other.nullable)


@function("COALESCE", 2, 1000)
def _coalesce(f: Functions, node: s.Call, scope: Scope) -> Typed:
    given = values.unified([f.value(a, scope) for a in node.args], f.nls)
    sql = f"coalesce({', '.join(v.sql for v in given)})"
    return Typed(sql, _computed(given[0].type), all(v.nullable for v in given))


@function("NULLIF", 2)
def _nullif(f: Functions, node: s.Call, scope: Scope) -> Typed:
    first = f.value(node.args[0], scope)
    if first.null:
        raise OraError(932, "-", "CHAR")
    same = f.compared("=", node.args[0], node.args[1], scope)
    return Typed(f"CASE WHEN {same} THEN NULL ELSE {first.sql} END", _computed(first.type))


@function("DECODE", 3, 255)
def _decode(f: Functions, node: s.Call, scope: Scope) -> Typed:
    tested, rest = node.args[0], node.args[1:]
    pairs = [(rest[i], rest[i + 1]) for i in range(0, len(rest) - 1, 2)]
    results = [f.value(r, scope) for _, r in pairs]
    results.append(f.value(rest[-1], scope) if len(rest) % 2 else values.NULL)
    # The type is the first result's; a NULL there counts as VARCHAR2.
    follow = values.NULL.type if results[0].null else results[0].type
    unified = values.unified(results, f.nls, follow)
    sql = "CASE"
    operand = f.value(tested, scope)
    for (search, _), result in zip(pairs, unified, strict=False):
        x, y = values.comparable(operand, f.value(search, scope), f.nls)
        sql += f" WHEN {x} IS NOT DISTINCT FROM {y} THEN {result.sql}"
    return Typed(f"{sql} ELSE {unified[-1].sql} END", _computed(unified[0].type))


@function("GREATEST LEAST", 1, 1000)
def _extreme(f: Functions, node: s.Call, scope: Scope) -> Typed:
    given = [f.value(a, scope) for a in node.args]
    unified = values.unified(given, f.nls, None if given[0].null else given[0].type)
    if unified[0].type.kind == "TSTZ" or (
        unified[0].type.kind == "NUMBER" and unified[0].type.fixed is None
    ):
        raise unimplemented(f"{node.path[0]} of {unified[0].type.kind} without precision or zone")
    missing = " OR ".join(f"{v.sql} IS NULL" for v in unified)
    sql = f"{node.path[0].lower()}({', '.join(v.sql for v in unified)})"
    return Typed(f"CASE WHEN {missing} THEN NULL ELSE {sql} END", _computed(unified[0].type))


def _computed(type_: OraType) -> OraType:
    return number(type_.fixed) if type_.kind == "NUMBER" else type_


# -- numbers


@function("MOD", 2)
def _mod(f: Functions, node: s.Call, scope: Scope) -> Typed:
    left, right = (f.number(a, scope) for a in node.args)
    fixed = values.widened(left.type.fixed, right.type.fixed)
    if fixed is None:
        sql = f"ora_modulo({values.canonical_sql(left)}, {values.canonical_sql(right)})"
        return Typed(sql, NUMBER, left.nullable or right.nullable)
    a, b = values.number_as(left, fixed), values.number_as(right, fixed)
    sql = f"CASE WHEN {b} = 0 THEN {a} ELSE {a} % CASE WHEN {b} = 0 THEN 1 ELSE {b} END END"
    cast = f"CAST({sql} AS DECIMAL({fixed[0]},{fixed[1]}))"
    return Typed(cast, number(fixed), left.nullable or right.nullable)


@function("CEIL FLOOR", 1)
def _ceil_floor(f: Functions, node: s.Call, scope: Scope) -> Typed:
    name = node.path[0].lower()
    inner = node.args[0]
    if isinstance(inner, s.Binary) and inner.op == "/":
        quick = _whole_quotient(f, name, inner, scope)
        if quick is not None:
            return quick
    value = f.number(inner, scope)
    if value.type.fixed is None:
        return Typed(f"ora_{name}({value.sql})", NUMBER, value.nullable)
    digits = min(value.type.fixed[0] + 1, MAX_DECIMAL)
    sql = f"CAST({name}({value.sql}) AS DECIMAL({digits},0))"
    return Typed(sql, number((digits, 0)), value.nullable)


def _whole_quotient(f: Functions, name: str, node: s.Binary, scope: Scope) -> Typed | None:
    """CEIL or FLOOR of the quotient of two whole numbers, which BIGINTs do exactly and fast."""
    sides = [f.value(node.left, scope), f.value(node.right, scope)]
    if any(v.type.kind != "NUMBER" or v.null for v in sides):
        return None
    if any(v.type.fixed is None or v.type.fixed[1] or v.type.fixed[0] > 18 for v in sides):
        return None
    a, b = (f"CAST({v.sql} AS BIGINT)" for v in sides)
    up = "> 0" if name == "ceil" else "< 0"
    step = "+ 1" if name == "ceil" else "- 1"
    zero = f"CASE WHEN {b} = 0 THEN error('{OraError(1476).text}')::BIGINT ELSE {b} END"
    away = f"CASE WHEN {a} % {b} <> 0 AND (sign({a}) * sign({b})) {up} THEN {step[0]}1 ELSE 0 END"
    sql = f"({a} // {zero} + {away})"
    return values.whole_number(sql, any(v.nullable for v in sides))


@function("ABS", 1)
def _abs(f: Functions, node: s.Call, scope: Scope) -> Typed:
    value = f.number(node.args[0], scope)
    if value.type.fixed is None:
        return Typed(f"ltrim({value.sql}, '-')", NUMBER, value.nullable)
    return Typed(f"abs({value.sql})", number(value.type.fixed), value.nullable)


@function("SIGN", 1)
def _sign(f: Functions, node: s.Call, scope: Scope) -> Typed:
    value = f.number(node.args[0], scope)
    if value.type.fixed is None:
        sql = f"CASE WHEN {value.sql} = '0' THEN 0 WHEN {value.sql} LIKE '-%' THEN -1 ELSE 1 END"
        sql = f"CASE WHEN {value.sql} IS NOT NULL THEN {sql} END"
    else:
        sql = f"sign({value.sql})"
    return values.whole_number(sql, value.nullable)


@function("POWER", 2)
def _power(f: Functions, node: s.Call, scope: Scope) -> Typed:
    left, right = (values.canonical_sql(f.number(a, scope)) for a in node.args)
    return Typed(f"ora_power({left}, {right})", NUMBER)


def _rounded(f: Functions, node: s.Call, scope: Scope, truncates: bool) -> Typed:
    value = values.as_number(f.value(node.args[0], scope))
    called = "ora_truncate" if truncates else "ora_round"
    places = node.args[1] if len(node.args) > 1 else s.Number(Decimal(0))
    known = small_constant(places)
    if known is None:
        sql = f"{called}({values.canonical_sql(value)}, {f.whole(places, scope)}::INTEGER)"
        return Typed(sql, NUMBER, value.nullable)
    fixed = value.type.fixed
    if fixed is None:
        return Typed(f"{called}({value.sql}, {known})", NUMBER, value.nullable)
    if known >= fixed[1]:
        return replace(value, type=number(fixed))
    digits = (min(fixed[0] - fixed[1] + max(known, 0) + 1, MAX_DECIMAL), max(known, 0))
    sql = f"{called}({values.canonical_sql(value)}, {known})"
    return Typed(f"CAST({sql} AS DECIMAL({digits[0]},{digits[1]}))", number(digits), value.nullable)


def small_constant(node: s.Value) -> int | None:
    if isinstance(node, s.Negative):
        inner = small_constant(node.value)
        return None if inner is None else -inner
    if isinstance(node, s.Number) and node.value == int(node.value):
        return int(node.value)
    return None


@function("TRUNC ROUND", 1, 2)
def _trunc(f: Functions, node: s.Call, scope: Scope) -> Typed:
    value = f.value(node.args[0], scope)
    truncates = node.path[0] == "TRUNC"
    if not value.type.is_time:
        return _rounded(f, node, scope, truncates)
    if not truncates:
        raise unimplemented("ROUND of a date")
    moment = values.convert(value, DATE, f.nls)
    unit = "DD"
    if len(node.args) > 1:
        unit = f.bind_text(f.value(node.args[1], scope), node.args[1], "a unit of TRUNC").upper()
    if unit not in _DATE_UNITS:
        if unit in ("WW", "W", "DAY", "DY", "D", "IYYY"):
            raise unimplemented(f"TRUNC(date, '{unit}')")
        raise OraError(1898)
    return Typed(
        f"date_trunc('{_DATE_UNITS[unit]}', {moment.sql})::TIMESTAMP", DATE, value.nullable
    )
