"""Views that tell where tables lie and how large they are, made anew whenever they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kpcluigi.rehearsal.oracle import segments
from kpcluigi.rehearsal.oracle.catalog import Column, Table
from kpcluigi.rehearsal.oracle.engine import Database

Value = str | int | None
_NAME = "VARCHAR2(128)"


def _view(name: str, columns: Sequence[str]) -> Table:
    parts = (text.partition(" ") for text in columns)
    return Table("SYS", name, tuple(Column(column, type_) for column, _, type_ in parts))


_SEGMENT = (
    f"SEGMENT_NAME {_NAME}", f"PARTITION_NAME {_NAME}", "SEGMENT_TYPE VARCHAR2(18)",
    "TABLESPACE_NAME VARCHAR2(30)",
)  # fmt: skip
DBA_EXTENTS = _view(
    "DBA_EXTENTS",
    (f"OWNER {_NAME}", *_SEGMENT, "EXTENT_ID NUMBER", "FILE_ID NUMBER", "BLOCK_ID NUMBER",
     "BYTES NUMBER", "BLOCKS NUMBER", "RELATIVE_FNO NUMBER"),
)  # fmt: skip
USER_EXTENTS = _view(
    "USER_EXTENTS", (*_SEGMENT, "EXTENT_ID NUMBER", "BYTES NUMBER", "BLOCKS NUMBER")
)
DBA_SEGMENTS = _view(
    "DBA_SEGMENTS",
    (f"OWNER {_NAME}", *_SEGMENT, "HEADER_FILE NUMBER", "HEADER_BLOCK NUMBER", "BYTES NUMBER",
     "BLOCKS NUMBER", "EXTENTS NUMBER", "RELATIVE_FNO NUMBER"),
)  # fmt: skip
USER_SEGMENTS = _view(
    "USER_SEGMENTS", (*_SEGMENT, "BYTES NUMBER", "BLOCKS NUMBER", "EXTENTS NUMBER")
)


def file_id(relative: int) -> int:
    """A data file's absolute number. It is not the relative one that rowids hold, as in databases
    of more than 1023 files, lest anyone take the one for the other."""
    return relative + 1023


def extent_rows(database: Database, tables: Sequence[Table]) -> list[list[Value]]:
    """The rows of DBA_EXTENTS for `tables`, without the segments of indexes."""
    rows: list[list[Value]] = []
    for table in tables:
        relative = segments.file_number(table.number)
        for extent in segments.extents(database.rows_ever(table)):
            rows.append([
                table.owner, table.name, None, "TABLE", "USERS", extent.number, file_id(relative),
                extent.block, extent.blocks * segments.BLOCK_BYTES, extent.blocks, relative,
            ])  # fmt: skip
    return rows


def segment_rows(database: Database, tables: Sequence[Table]) -> list[list[Value]]:
    """The rows of DBA_SEGMENTS. A table that never had a row has no segment yet."""
    rows: list[list[Value]] = []
    for table in tables:
        relative = segments.file_number(table.number)
        extents = list(segments.extents(database.rows_ever(table)))
        if extents:
            blocks = sum(e.blocks for e in extents)
            rows.append([
                table.owner, table.name, None, "TABLE", "USERS", file_id(relative),
                extents[0].block, blocks * segments.BLOCK_BYTES, blocks, len(extents), relative,
            ])  # fmt: skip
    return rows


def storage_views(
    database: Database, tables: Sequence[Table], user: str
) -> dict[str, tuple[Table, Callable[[], list[list[Value]]]]]:
    """The views by name, with what gives their rows."""
    own = [t for t in tables if t.owner == user]

    def user_extents() -> list[list[Value]]:
        return [[*r[1:6], r[8], r[9]] for r in extent_rows(database, own)]

    def user_segments() -> list[list[Value]]:
        return [[*r[1:5], *r[7:10]] for r in segment_rows(database, own)]

    return {
        "DBA_EXTENTS": (DBA_EXTENTS, lambda: extent_rows(database, tables)),
        "USER_EXTENTS": (USER_EXTENTS, user_extents),
        "DBA_SEGMENTS": (DBA_SEGMENTS, lambda: segment_rows(database, tables)),
        "USER_SEGMENTS": (USER_SEGMENTS, user_segments),
    }
