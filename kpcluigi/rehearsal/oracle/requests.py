"""TTC requests taken apart: logon, execute, fetch, LOB reads, piggybacks and bind values."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from kpcluigi.rehearsal.oracle import oranumber
from kpcluigi.rehearsal.oracle.binds import Bound, number_bind
from kpcluigi.rehearsal.oracle.errors import unimplemented
from kpcluigi.rehearsal.oracle.oratypes import DATE, TIMESTAMP, TSTZ, OraType, number, varchar2
from kpcluigi.rehearsal.oracle.packets import Reader

VARCHAR, NUMBER, LONG, DATE_TYPE, RAW, LONG_RAW, CHAR = 1, 2, 8, 12, 23, 24, 96
CLOB, BLOB, TIMESTAMP_TYPE, TSTZ_TYPE, TSLTZ_TYPE = 112, 113, 180, 181, 231
ROWID_TYPE = 11

PARSE, BIND, DEFINE, EXECUTE, FETCH = 0x01, 0x08, 0x10, 0x20, 0x40
ROW_DATA = 7
TEXT_BUCKETS = (32, 128, 2000, 4000)
"""Oracle rounds the size of a text bind up to one of these, so that statements are shared."""


@dataclass(frozen=True)
class BindInfo:
    """What the client says of one place holder: the type on the wire and the largest size."""

    type: int
    size: int


@dataclass
class Execute:
    """An execute request; `sql` is empty when the cursor's statement is run again."""

    options: int
    cursor: int
    sql: str
    rows: int
    defines: list[BindInfo]
    binds: list[BindInfo]
    batch: list[tuple[Bound, ...]] = field(default_factory=list)


def read_logon(reader: Reader) -> tuple[str, dict[str, str]]:
    """The user's name and the pairs of a logon request."""
    reader.byte()
    length = reader.number()
    reader.number()
    reader.byte()
    count = reader.number()
    reader.skip(2)
    user = (reader.value() or b"").decode() if length else ""
    pairs = {}
    for _ in range(count):
        name = reader.sized().decode().rstrip("\0")
        pairs[name] = reader.sized().decode()
        reader.number()
    return user, pairs


def read_execute(reader: Reader) -> Execute:
    """An execute request (TTC function 94) at field version 12."""
    options, cursor = reader.numbers(2)
    reader.byte()
    reader.number()
    reader.byte()
    reader.number()
    reader.skip(2)
    reader.number()
    rows = reader.number()
    reader.number()
    reader.byte()
    bind_count = reader.number()
    reader.skip(5)
    reader.byte()
    define_count = reader.number()
    reader.number()
    reader.skip(3)
    reader.number()
    reader.byte()
    reader.numbers(2)
    for _ in range(2):  # DML row counts, then the SQL's signature
        reader.byte()
        reader.number()
        reader.byte()
    reader.number()
    reader.byte()
    reader.byte()
    reader.number()
    sql = (reader.value() or b"").decode() if options & PARSE else ""
    reader.numbers(13)
    defines = _bind_infos(reader, define_count) if options & DEFINE else []
    binds = _bind_infos(reader, bind_count) if bind_count and not defines else []
    return Execute(options, cursor, sql, rows, defines, binds)


def _bind_infos(reader: Reader, count: int) -> list[BindInfo]:
    found = []
    for _ in range(count):
        kind = reader.byte()
        reader.skip(3)
        size = reader.number()
        reader.numbers(2)
        reader.sized()
        reader.numbers(2)
        reader.byte()
        reader.numbers(2)
        found.append(BindInfo(kind, size))
    return found


def read_batch(reader: Reader, infos: Sequence[BindInfo]) -> list[tuple[Bound, ...]]:
    """The rows of bind values that follow a request."""
    batch = []
    while infos and reader.left and reader.data[reader.at] == ROW_DATA:
        reader.byte()
        batch.append(_bind_row(reader, infos))
    return batch


