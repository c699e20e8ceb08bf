"""Oracle's functions of bytes and hashes: RAWTOHEX, STANDARD_HASH, ORA_HASH, UTL_RAW, DBMS_LOB."""

from __future__ import annotations

from kpcluigi.rehearsal.oracle import syntax as s
from kpcluigi.rehearsal.oracle import values
from kpcluigi.rehearsal.oracle.errors import unimplemented
from kpcluigi.rehearsal.oracle.functions import Functions, function
from kpcluigi.rehearsal.oracle.oratypes import OraType, varchar2
from kpcluigi.rehearsal.oracle.scope import Scope
from kpcluigi.rehearsal.oracle.values import Typed

_METHODS = {
    "MD5": ("md5({})", 16),
    "SHA1": ("sha1({})", 20),
    "SHA256": ("sha256({})", 32),
    "SHA384": ("ora_sha('sha384', {})", 48),
    "SHA512": ("ora_sha('sha512', {})", 64),
}
_HASHED = "unhex("
"""How SQL for a hash begins; its hexadecimal digits stand inside."""


@function("RAWTOHEX", 1)
def _raw_to_hex(f: Functions, node: s.Call, scope: Scope) -> Typed:
    value = values.convert(f.value(node.args[0], scope), OraType("RAW", size=2000), f.nls)
    kind = varchar2(value.type.size * 2)
    if value.sql.startswith(_HASHED):
        return Typed(f"upper({value.sql[len(_HASHED) : -1]})", kind, value.nullable)
    return Typed(f"upper(hex({value.sql}))", kind, value.nullable)


@function("HEXTORAW", 1)
def _hex_to_raw(f: Functions, node: s.Call, scope: Scope) -> Typed:
    text = f.text(node.args[0], scope)
    return Typed(f"ora_hex_to_raw({text.sql})", OraType("RAW", size=(text.type.size + 1) // 2))


@function("STANDARD_HASH", 1, 2)
def _standard_hash(f: Functions, node: s.Call, scope: Scope) -> Typed:
    value = f.value(node.args[0], scope)
    method = "SHA1"
    if len(node.args) > 1:
        given = f.value(node.args[1], scope)
        method = f.bind_text(given, node.args[1], "the method of STANDARD_HASH").upper()
    if method not in _METHODS:
        raise unimplemented(f"STANDARD_HASH(…, '{method}')")
    kind = value.type.kind
    if kind == "NUMBER":
        # What Oracle hashes is a number as it is stored, which is also how it goes on the wire.
        data = f"ora_number_key({values.canonical_sql(value)})"
    elif kind in ("VARCHAR2", "CHAR", "RAW"):
        data = value.sql
        if method in ("SHA384", "SHA512") and kind != "RAW":
            data = f"encode({data})"
    else:
        # The inner form of a moment depends on where it comes from.
        raise unimplemented(f"STANDARD_HASH of a {kind}; it can be hashed as TO_CHAR writes it")
    if value.nullable:
        refusal = values.quoted(unimplemented("STANDARD_HASH of a NULL").text)
        data = f"coalesce({data}, CAST(error({refusal}) AS {_engine_type(kind, data)}))"
    called, size = _METHODS[method]
    return Typed(f"{_HASHED}{called.format(data)})", OraType("RAW", size=size), nullable=False)


def _engine_type(kind: str, data: str) -> str:
    is_text = kind in ("VARCHAR2", "CHAR") and not data.startswith("encode(")
    return "VARCHAR" if is_text else "BLOB"


@function("ORA_HASH", 1, 3)
def _ora_hash(f: Functions, node: s.Call, scope: Scope) -> Typed:
    # Oracle does not document the algorithm; here it is another, as stable and as even.
    value = f.value(node.args[0], scope)
    if value.type.is_lob or value.type.kind == "LONG":
        raise values.inconsistent("-", value.type)
    text = values.as_text(value, f.nls)
    most = f.whole(node.args[1], scope) if len(node.args) > 1 else "4294967295::BIGINT"
    seed = f.whole(node.args[2], scope) if len(node.args) > 2 else "0::BIGINT"
    hashed = f"hash(coalesce({text.sql}, '') || '|' || {seed}::VARCHAR)"
    return values.whole_number(f"({hashed} % (({most})::UBIGINT + 1))")


@function("UTL_RAW.LENGTH", 1)
def _raw_length(f: Functions, node: s.Call, scope: Scope) -> Typed:
    value = values.convert(f.value(node.args[0], scope), OraType("RAW", size=2000), f.nls)
    if value.type.kind != "RAW":
        raise unimplemented(f"UTL_RAW.LENGTH of a {value.type.kind}")
    return values.whole_number(f"octet_length({value.sql})", nullable=True)


@function("DBMS_LOB.GETLENGTH", 1)
def _lob_length(f: Functions, node: s.Call, scope: Scope) -> Typed:
    value = f.value(node.args[0], scope)
    if not value.type.is_lob:
        raise unimplemented(f"DBMS_LOB.GETLENGTH of a {value.type.kind}")
    called = "length" if value.type.kind == "CLOB" else "octet_length"
    return values.whole_number(f"{called}({value.sql})", nullable=True)
