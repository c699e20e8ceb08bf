"""Oracle's conversions between texts, numbers and moments, and functions of moments."""

from __future__ import annotations

from dataclasses import replace

from kpcluigi.rehearsal.oracle import oradate, values
from kpcluigi.rehearsal.oracle import syntax as s
from kpcluigi.rehearsal.oracle.errors import OraError, unimplemented
from kpcluigi.rehearsal.oracle.functions import Functions, function
from kpcluigi.rehearsal.oracle.oratypes import DATE, TIMESTAMP, OraType, varchar2
from kpcluigi.rehearsal.oracle.scope import Scope
from kpcluigi.rehearsal.oracle.values import Typed


@function("TO_CHAR", 1, 3)
def _to_char(f: Functions, node: s.Call, scope: Scope) -> Typed:
    value = f.value(node.args[0], scope)
    if len(node.args) == 1:
        text = values.as_text(value, f.nls)
        return varchar(text) if text.type.kind != "CLOB" else _short(text)
    model = f.bind_text(f.value(node.args[1], scope), node.args[1], "a format model")
    if value.type.is_time:
        return values.moment_text(value, model)
    given = values.as_number(value)
    point, group = f.nls.numeric_characters[0], f.nls.numeric_characters[1]
    if len(node.args) > 2:
        setting = f.bind_text(f.value(node.args[2], scope), node.args[2], "an NLS parameter")
        point, group = _numeric_characters(setting)
    # Both are checked before any row is, as Oracle does.
    if model.upper() in ("TM", "TM9") and point == ".":
        return values.number_text(given)
    text_sql = values.canonical_sql(given)
    marks = f"{values.quoted(model)}, {values.quoted(point)}, {values.quoted(group)}"
    size = 64 if model.upper().startswith("TM") else len(model) + 2
    return Typed(f"ora_number_to_char({text_sql}, {marks})", varchar2(size), given.nullable)


def _short(text: Typed) -> Typed:
    """A CLOB as VARCHAR2; ORA-22835 when it is too long."""
    before, _, after = OraError(22835, "{}", 4000).text.partition("{}")
    refusal = f"{values.quoted(before)} || strlen({text.sql}) || {values.quoted(after)}"
    sql = f"CASE WHEN strlen({text.sql}) > 4000 THEN error({refusal})::VARCHAR ELSE {text.sql} END"
    return Typed(sql, varchar2(4000), text.nullable)


def _numeric_characters(setting: str) -> tuple[str, str]:
    name, _, value = setting.partition("=")
    marks = value.strip().strip("'")
    if name.strip().upper() != "NLS_NUMERIC_CHARACTERS" or len(marks) != 2:
        raise OraError(12702)
    return marks[0], marks[1]


def varchar(text: Typed) -> Typed:
    return replace(text, type=varchar2(text.type.size, text.type.chars))


@function("TO_NUMBER", 1, 3)
def _to_number(f: Functions, node: s.Call, scope: Scope) -> Typed:
    if len(node.args) > 1:
        raise unimplemented("TO_NUMBER with a format model")
    return values.as_number(f.value(node.args[0], scope))


@function("TO_DATE TO_TIMESTAMP", 1, 3)
def _to_moment(f: Functions, node: s.Call, scope: Scope) -> Typed:
    is_date = node.path[0] == "TO_DATE"
    value = f.value(node.args[0], scope)
    if value.type.is_time and is_date:
        # TO_DATE of a date goes through its text, as Oracle does.
        value = values.as_text(value, f.nls)
    elif value.type.is_time:
        return values.convert(value, TIMESTAMP, f.nls)
    text = values.as_text(value, f.nls)
    model = f.nls.date_format if is_date else f.nls.timestamp_format
    if len(node.args) > 1:
        model = f.bind_text(f.value(node.args[1], scope), node.args[1], "a format model")
    if len(node.args) > 2:
        raise unimplemented(f"{node.path[0]} with an NLS parameter")
    if is_date and any(p.upper().startswith(("FF", "TZ")) for p in oradate.elements(model)):
        raise OraError(1821)
    called = "ora_to_date" if is_date else "ora_to_timestamp"
    sql = f"{called}({text.sql}, {values.quoted(model)})"
    return Typed(sql, DATE if is_date else TIMESTAMP, text.nullable)


@function("TO_CLOB", 1)
def _to_clob(f: Functions, node: s.Call, scope: Scope) -> Typed:
    return replace(f.text(node.args[0], scope), type=OraType("CLOB", size=4000), text=None)


@function("ADD_MONTHS", 2)
def _add_months(f: Functions, node: s.Call, scope: Scope) -> Typed:
    moment = values.convert(f.value(node.args[0], scope), DATE, f.nls)
    months = f.whole(node.args[1], scope)
    sql = f"ora_add_months({moment.sql}, CAST({months} AS INTEGER))"
    return Typed(sql, DATE, moment.nullable)


@function("LAST_DAY", 1)
def _last_day(f: Functions, node: s.Call, scope: Scope) -> Typed:
    moment = values.convert(f.value(node.args[0], scope), DATE, f.nls)
    time = f"({moment.sql} - date_trunc('day', {moment.sql}))"
    return Typed(f"(last_day({moment.sql})::TIMESTAMP + {time})", DATE, moment.nullable)


@function("SYS_EXTRACT_UTC", 1)
def _extract_utc(f: Functions, node: s.Call, scope: Scope) -> Typed:
    value = f.value(node.args[0], scope)
    if value.type.kind not in ("TSTZ", "TIMESTAMP"):
        raise OraError(30175)
    return Typed(values.in_utc(value, f.nls), TIMESTAMP, value.nullable)


@function("SYS_CONTEXT", 2, 3)
def _sys_context(f: Functions, node: s.Call, scope: Scope) -> Typed:
    space, name = (
        f.bind_text(f.value(a, scope), a, "a parameter of SYS_CONTEXT").upper()
        for a in node.args[:2]
    )
    if space != "USERENV":
        return replace(values.NULL, type=varchar2(256), null=False)
    if name not in f.around.context:
        raise OraError(2003)
    f.parameters.fixed_by_value = True
    found = f.around.context[name]
    sql = "CAST(NULL AS VARCHAR)" if found is None else values.quoted(found)
    return Typed(sql, varchar2(256), found is None)


@function("SCN_TO_TIMESTAMP", 1)
def _scn_to_timestamp(f: Functions, node: s.Call, scope: Scope) -> Typed:
    # The server's clock is Bangkok's.
    return Typed(f"(ora_scn_time({f.whole(node.args[0], scope)}) + to_minutes(420))", TIMESTAMP)
