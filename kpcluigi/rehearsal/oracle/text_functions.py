"""Oracle's functions of texts and bytes."""

from __future__ import annotations

from dataclasses import replace

from kpcluigi.rehearsal.oracle import syntax as s
from kpcluigi.rehearsal.oracle import values
from kpcluigi.rehearsal.oracle.errors import OraError, unimplemented
from kpcluigi.rehearsal.oracle.functions import Functions, function, small_constant
from kpcluigi.rehearsal.oracle.oratypes import number, varchar2
from kpcluigi.rehearsal.oracle.scope import Scope
from kpcluigi.rehearsal.oracle.values import Typed


@function("UPPER LOWER INITCAP", 1)
def _cased(f: Functions, node: s.Call, scope: Scope) -> Typed:
    value = f.text(node.args[0], scope)
    if node.path[0] == "INITCAP":
        return replace(value, sql=f"ora_initcap({value.sql})", text=None)
    return replace(value, sql=f"{node.path[0].lower()}({value.sql})", text=None)


@function("SUBSTR SUBSTRB", 2, 3)
def _substr(f: Functions, node: s.Call, scope: Scope) -> Typed:
    value = f.text(node.args[0], scope)
    if node.path[0] == "SUBSTRB":
        raise unimplemented("SUBSTRB")
    start = f.whole(node.args[1], scope)
    count = f.whole(node.args[2], scope) if len(node.args) > 2 else None
    length = f"length({value.sql})"
    # Position 0 counts as 1; a negative one counts from the end, and past the start gives NULL.
    at = (
        f"CASE WHEN {start} = 0 THEN 1 WHEN {start} > 0 THEN {start}"
        f" WHEN -{start} <= {length} THEN {length} + {start} + 1 ELSE {length} + 1 END"
    )
    first = small_constant(node.args[1])
    if first is not None and first >= 0:
        at = str(max(first, 1))
    amount = length if count is None else f"greatest({count}, 0)"
    known = small_constant(node.args[2]) if len(node.args) > 2 else None
    known = known if known is not None and known > 0 else None
    amount = amount if known is None else str(known)
    kind = value.type if value.type.kind == "CLOB" else varchar2(value.type.size, value.type.chars)
    if known and kind.kind != "CLOB":
        kind = varchar2(min(value.type.size, known * 4), min(value.type.chars, known))
    return Typed(f"nullif(substr({value.sql}, {at}, {amount}), '')", kind)


@function("LENGTH LENGTHB", 1)
def _length(f: Functions, node: s.Call, scope: Scope) -> Typed:
    value = f.value(node.args[0], scope)
    if value.type.kind in ("RAW", "BLOB"):
        double = 2 if value.type.kind == "RAW" and node.path[0] == "LENGTH" else 1
        return values.whole_number(f"octet_length({value.sql}) * {double}", nullable=True)
    text = values.as_text(value, f.nls)
    if text.type.kind == "CLOB" and node.path[0] == "LENGTHB":
        raise OraError(22998)
    called = "length" if node.path[0] == "LENGTH" else "strlen"
    return values.whole_number(f"{called}({text.sql})", text.nullable)


@function("LTRIM RTRIM", 1, 2)
def _side_trim(f: Functions, node: s.Call, scope: Scope) -> Typed:
    value = f.text(node.args[0], scope)
    what = "' '" if len(node.args) == 1 else f.text(node.args[1], scope).sql
    kind = value.type if value.type.kind == "CLOB" else varchar2(value.type.size, value.type.chars)
    return Typed(f"nullif({node.path[0].lower()}({value.sql}, {what}), '')", kind)


@function("INSTR", 2, 4)
def _instr(f: Functions, node: s.Call, scope: Scope) -> Typed:
    text, part = f.text(node.args[0], scope), f.text(node.args[1], scope)
    if len(node.args) == 2:
        return values.whole_number(f"instr({text.sql}, {part.sql})", nullable=True)
    start = f.whole(node.args[2], scope)
    nth = f.whole(node.args[3], scope) if len(node.args) > 3 else "1::BIGINT"
    return values.whole_number(f"ora_instr({text.sql}, {part.sql}, {start}, {nth})", nullable=True)


@function("REPLACE", 2, 3)
def _replace(f: Functions, node: s.Call, scope: Scope) -> Typed:
    text, old = f.text(node.args[0], scope), f.text(node.args[1], scope)
    new = f.text(node.args[2], scope).sql if len(node.args) > 2 else "''"
    sql = f"replace({text.sql}, {old.sql}, coalesce({new}, ''))"
    sql = f"nullif(CASE WHEN {old.sql} IS NULL THEN {text.sql} ELSE {sql} END, '')"
    return Typed(sql, text.type if text.type.kind == "CLOB" else varchar2(4000))


@function("TRANSLATE", 3)
def _translate(f: Functions, node: s.Call, scope: Scope) -> Typed:
    text, old, new = (f.text(a, scope) for a in node.args)
    sql = f"nullif(translate({text.sql}, {old.sql}, {new.sql}), '')"
    return Typed(sql, varchar2(text.type.size * 4))


@function("LPAD RPAD", 2, 3)
def _pad(f: Functions, node: s.Call, scope: Scope) -> Typed:
    text, width = f.text(node.args[0], scope), f.whole(node.args[1], scope)
    fill = "' '" if len(node.args) == 2 else f.text(node.args[2], scope).sql
    sql = f"{node.path[0].lower()}({text.sql}, CAST(greatest({width}, 0) AS INTEGER), {fill})"
    known = small_constant(node.args[1])
    return Typed(
        f"nullif({sql}, '')", varchar2(4000 if known is None else max(known, 0) * 4, known)
    )


@function("CONCAT", 2)
def _concat(f: Functions, node: s.Call, scope: Scope) -> Typed:
    return f.concatenated(f.value(node.args[0], scope), f.value(node.args[1], scope))


@function("CHR", 1)
def _chr(f: Functions, node: s.Call, scope: Scope) -> Typed:
    return Typed(f"chr(CAST({f.whole(node.args[0], scope)} AS INTEGER))", varchar2(4, 1))


@function("ASCII", 1)
def _ascii(f: Functions, node: s.Call, scope: Scope) -> Typed:
    return Typed(
        f"CAST(ora_ascii({f.text(node.args[0], scope).sql}) AS DECIMAL(18,0))", number((18, 0))
    )


@function("REGEXP_REPLACE REGEXP_SUBSTR REGEXP_COUNT REGEXP_INSTR", 2, 6)
def _regular_expressions(f: Functions, node: s.Call, scope: Scope) -> Typed:
    raise unimplemented(node.path[0])
