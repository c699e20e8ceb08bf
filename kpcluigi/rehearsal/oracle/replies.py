"""TTC replies put together: protocol, status, errors, describes and the rows of a fetch."""

from __future__ import annotations

import struct

from kpcluigi.rehearsal.oracle import requests
from kpcluigi.rehearsal.oracle.oratypes import Kind, OraType
from kpcluigi.rehearsal.oracle.packets import MAX_SDU, SDU, Writer

TNS_VERSION = 317
FIELD_VERSION = 12
"""TTC field version of 19c: none of what 20c and later put on the wire."""

VERSION_NUMBER = 19 << 24 | 3 << 16
UTF8 = 873
IN_TRANSACTION = 2

_WIRE_TYPES: dict[Kind, int] = {
    "NUMBER": requests.NUMBER,
    "VARCHAR2": requests.VARCHAR,
    "CHAR": requests.CHAR,
    "DATE": requests.DATE_TYPE,
    "TIMESTAMP": requests.TIMESTAMP_TYPE,
    "TSTZ": requests.TSTZ_TYPE,
    "RAW": requests.RAW,
    "CLOB": requests.CLOB,
    "BLOB": requests.BLOB,
    "LONG": requests.LONG,
    "ROWID": requests.ROWID_TYPE,
}


def refusal(number: int) -> bytes:
    """The listener's refusal of a connect request."""
    text = (
        f"(DESCRIPTION=(TMP=)(VSNNUM={VERSION_NUMBER})(ERR={number})"
        f"(ERROR_STACK=(ERROR=(CODE={number})(EMFI=4))))"
    ).encode()
    return b"\0\0" + struct.pack(">H", len(text)) + text


def acceptance(sdu: int) -> bytes:
    out = Writer().uint16(TNS_VERSION).uint16(0)
    out += bytes(10)
    out.byte(0)
    out += bytes(9)
    out.uint32(sdu).uint32(2 * 1024 * 1024)
    out += bytes(12)
    return bytes(out)


def negotiated_sdu(request: bytes) -> int:
    """The SDU that the connect packet asks for, within limits."""
    asked = struct.unpack(">I", request[50:54])[0] if len(request) >= 54 else 0
    if not asked:
        asked = struct.unpack(">H", request[6:8])[0]
    return max(512, min(asked, MAX_SDU)) if asked else SDU


def protocol() -> bytes:
    out = Writer().byte(1, 6, 0)
    out += b"x86_64/Linux 2.4.xx\0"
    out += struct.pack("<H", UTF8)
    out.byte(1)
    out += struct.pack("<H", 0)
    field_descriptor = bytes(9) + b"\x07\xd0"
    out.uint16(len(field_descriptor))
    out += field_descriptor
    compile_time = bytearray(46)
    compile_time[7] = FIELD_VERSION
    run_time = bytearray(11)
    run_time[0] = 2
    return bytes(out.value(bytes(compile_time)).value(bytes(run_time)))


def data_types() -> bytes:
    """All types that the client offered are fine."""
    return b"\x02\0\0"


def pairs(items: list[tuple[str, str, int]]) -> bytes:
    """Return parameters of a logon: name, value and flags."""
    out = Writer().byte(8).number(len(items))
    for name, value, flags in items:
        out.sized(name.encode()).sized(value.encode()).number(flags)
    return bytes(out)


def status(in_transaction: bool) -> bytes:
    return bytes(Writer().byte(9).number(IN_TRANSACTION if in_transaction else 0, 0))


def outcome(
    in_transaction: bool,
    number: int = 0,
    text: str = "",
    cursor: int = 0,
    rows: int = 0,
    offset: int = 0,
) -> bytes:
    """The end of a call: an error's number and text, or zero and what was done."""
    out = Writer().byte(4).number(IN_TRANSACTION if in_transaction else 0, 0, 0)
    out.number(number & 0xFFFF, 0, 0, cursor, offset)
    out += bytes(6)  # SQL type, fatal, flags, cursor options, UPI, warning flags
    out.number(0, 0).byte(0).number(0, 0)  # row id
    out.number(0).byte(0, 0).number(0, 0, 0)  # OS error, statement, call, success iterations
    out.number(0, 0, 0)  # batch errors
    out.number(number, rows)
    if number:
        out.value((text + "\n").encode())
    return bytes(out)


def describe(names: tuple[str, ...], types: list[tuple[OraType, bool]]) -> bytes:
    """Names, types and nullability of a query's columns."""
    out = Writer().byte(16).value(bytes(4)).number(0, len(names)).byte(0)
    for name, (type_, nullable) in zip(names, types, strict=True):
        out.byte(_WIRE_TYPES[type_.kind], 0, type_.precision, type_.scale).number(type_.size)
        out.number(0, 0, 0, 0)
        out.number(UTF8 if type_.is_text else 0).byte(1 if type_.is_text else 0)
        out.number((type_.chars or type_.size) if type_.is_text else 0, 0)
        out.byte(1 if nullable else 0, 0).sized(name.encode())
        out.number(0, 0, 0, 0)
    return bytes(out.number(0, 0, 0, 0, 0, 0))


def execution() -> bytes:
    """The return parameters of an execute: none."""
    return bytes(Writer().byte(8).number(0, 0, 0, 0))


def row_header() -> bytes:
    return bytes(Writer().byte(6, 0).number(0, 0, 0, 0, 0, 0))


def lob_part(part: bytes, locator: bytes, amount: int) -> bytes:
    out = Writer()
    if part:
        out.byte(14).value(part)
    out.byte(8)
    out += locator
    return bytes(out.number(amount))
