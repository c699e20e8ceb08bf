"""Cutting a table by where its rows lie: the extent map gives ranges of ROWIDs, and no key is read.

An extended ROWID is text of 18 base-64 digits: 6 for the data object, 3 for the file, 6 for the
block, 3 for the row in it. Rows compare in that order. The ranges have open ends, so that rows
outside of the map that was read (in an extent added since) have their chunk all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import oracledb

from kpcluigi.oracle.source import Source

_BIGFILE = 1024
"""What DBA_EXTENTS calls the only file of a bigfile tablespace; others have up to 1,023."""
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

EXTENTS_SQL = (
    "SELECT o.data_object_id, e.relative_fno, e.block_id, e.blocks FROM dba_extents e "
    "JOIN all_objects o ON o.owner = e.owner AND o.object_name = e.segment_name "
    "AND o.object_type = e.segment_type "
    "AND (o.subobject_name = e.partition_name "
    "OR (o.subobject_name IS NULL AND e.partition_name IS NULL)) "
    "WHERE e.owner = :owner AND e.segment_name = :segment "
    "AND e.segment_type IN ('TABLE', 'TABLE PARTITION', 'TABLE SUBPARTITION') "
    "ORDER BY o.data_object_id, e.relative_fno, e.block_id"
)


@dataclass(frozen=True, order=True)
class Extent:
    """A run of blocks that belongs to a table, in the order of its rows' ROWIDs."""

    data_object: int
    file: int
    block: int
    blocks: int


def extent_binds(source: Source) -> dict[str, str]:
    """The binds of `EXTENTS_SQL`."""
    return {"owner": source.owner, "segment": source.table.name.upper()}


def read_extents(connection: oracledb.Connection, source: Source) -> list[Extent]:
    """The table's extent map. Raises ORA-00942 where DBA_EXTENTS is not granted."""
    with connection.cursor() as cursor:
        cursor.arraysize = 1000
        cursor.execute(EXTENTS_SQL, extent_binds(source))
        return sorted(Extent(*(int(value) for value in row)) for row in cursor)


def boundaries(extents: Sequence[Extent], *, rows: int, chunk_size: int) -> list[str]:
    """The first ROWID of every chunk but the first.

    Args:
        extents: in order.
        rows: rows that are wanted of the whole table.
        chunk_size: rows per chunk, if they lay evenly.
    """
    blocks = sum(extent.blocks for extent in extents)
    return [
        rowid(extent.data_object, extent.file, extent.block + offset)
        for extent, offset in _cuts(extents, max(1, blocks * chunk_size // max(1, rows)))
    ]


def rowid(data_object: int, file: int, block: int) -> str:
    """The lowest ROWID of a block.

    In a bigfile tablespace the digits of file and block together are the block.
    """
    if file == _BIGFILE:
        file, block = divmod(block, 1 << 22)
    return _base64(data_object, 6) + _base64(file, 3) + _base64(block, 6) + _base64(0, 3)


def _cuts(extents: Sequence[Extent], every: int) -> Iterator[tuple[Extent, int]]:
    """Each extent and offset in it at which another `every` blocks are full."""
    passed = 0
    for extent in extents:
        for total in range(-passed % every, extent.blocks, every):
            if passed + total:
                yield extent, total
        passed += extent.blocks


def _base64(value: int, width: int) -> str:
    digits = ""
    for _ in range(width):
        value, digit = divmod(value, 64)
        digits = _DIGITS[digit] + digits
    return digits