def _bind_row(reader: Reader, infos: Sequence[BindInfo]) -> tuple[Bound, ...]:
    row: list[Bound | None] = [None] * len(infos)
    # Values that may be long come after the others.
    order = sorted(range(len(infos)), key=lambda i: infos[i].size > 4000)
    for i in order:
        if infos[i].type in (CLOB, BLOB):
            raise unimplemented("binding a LOB; bind a str or bytes")
        row[i] = _bound(infos[i], reader.value())
    return tuple(b for b in row if b is not None)


def _bound(info: BindInfo, data: bytes | None) -> Bound:
    if info.type in (VARCHAR, CHAR, LONG):
        return _text(data)
    if info.type == NUMBER:
        if data is None:
            return Bound(None, number((18, 0)))
        return number_bind(oranumber.decode(data))
    if info.type in (RAW, LONG_RAW):
        size = 2000 if info.type == RAW else 4000
        return Bound(data, OraType("RAW" if info.type == RAW else "BLOB", size=size))
    kind = {DATE_TYPE: DATE, TIMESTAMP_TYPE: TIMESTAMP, TSTZ_TYPE: TSTZ}.get(info.type)
    if kind is None:
        raise unimplemented(f"a bind of the driver's type {info.type}")
    if data is None:
        return Bound(None, kind)
    moment, offset = _moment(data)
    return Bound(moment, kind, offset)


def _text(data: bytes | None) -> Bound:
    if data is None:
        return Bound(None, varchar2(32))
    for size in TEXT_BUCKETS:
        if len(data) <= size:
            return Bound(data.decode(), varchar2(size))
    return Bound(data.decode(), OraType("CLOB", size=4000))


def _moment(data: bytes) -> tuple[dt.datetime, int]:
    """The moment and, of a TIMESTAMP WITH TIME ZONE, the minutes east of UTC."""
    year = (data[0] - 100) * 100 + data[1] - 100
    micro = int.from_bytes(data[7:11], "big") // 1000 if len(data) >= 11 else 0
    parts = (data[2], data[3], data[4] - 1, data[5] - 1, data[6] - 1)
    offset = (data[11] - 20) * 60 + data[12] - 60 if len(data) >= 13 else 0
    return dt.datetime(year, *parts, micro), offset


@dataclass(frozen=True)
class LobRead:
    """A LOB operation: its number, the locator, and for a read the first position and amount."""

    operation: int
    locator: bytes
    offset: int
    amount: int


READ_LOB, LOB_LENGTH = 2, 1


def read_lob(reader: Reader) -> LobRead:
    reader.byte()
    length = reader.number()
    reader.byte()
    reader.numbers(3)
    reader.skip(3)
    operation = reader.number()
    reader.skip(2)
    offset = reader.number()
    reader.number()
    has_amount = reader.byte()
    reader.skip(6)
    locator = reader.raw(length)
    return LobRead(operation, locator, offset, reader.number() if has_amount else 0)


def read_closed_cursors(reader: Reader) -> list[int]:
    """The cursors that the client is done with."""
    reader.byte()
    return reader.numbers(reader.number())


def read_end_to_end(reader: Reader) -> dict[str, str]:
    """The end-to-end metrics that the client sets: module, action, client_identifier."""
    reader.skip(2)
    reader.number()
    lengths: dict[str, int] = {}

    def announced(name: str) -> None:
        present, length = reader.byte(), reader.number()
        if present:
            lengths[name] = length

    for name in ("client_identifier", "module", "action"):
        announced(name)
    for name in ("client_info", "dbop"):
        reader.byte()
        reader.number()
        reader.byte()
        reader.number()
        announced(name)
    values: dict[str, str] = {}
    for name, length in lengths.items():
        # A name set to None sends nothing here, one set to "" a length of zero; what follows the
        # piggyback is a message type, which is never zero
        sent = length > 0 or (reader.peek() == 0)
        values[name] = (reader.value() or b"").decode() if sent else ""
    return values


def shown(bound: Bound) -> object:
    """A bind value as the log shows it."""
    value = bound.value
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else str(value)
    if isinstance(value, dt.datetime):
        return value.isoformat(" ")
    return value.hex() if isinstance(value, bytes) else value
