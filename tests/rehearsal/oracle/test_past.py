"""AS OF SCN: later changes of others are not seen, and undo can run out."""

from __future__ import annotations

from collections.abc import Iterator

import oracledb
import pytest

from kpcluigi.rehearsal.oracle import OracleStandIn

from .client import connect, fetched, present_scn, refused

QUERIES = (
    "SELECT id, name FROM ledger {} ORDER BY id",
    "SELECT COUNT(*), SUM(amount), MIN(name), MAX(id), COUNT(DISTINCT name) FROM ledger {}",
    "SELECT name, COUNT(*), SUM(amount) FROM ledger {} GROUP BY name ORDER BY name",
    "SELECT id, RANK() OVER (ORDER BY amount DESC, id), LEAD(id) OVER (ORDER BY id),"
    " SUM(amount) OVER (PARTITION BY name) FROM ledger {} ORDER BY id",
    "SELECT l.id, ROWIDTOCHAR(l.ROWID) FROM ledger {} l WHERE l.ROWID >= CHARTOROWID("
    "'AAAAAAAAAAAAAAAAAA') ORDER BY l.ROWID",
    "SELECT id FROM ledger {} WHERE ROWID >= (SELECT MIN(ROWID) FROM ledger {}) ORDER BY id",
    "SELECT id, name FROM ledger SAMPLE (60) SEED (7) {} ORDER BY id",
    "SELECT l.id FROM ledger SAMPLE BLOCK (99) SEED (3) {} l ORDER BY l.id",
    "SELECT a.id, b.name FROM ledger {} a JOIN ledger {} b ON b.id = a.id + 1 ORDER BY a.id",
)


@pytest.fixture
def other(oracle: OracleStandIn) -> Iterator[oracledb.Cursor]:
    """Another session's cursor."""
    with connect(oracle) as connection, connection.cursor() as cursor:
        yield cursor


def fill(ledger: oracledb.Connection, rows: int = 50) -> None:
    with ledger.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO ledger (id, name, amount) VALUES (:1, :2, :3)",
            [(i, f"n{i % 7}", i * 0.25) for i in range(rows)],
        )
    ledger.commit()


@pytest.mark.parametrize("sql", QUERIES)
def test_past_stays_as_it_was(
    ledger: oracledb.Connection, other: oracledb.Cursor, sql: str
) -> None:
    fill(ledger)
    with ledger.cursor() as cursor:
        scn = present_scn(cursor)
        then = sql.replace("{}", f"AS OF SCN {scn}")
        before = fetched(cursor, then)
        assert before
        cursor.execute(then)
        first = cursor.fetchmany(1)
        other.execute("INSERT INTO ledger (id, name, amount) VALUES (1000, 'n1', 9)")
        other.execute("UPDATE ledger SET amount = 99, name = 'x' WHERE id BETWEEN 5 AND 20")
        other.execute("DELETE FROM ledger WHERE id > 40 AND id < 1000")
        assert fetched(cursor, then) == before
        other.connection.commit()
        for _ in range(2):
            assert fetched(cursor, then) == before
        other.execute("UPDATE ledger SET id = id + 5000, amount = NULL")
        other.connection.commit()
        assert fetched(cursor, then) == before
        assert first == before[:1]
        bound = sql.replace("{}", "AS OF SCN :scn")
        assert fetched(cursor, bound, scn=scn) == before


def test_undo_of_all_tables_runs_out(oracle: OracleStandIn, ledger: oracledb.Connection) -> None:
    with ledger.cursor() as cursor:
        scn = present_scn(cursor)
        sql = "SELECT COUNT(*) FROM sale AS OF SCN :scn"
        assert fetched(cursor, sql, scn=scn) == [(5,)]
        oracle.forget_undo()
        with refused("ORA-01555"):
            cursor.execute(sql, scn=scn)
        assert fetched(cursor, sql, scn=present_scn(cursor)) == [(5,)]
        assert fetched(cursor, "SELECT COUNT(*) FROM sale") == [(5,)]
        oracle.reset()
        assert fetched(cursor, sql, scn=scn) == [(5,)]


def test_undo_of_one_table_runs_out_below_an_scn(
    oracle: OracleStandIn, cursor: oracledb.Cursor
) -> None:
    old, new = present_scn(cursor), present_scn(cursor)
    oracle.forget_undo(new, table="kpc.sale")
    with refused("ORA-01555"):
        cursor.execute("SELECT id FROM sale AS OF SCN :scn", scn=old)
    with refused("ORA-01555"):
        cursor.execute("SELECT 1 FROM branch AS OF SCN :a, sale AS OF SCN :a", a=old)
    assert fetched(cursor, "SELECT COUNT(*) FROM sale AS OF SCN :scn", scn=new) == [(5,)]
    assert fetched(cursor, "SELECT COUNT(*) FROM branch AS OF SCN :scn", scn=old) == [(3,)]


def test_open_statement_loses_its_undo(oracle: OracleStandIn, cursor: oracledb.Cursor) -> None:
    cursor.arraysize = cursor.prefetchrows = 1000
    cursor.execute("SELECT id FROM big AS OF SCN :scn", scn=present_scn(cursor))
    assert len(cursor.fetchmany(2000)) == 2000
    oracle.forget_undo()
    with refused("ORA-01555"):
        cursor.fetchall()
    assert fetched(cursor, "SELECT COUNT(*) FROM sale") == [(5,)]


def test_read_only_transaction_loses_its_undo(
    oracle: OracleStandIn, connection: oracledb.Connection
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
        assert fetched(cursor, "SELECT COUNT(*) FROM sale") == [(5,)]
        oracle.forget_undo()
        with refused("ORA-01555"):
            cursor.execute("SELECT COUNT(*) FROM sale")
        connection.commit()
        assert fetched(cursor, "SELECT COUNT(*) FROM sale") == [(5,)]


def test_scn_has_a_time(cursor: oracledb.Cursor) -> None:
    sql = "SELECT SCN_TO_TIMESTAMP(:a), SCN_TO_TIMESTAMP(:b), CAST(SYSTIMESTAMP AS TIMESTAMP)"
    sql += " FROM dual"
    earlier, later = present_scn(cursor), present_scn(cursor)
    first, second, now = fetched(cursor, sql, a=earlier, b=later)[0]
    assert first <= second <= now
    for outside in (1_000_000, later + 1_000_000):
        with refused("ORA-08181"):
            fetched(cursor, sql, a=earlier, b=outside)


def test_unknown_table_has_no_undo(oracle: OracleStandIn) -> None:
    with pytest.raises(Exception, match="400"):
        oracle.forget_undo(table="SALE")


def test_a_round_scn_may_be_bound(ledger: oracledb.Connection) -> None:
    """On the wire a NUMBER that ends in zeros is written with an exponent."""
    with ledger.cursor() as cursor:
        while (scn := present_scn(cursor)) % 100:
            continue
        assert fetched(cursor, "SELECT id FROM ledger AS OF SCN :scn", scn=scn) == []
