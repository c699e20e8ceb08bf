"""The extent views cover all rows, and the row counts agree with them."""

from __future__ import annotations

from itertools import pairwise

import oracledb
import pytest

from kpcluigi.rehearsal.oracle import OracleStandIn
from kpcluigi.rehearsal.oracle.segments import extents

from .client import fetched
from .conftest import BIG_ROWS

RANGES = (
    "SELECT dbms_rowid.rowid_create(1, o.data_object_id, e.relative_fno, e.block_id, 0),"
    " dbms_rowid.rowid_create(1, o.data_object_id, e.relative_fno, e.block_id + e.blocks - 1,"
    " 32767) FROM dba_extents e JOIN dba_objects o ON o.owner = e.owner"
    " AND o.object_name = e.segment_name AND o.object_type = e.segment_type"
    " WHERE e.owner = 'KPC' AND e.segment_name = :name ORDER BY e.extent_id"
)


@pytest.fixture
def catalogue(oracle: OracleStandIn, cursor: oracledb.Cursor) -> oracledb.Cursor:
    oracle.grant("SELECT_CATALOG_ROLE")
    return cursor


def test_rowid_ranges_of_extents_tile_a_table(catalogue: oracledb.Cursor) -> None:
    ranges = fetched(catalogue, RANGES, name="BIG")
    assert len(ranges) == 20
    sql = "SELECT COUNT(*), COUNT(DISTINCT id) FROM big WHERE ROWID BETWEEN :low AND :high"
    counts = [fetched(catalogue, sql, low=low, high=high)[0] for low, high in ranges]
    assert all(a == b for a, b in counts)
    assert sum(a for a, _ in counts) == BIG_ROWS
    assert all(a for a, _ in counts)


def test_extents_hold_the_rows_of_all_versions(
    catalogue: oracledb.Cursor, ledger: oracledb.Connection
) -> None:
    with ledger.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO ledger (id, name) VALUES (:1, 'a')", [(i,) for i in range(900)]
        )
        ledger.commit()
        cursor.execute("DELETE FROM ledger WHERE id >= 10")
        ledger.commit()
    numbers = "SELECT num_rows, blocks FROM {} WHERE table_name = 'LEDGER'"
    assert fetched(catalogue, numbers.format("all_tables"))[0][0] == 10
    rows, blocks = fetched(catalogue, numbers.format("user_tables"))[0]
    assert (rows, blocks >= 9) == (10, True)
    total = "SELECT SUM(blocks), SUM(bytes) / 8192, COUNT(*) FROM {} WHERE segment_name = 'LEDGER'"
    held = fetched(catalogue, total.format("dba_extents"))[0]
    assert held == fetched(catalogue, total.format("user_extents"))[0]
    assert held[0] == held[1] >= blocks > held[0] - 8
    segment = "SELECT blocks, bytes / 8192, extents FROM dba_segments WHERE segment_name = 'LEDGER'"
    assert fetched(catalogue, segment)[0] == held


def test_own_extents_tell_no_place(cursor: oracledb.Cursor) -> None:
    cursor.execute("SELECT * FROM user_extents")
    assert [c[0] for c in cursor.description or ()] == [
        "SEGMENT_NAME", "PARTITION_NAME", "SEGMENT_TYPE", "TABLESPACE_NAME", "EXTENT_ID", "BYTES",
        "BLOCKS",
    ]  # fmt: skip


def test_large_segment_has_extents_of_four_sizes() -> None:
    found = list(extents(20_000_000))
    assert [e.blocks for e in found[:17]] == [8] * 16 + [128]
    assert {e.blocks for e in found} == {8, 128, 1024, 8192}
    assert all(a.block + a.blocks == b.block for a, b in pairwise(found))
    assert sum(e.blocks for e in found) - 8192 < 200_000 <= sum(e.blocks for e in found)
