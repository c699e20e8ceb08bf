"""Where the rows of a table lie: its data file, its blocks, its extents, and its rowids.

DuckDB's own row numbers move, so every row carries one of ours, `_row`, which an UPDATE keeps. The
nth row of a table lies in the nth // 100 block of the table's data file, at place n % 100, so that
row numbers and rowids of a table sort alike.

In DuckDB a rowid is a HUGEINT of 80 bits, from the left: data object 32, file 10, block 22, row 16.
Those are the ten bytes that Oracle stores, so that they compare as Oracle's do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from kpcluigi.rehearsal.oracle.errors import OraError

ROWS_PER_BLOCK = 100
BLOCK_BYTES = 8192
FIRST_BLOCK = 128
"""Where a data file's first extent begins; the file's own header lies before it."""

OBJECT_SHIFT, FILE_SHIFT, BLOCK_SHIFT = 48, 38, 16
MOST_OBJECT, MOST_FILE, MOST_BLOCK, MOST_ROW = 2**32 - 1, 2**10 - 1, 2**22 - 1, 2**16 - 1
_EXTENTS = ((16, 8), (63, 128), (120, 1024))
"""How many extents of how many blocks an automatically allocated segment has, before 8192."""

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_LETTERS = np.frombuffer(_ALPHABET, dtype=np.uint8)
_VALUES = {chr(letter): i for i, letter in enumerate(_ALPHABET)}
LENGTH = 18


@dataclass(frozen=True)
class Extent:
    number: int
    block: int
    blocks: int


def object_number(table_number: int) -> int:
    """The object id, and data object id, of a table; its primary key's index has the next."""
    return 70_000 + 2 * table_number


def file_number(table_number: int) -> int:
    """The data file that holds nothing but this table."""
    return 4 + table_number


def first_rowid(table_number: int) -> int:
    """The rowid of a table's row number 0."""
    return packed(object_number(table_number), file_number(table_number), FIRST_BLOCK, 0)


def packed(data_object: int, file: int, block: int, row: int) -> int:
    return data_object << OBJECT_SHIFT | file << FILE_SHIFT | block << BLOCK_SHIFT | row


def blocks_of(rows: int) -> int:
    """The blocks that row numbers below `rows` lie in."""
    return -(-rows // ROWS_PER_BLOCK)


def extents(rows: int) -> Iterator[Extent]:
    """The extents that hold row numbers below `rows`; the last may have blocks to spare."""
    left, at, number = blocks_of(rows), FIRST_BLOCK, 0
    sizes = [size for count, size in _EXTENTS for _ in range(count)]
    while left > 0:
        size = sizes[number] if number < len(sizes) else 8192
        yield Extent(number, at, size)
        left, at, number = left - size, at + size, number + 1


def rowid_sql(row: str, table_number: int) -> str:
    """DuckDB SQL for the rowid of the row number `row`."""
    inside = f"({row} // {ROWS_PER_BLOCK}) * {1 << BLOCK_SHIFT} + {row} % {ROWS_PER_BLOCK}"
    return f"({first_rowid(table_number)}::HUGEINT + ({inside}))"


def first_row(rowid: int, base: int) -> int:
    """The smallest row number whose rowid is not below `rowid`; `base` is that of row number 0."""
    block, row = divmod(rowid - base, 1 << BLOCK_SHIFT)
    if block < 0:
        return 0
    return min(block * ROWS_PER_BLOCK + min(row, ROWS_PER_BLOCK), 2**62)


def parse(text: str) -> int:
    """The rowid that 18 characters stand for; ORA-01410."""
    if len(text) != LENGTH or not all(c in _VALUES for c in text):
        raise OraError(1410)
    parts = []
    for start, end, most in ((0, 6, MOST_OBJECT), (6, 9, MOST_FILE), (9, 15, MOST_BLOCK),
                             (15, 18, MOST_ROW)):  # fmt: skip
        value = 0
        for character in text[start:end]:
            value = value << 6 | _VALUES[character]
        if value > most:
            raise OraError(1410)
        parts.append(value)
    return packed(*parts)


@dataclass(frozen=True)
class Parts:
    """Columns of rowids taken apart; a NULL counts as zero."""

    objects: np.ndarray[tuple[int], np.dtype[np.int64]]
    files: np.ndarray[tuple[int], np.dtype[np.int64]]
    blocks: np.ndarray[tuple[int], np.dtype[np.int64]]
    rows: np.ndarray[tuple[int], np.dtype[np.int64]]


def taken_apart(array: pa.Array) -> Parts:
    """The parts of an Arrow column of rowids, which DuckDB gives as DECIMAL(38,0)."""
    words = np.frombuffer(array.buffers()[1], dtype=np.int64).reshape(-1, 2)
    words = words[array.offset : array.offset + len(array)]
    low, high = words[:, 0], words[:, 1]
    return Parts(
        ((high << 16) | ((low >> OBJECT_SHIFT) & 0xFFFF)) & MOST_OBJECT,
        (low >> FILE_SHIFT) & MOST_FILE,
        (low >> BLOCK_SHIFT) & MOST_BLOCK,
        low & MOST_ROW,
    )


def texts(array: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The 18 characters of each rowid of a column."""
    whole = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.chunks)
    parts = taken_apart(whole)
    out = np.empty((len(whole), LENGTH), dtype=np.uint8)
    for values, start, width in ((parts.objects, 0, 6), (parts.files, 6, 3), (parts.blocks, 9, 6),
                                 (parts.rows, 15, 3)):  # fmt: skip
        for i in range(width):
            out[:, start + i] = _LETTERS[(values >> (6 * (width - 1 - i))) & 63]
    offsets = pa.py_buffer(np.arange(len(whole) + 1, dtype=np.int32) * LENGTH)
    made = pa.StringArray.from_buffers(len(whole), offsets, pa.py_buffer(out))
    if whole.null_count:
        made = pa.compute.if_else(whole.is_valid(), made, pa.scalar(None, pa.string()))
    return made
