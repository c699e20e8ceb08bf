"""Rows keep their ROWIDs, on the wire and through changes, and ranges of them tile a table."""

from __future__ import annotations

import oracledb
import pytest

from .client import fetched, present_scn
from .conftest import BIG_ROWS

ALL = "SELECT id, ROWID FROM ledger ORDER BY id"


def test_rowid_comes_as_a_rowid_and_as_text(cursor: oracledb.Cursor) -> None:
    cursor.execute("SELECT ROWID, ROWIDTOCHAR(b.ROWID), b.ROWID || '' FROM branch b")
    assert cursor.description is not None
    assert [c[1] for c in cursor.description] == [
        oracledb.DB_TYPE_ROWID,
        oracledb.DB_TYPE_VARCHAR,
        oracledb.DB_TYPE_VARCHAR,
    ]
    assert cursor.description[1][3] == 18
    rows = cursor.fetchall()
    assert len({r[0] for r in rows}) == 3
    assert all(r[0] == r[1] == r[2] and len(r[0]) == 18 for r in rows)


def test_missing_row_of_an_outer_join_has_no_rowid(cursor: oracledb.Cursor) -> None:
    cursor.execute(
        "SELECT s.id, b.ROWID FROM sale s LEFT JOIN branch b ON b.code = s.branch"
        " WHERE s.id IN (1, 5) ORDER BY s.id"
    )
    (_, known), (_, missing) = cursor.fetchall()
    assert missing is None
    assert fetched(cursor, "SELECT code FROM branch WHERE ROWID = :r", r=known) == [("BKK   ",)]


def test_update_keeps_the_rowid_and_insert_takes_a_new_one(ledger: oracledb.Connection) -> None:
    with ledger.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO ledger (id, name) VALUES (:1, :2)", [(i, "a") for i in range(3)]
        )
        ledger.commit()
        before = fetched(cursor, ALL)
        scn = present_scn(cursor)
        cursor.execute("UPDATE ledger SET name = 'b', id = id + 10 WHERE id < 2")
        assert fetched(cursor, ALL) == [before[2], (10, before[0][1]), (11, before[1][1])]
        cursor.execute("DELETE FROM ledger WHERE ROWID = :r", r=before[2][1])
        cursor.execute("INSERT INTO ledger (id, name) VALUES (2, 'c')")
        ledger.commit()
        after = fetched(cursor, ALL)
        assert after[0][0] == 2
        assert after[0][1] not in {r for _, r in before}
        past = "SELECT id, ROWID FROM ledger AS OF SCN :scn ORDER BY id"
        assert fetched(cursor, past, scn=scn) == before
        found = fetched(
            cursor, "SELECT id FROM ledger AS OF SCN :s WHERE ROWID >= :r", s=scn, r=before[1][1]
        )
        assert found == [(1,), (2,)]


def test_rolled_back_update_leaves_the_rowid(ledger: oracledb.Connection) -> None:
    with ledger.cursor() as cursor:
        cursor.execute("INSERT INTO ledger (id, name) VALUES (1, 'a')")
        ledger.commit()
        before = fetched(cursor, ALL)
        cursor.execute("UPDATE ledger SET name = 'b'")
        ledger.rollback()
        assert fetched(cursor, ALL) == before


@pytest.mark.parametrize("low", ["ROWID >= CHARTOROWID(:low)", "t.ROWID >= :low"])
def test_half_open_rowid_ranges_tile_a_table(cursor: oracledb.Cursor, low: str) -> None:
    bounds = [
        r
        for (r,) in fetched(
            cursor,
            "SELECT ROWIDTOCHAR(r) FROM (SELECT ROWID r, ROW_NUMBER() OVER (ORDER BY ROWID) n"
            " FROM big) WHERE MOD(n, 7777) = 1 ORDER BY r",
        )
    ]
    assert len(bounds) == 8
    seen: list[object] = []
    for start, end in zip(bounds, [*bounds[1:], None], strict=True):
        sql, binds = f"SELECT id FROM big t WHERE {low}", {"low": start}
        if end is not None:
            sql, binds = sql + " AND ROWID < CHARTOROWID(:high)", {"low": start, "high": end}
        seen += [i for (i,) in fetched(cursor, sql, **binds)]
    assert sorted(seen, key=str) == sorted(range(1, BIG_ROWS + 1), key=str)


@pytest.mark.parametrize(
    ("op", "count"), [("<", 250), ("<=", 251), (">", BIG_ROWS - 251), (">=", BIG_ROWS - 250)]
)
def test_every_comparison_is_exact_on_either_side(
    cursor: oracledb.Cursor, op: str, count: int
) -> None:
    rowid = fetched(cursor, "SELECT ROWID FROM big WHERE id = 251")[0][0]
    mirrored = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}[op]
    for condition in (f"ROWID {op} :r", f":r {mirrored} ROWID", f"ROWID {op} ROWIDTOCHAR(:r)"):
        if "ROWIDTOCHAR" in condition:
            condition = condition.replace("ROWIDTOCHAR(:r)", "ROWIDTOCHAR(CHARTOROWID(:r))")
        assert fetched(cursor, f"SELECT COUNT(*) FROM big WHERE {condition}", r=rowid) == [(count,)]
