"""Oracle's functions of rowids, and comparisons of ROWIDs that DuckDB answers by its zone maps."""

from __future__ import annotations

import re
from dataclasses import replace

from kpcluigi.rehearsal.oracle import segments, values
from kpcluigi.rehearsal.oracle import syntax as s
from kpcluigi.rehearsal.oracle.errors import OraError, unimplemented
from kpcluigi.rehearsal.oracle.functions import Functions, function
from kpcluigi.rehearsal.oracle.oratypes import ROWID
from kpcluigi.rehearsal.oracle.scope import Scope
from kpcluigi.rehearsal.oracle.values import Typed

_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_COLUMN = re.compile(r"\b_a\d+\b")
"""The aliases that compiled queries give their tables."""


def compared(op: str, left: Typed, right: Typed) -> str:
    """SQL that compares two values of which one is a ROWID."""
    left, right = values.as_rowid(left), values.as_rowid(right)
    if left.row is None and right.row is not None:
        left, right, op = right, left, _MIRRORED.get(op, op)
    if left.row is None or op == "<>" or _COLUMN.search(right.sql):
        return f"({left.sql} {op} {right.sql})"
    # A constant: row numbers of the table sort as its rowids do, and DuckDB skips what is outside.
    row, base = left.row
    after = op in ("<=", ">")
    bound = f"ora_first_row({right.sql}{' + 1' if after else ''}, {base}::HUGEINT)"
    if op == "=":
        return f"({row} = {bound} AND {left.sql} = {right.sql})"
    return f"({row} {'<' if op in ('<', '<=') else '>='} {bound})"


@function("ROWIDTOCHAR", 1)
def _rowid_to_char(f: Functions, node: s.Call, scope: Scope) -> Typed:
    return values.as_text(values.as_rowid(f.value(node.args[0], scope)), f.nls)


@function("CHARTOROWID", 1)
def _char_to_rowid(f: Functions, node: s.Call, scope: Scope) -> Typed:
    value = f.value(node.args[0], scope)
    if not value.type.is_text:
        raise values.inconsistent("ROWID", value.type)
    return replace(values.as_rowid(value), row=None)


@function("DBMS_ROWID.ROWID_CREATE", 5)
def _rowid_create(f: Functions, node: s.Call, scope: Scope) -> Typed:
    kind = node.args[0]
    if not (isinstance(kind, s.Number) and kind.value == 1):
        raise unimplemented("DBMS_ROWID.ROWID_CREATE of anything but an extended rowid, type 1")
    parts = [f.whole(a, scope) for a in node.args[1:]]
    shifts = (segments.OBJECT_SHIFT, segments.FILE_SHIFT, segments.BLOCK_SHIFT, 0)
    limits = (
        segments.MOST_OBJECT, segments.MOST_FILE, segments.MOST_BLOCK, segments.MOST_ROW,
    )  # fmt: skip
    fits = " AND ".join(f"{p} BETWEEN 0 AND {m}" for p, m in zip(parts, limits, strict=True))
    missing = " OR ".join(f"{p} IS NULL" for p in parts)
    sql = " + ".join(f"{p}::HUGEINT * {1 << h}" for p, h in zip(parts, shifts, strict=True))
    refusal = values.quoted(unimplemented("a part of a rowid out of its range").text)
    return Typed(
        f"CASE WHEN {missing} THEN NULL WHEN {fits} THEN {sql} ELSE error({refusal})::HUGEINT END",
        ROWID,
    )


_PARTS = {
    "ROWID_OBJECT": (segments.OBJECT_SHIFT, segments.MOST_OBJECT),
    "ROWID_RELATIVE_FNO": (segments.FILE_SHIFT, segments.MOST_FILE),
    "ROWID_BLOCK_NUMBER": (segments.BLOCK_SHIFT, segments.MOST_BLOCK),
    "ROWID_ROW_NUMBER": (0, segments.MOST_ROW),
}


@function(" ".join(f"DBMS_ROWID.{name}" for name in _PARTS), 1, 2)
def _part(f: Functions, node: s.Call, scope: Scope) -> Typed:
    if len(node.args) > 1 and node.path[-1] not in ("ROWID_RELATIVE_FNO", "ROWID_BLOCK_NUMBER"):
        raise OraError(6553, node.path[-1])
    if len(node.args) > 1 and node.args[1] != s.Text("SMALLFILE"):
        raise unimplemented(f"{'.'.join(node.path)} of anything but a SMALLFILE tablespace")
    value = values.as_rowid(f.value(node.args[0], scope))
    shift, most = _PARTS[node.path[-1]]
    return values.whole_number(f"(({value.sql} // {1 << shift}) % {most + 1})", value.nullable)
