"""Rows on the wire: columns of a slice are encoded one at a time, then woven into rows.

A row is the byte 7 and then, per column, a length byte and the value. Columns come as Arrow arrays
and are encoded with numpy; only long texts, LOBs and NUMBERs without precision pass through Python
one value at a time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kpcluigi.rehearsal.oracle import oranumber, segments
from kpcluigi.rehearsal.oracle.oratypes import OraType

ROW = 7
MAX_SHORT = 252
CHUNK = 32767
_MICRO = 1_000_000

Bytes = npt.NDArray[np.uint8]
Lengths = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Cells:
    """The encoded values of a column, one after the other, and the length of each."""

    data: Bytes
    lengths: Lengths


def long_value(data: bytes) -> bytes:
    """A value with its length: one byte, or 254 and pieces that each carry theirs."""
    if len(data) <= MAX_SHORT:
        return bytes([len(data)]) + data
    out = bytearray(b"\xfe")
    for at in range(0, len(data), CHUNK):
        piece = data[at : at + CHUNK]
        size = (len(piece).bit_length() + 7) // 8
        out += bytes([size]) + len(piece).to_bytes(size, "big") + piece
    out.append(0)
    return bytes(out)


def weave(columns: Sequence[Cells], rows: int) -> bytes:
    """The rows made of `columns`."""
    sizes = np.empty((rows, len(columns) + 1), dtype=np.int64)
    sizes[:, 0] = 1
    for i, column in enumerate(columns, 1):
        sizes[:, i] = column.lengths
    ends = np.cumsum(sizes.ravel())
    starts = (ends - sizes.ravel()).reshape(rows, len(columns) + 1)
    out = np.empty(int(ends[-1]) if rows else 0, dtype=np.uint8)
    out[starts[:, 0]] = ROW
    for i, column in enumerate(columns, 1):
        lengths = column.lengths
        if (lengths == lengths[0]).all():
            # Cells of one length need no per-byte index.
            width = int(lengths[0])
            place = starts[:, i, None] + np.arange(width)
            out[place] = column.data.reshape(rows, width)
            continue
        shift = starts[:, i] - (np.cumsum(lengths) - lengths)
        out[np.repeat(shift, lengths) + np.arange(len(column.data))] = column.data
    return out.tobytes()


def joined(cells: list[bytes]) -> Cells:
    data = np.frombuffer(b"".join(cells), dtype=np.uint8)
    return Cells(data, np.fromiter(map(len, cells), dtype=np.int64, count=len(cells)))


def no_cells(array: pa.Array) -> Cells:
    """A column described with size 0, such as NULL: nothing is sent for it."""
    return Cells(np.empty(0, dtype=np.uint8), np.zeros(len(array), dtype=np.int64))


def selected(matrix: Bytes, kept: npt.NDArray[np.bool_]) -> Cells:
    """The bytes of `matrix` that are `kept`, a row of it per value."""
    return Cells(matrix[kept], kept.sum(axis=1))


def _valid(array: pa.Array) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = array.is_valid().to_numpy(zero_copy_only=False)
    return found


def text_cells(array: pa.Array) -> Cells:
    """VARCHAR2, CHAR and RAW."""
    if array.null_count:
        array = array.fill_null(b"" if pa.types.is_binary(array.type) else "")
    array = array.cast(pa.large_binary())
    _, offsets_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offsets_buffer, dtype=np.int64)[array.offset :][: len(array) + 1]
    sizes = np.diff(offsets)
    if len(sizes) and int(sizes.max()) > MAX_SHORT:
        return joined([long_value(v) for v in array.to_pylist()])
    data = (
        np.frombuffer(data_buffer, dtype=np.uint8)[offsets[0] : offsets[-1]]
        if data_buffer is not None
        else np.empty(0, dtype=np.uint8)
    )
    lengths = sizes + 1
    starts = np.cumsum(lengths) - lengths
    out = np.empty(len(data) + len(sizes), dtype=np.uint8)
    is_data = np.ones(len(out), dtype=np.bool_)
    is_data[starts] = False
    out[starts] = sizes
    out[is_data] = data
    return Cells(out, lengths)


def decimal_cells(array: pa.Array, scale: int) -> Cells:
    """NUMBER carried by a DECIMAL of `scale`."""
    words = np.frombuffer(array.buffers()[1], dtype=np.int64).reshape(-1, 2)
    words = words[array.offset : array.offset + len(array)]
    low, high = words[:, 0], words[:, 1]
    valid = _valid(array)
    limit = 10**18 if scale % 2 == 0 else 9 * 10**17
    small = (high == low >> 63) & (low < limit) & (low > -limit)
    if not (small | ~valid).all():
        return joined(
            [
                b"\0" if v is None else long_value(oranumber.encode(oranumber.canonical(v)))
                for v in array.to_pylist()
            ]
        )
    return _small_numbers(np.where(valid, low, 0), valid, scale)


def _small_numbers(numbers: Lengths, valid: npt.NDArray[np.bool_], scale: int) -> Cells:
    negative = numbers < 0
    left = np.abs(numbers).astype(np.uint64)
    if scale % 2:
        left = left * np.uint64(10)
        scale += 1
    pairs = max(1, (len(str(int(left.max()))) + 1) // 2) if len(left) else 1
    rows = len(numbers)
    digits = np.empty((rows, pairs), dtype=np.uint8)
    for i in range(pairs - 1, -1, -1):
        quotient = left // np.uint64(100)
        digits[:, i] = left - quotient * np.uint64(100)
        left = quotient
    used = digits != 0
    first = used.argmax(axis=1)
    last = pairs - 1 - used[:, ::-1].argmax(axis=1)
    zero = ~used.any(axis=1)
    power = (pairs - 1 - first) - scale // 2
    matrix = np.empty((rows, pairs + 3), dtype=np.uint8)
    kept = np.zeros((rows, pairs + 3), dtype=np.bool_)
    count = last - first + 1
    matrix[:, 0] = np.where(valid, np.where(zero, 1, 1 + count + negative), 0)
    matrix[:, 1] = np.where(zero, 0x80, np.where(negative, 62 - power, 193 + power))
    matrix[:, 2:-1] = np.where(negative[:, None], 101 - digits, digits + 1)
    matrix[:, -1] = 102
    at = np.arange(pairs)
    kept[:, 0] = True
    kept[:, 1] = valid
    kept[:, 2:-1] = (at >= first[:, None]) & (at <= last[:, None]) & ~zero[:, None]
    kept[:, 2:-1] &= valid[:, None]
    kept[:, -1] = negative & valid
    return selected(matrix, kept)


def number_text_cells(array: pa.Array) -> Cells:
    """NUMBER carried by canonical text."""
    return joined(
        [b"\0" if v is None else long_value(oranumber.encode(v)) for v in array.to_pylist()]
    )


def _moments(array: pa.Array) -> tuple[Bytes, Lengths, npt.NDArray[np.bool_]]:
    """The seven bytes of each moment, its microseconds, and which are not NULL."""
    valid = _valid(array)
    micro = array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    seconds, fraction = np.divmod(micro, _MICRO)
    days, second_of_day = np.divmod(seconds, 86400)
    # Few distinct days make up many rows; splitting a day into parts is the dear step.
    distinct, where = np.unique(days, return_inverse=True)
    dates = distinct.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    years = dates.astype("datetime64[Y]").astype(np.int64) + 1970
    parts = np.empty((len(distinct), 4), dtype=np.uint8)
    parts[:, 0] = years // 100 + 100
    parts[:, 1] = years % 100 + 100
    parts[:, 2] = months.astype(np.int64) % 12 + 1
    parts[:, 3] = (dates - months.astype("datetime64[D]")).astype(np.int64) + 1
    matrix = np.empty((len(array), 7), dtype=np.uint8)
    matrix[:, :4] = parts[where]
    matrix[:, 4] = second_of_day // 3600 + 1
    matrix[:, 5] = second_of_day // 60 % 60 + 1
    matrix[:, 6] = second_of_day % 60 + 1
    return matrix, fraction, valid


def date_cells(array: pa.Array) -> Cells:
    moments, _, valid = _moments(array)
    matrix = np.empty((len(array), 8), dtype=np.uint8)
    matrix[:, 0] = np.where(valid, 7, 0)
    matrix[:, 1:] = moments
    kept = np.repeat(valid[:, None], 8, axis=1)
    kept[:, 0] = True
    return selected(matrix, kept)


def _with_fraction(moments: Bytes, fraction: Lengths, width: int) -> Bytes:
    matrix = np.empty((len(moments), width), dtype=np.uint8)
    matrix[:, 1:8] = moments
    nano = (fraction * 1000).astype(">u4")
    matrix[:, 8:12] = nano.view(np.uint8).reshape(-1, 4)
    return matrix


def timestamp_cells(array: pa.Array) -> Cells:
    """TIMESTAMP: eleven bytes, or seven when the fraction is zero."""
    moments, fraction, valid = _moments(array)
    matrix = _with_fraction(moments, fraction, 12)
    broken = fraction != 0
    matrix[:, 0] = np.where(valid, np.where(broken, 11, 7), 0)
    kept = np.zeros(matrix.shape, dtype=np.bool_)
    kept[:, 0] = True
    kept[:, 1:8] = valid[:, None]
    kept[:, 8:] = (valid & broken)[:, None]
    return selected(matrix, kept)


def zoned_cells(array: pa.Array) -> Cells:
    """TIMESTAMP WITH TIME ZONE: UTC, and hours and minutes east of it."""
    moments, fraction, valid = _moments(pc.struct_field(array, "u"))
    offset = pc.struct_field(array, "o").fill_null(0).to_numpy(zero_copy_only=False)
    offset = offset.astype(np.int64)
    matrix = _with_fraction(moments, fraction, 14)
    hours = np.trunc(offset / 60).astype(np.int64)
    matrix[:, 12] = hours + 20
    matrix[:, 13] = offset - hours * 60 + 60
    matrix[:, 0] = np.where(valid, 13, 0)
    kept = np.repeat(valid[:, None], 14, axis=1)
    kept[:, 0] = True
    return selected(matrix, kept)


def rowid_cells(array: pa.Array) -> Cells:
    """ROWID: its parts, each as a count of bytes and the bytes."""
    parts = segments.taken_apart(array)
    matrix = np.zeros((len(array), 18), dtype=np.uint8)
    matrix[:, 0] = 17
    at = 1
    for values, width in ((parts.objects, 4), (parts.files, 2), (None, 0), (parts.blocks, 4),
                          (parts.rows, 2)):  # fmt: skip
        matrix[:, at] = width
        for i in range(width):
            assert values is not None
            matrix[:, at + 1 + i] = (values >> (8 * (width - 1 - i))) & 0xFF
        at += 1 + width
    valid = _valid(array)
    matrix[~valid, 0] = 0
    kept = np.repeat(valid[:, None], 18, axis=1)
    kept[:, 0] = True
    return selected(matrix, kept)


def inline_lob_cells(array: pa.Array) -> Cells:
    """A CLOB or BLOB that the client defined as LONG: its value, null indicator, return code."""
    binary = array.cast(pa.large_binary())
    return joined([(b"\0" if v is None else long_value(v)) + b"\0\0" for v in binary.to_pylist()])


def locator_cells(keep: Callable[[Any], int]) -> Callable[[pa.Array], Cells]:
    """LOBs by locator: `keep` notes a value and gives the number under which it is read."""

    def cells(array: pa.Array) -> Cells:
        return joined([b"\0" if v is None else _locator(v, keep(v)) for v in array.to_pylist()])

    return cells


def _locator(value: str | bytes, number: int) -> bytes:
    locator = bytes(16) + struct.pack(">Q", number) + bytes(16)
    size = (len(value).bit_length() + 7) // 8
    length = bytes([size]) + len(value).to_bytes(size, "big")
    chunk_size = b"\x02\x1f\xc4"
    return b"\x01\x28" + length + chunk_size + bytes([len(locator)]) + locator


def encoder(
    type_: OraType, inline_lobs: bool, keep: Callable[[Any], int]
) -> Callable[[pa.Array], Cells]:
    """What encodes a column of `type_`."""
    if type_.is_lob:
        return inline_lob_cells if inline_lobs else locator_cells(keep)
    if type_.kind == "LONG":
        return inline_lob_cells
    if type_.kind == "NUMBER":
        if type_.fixed is None:
            return number_text_cells
        scale = type_.fixed[1]
        return lambda array: decimal_cells(array, scale)
    if type_.kind == "DATE":
        return date_cells
    if type_.kind == "TIMESTAMP":
        return timestamp_cells
    if type_.kind == "TSTZ":
        return zoned_cells
    if type_.kind == "ROWID":
        return rowid_cells
    return text_cells if type_.size else no_cells


def encode_rows(encoders: Sequence[Callable[[pa.Array], Cells]], batch: pa.RecordBatch) -> bytes:
    """The rows of `batch` as they go on the wire."""
    cells = [encode(batch.column(i)) for i, encode in enumerate(encoders)]
    return weave(cells, batch.num_rows)
