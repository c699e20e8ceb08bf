"""Logging in, binding, fetching, changing and breaking off, by the real driver."""

from __future__ import annotations

import asyncio
import datetime as dt
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from decimal import Decimal
from typing import Any

import oracledb
import psutil
import pyarrow as pa
import pytest

from kpcluigi.rehearsal.oracle import OracleStandIn

from .client import connect, refused
from .conftest import BIG_ROWS, PASSWORD


def assert_nobody_is_logged_in(oracle: OracleStandIn) -> None:
    """The server learns of a closed socket by itself, a moment later."""
    until = time.monotonic() + 5
    while oracle.stats()["sessions"] and time.monotonic() < until:
        time.sleep(0.01)
    assert oracle.stats()["sessions"] == 0


# -- logon


def test_version_is_19(connection: oracledb.Connection) -> None:
    assert connection.version == "19.3.0.0.0"


@pytest.mark.parametrize(("user", "password"), [("kpc", "wrong"), ("nobody", PASSWORD)])
def test_wrong_user_or_password_is_refused(oracle: OracleStandIn, user: str, password: str) -> None:
    with refused("ORA-01017"):
        oracledb.connect(user=user, password=password, dsn=oracle.dsn)
    assert oracle.stats()["refused_logins"] == 1
    assert oracle.stats()["sessions"] == 0


def test_unknown_service_is_refused(oracle: OracleStandIn) -> None:
    with pytest.raises(oracledb.OperationalError, match="DPY-6001"):
        oracledb.connect(user="kpc", password=PASSWORD, dsn=f"127.0.0.1:{oracle.port}/NOPE")


def test_forty_sessions_are_open_at_once(oracle: OracleStandIn) -> None:
    with ExitStack() as opened:
        for _ in range(40):
            cursor = opened.enter_context(connect(oracle)).cursor()
            cursor.execute("SELECT COUNT(*) FROM sale")
            assert cursor.fetchone() == (5,)
        assert oracle.stats()["sessions"] == 40
    assert oracle.stats()["peak_sessions"] == 40


def test_session_that_just_goes_away_is_noticed(oracle: OracleStandIn) -> None:
    code = (
        "import oracledb, os, sys; c = oracledb.connect(user='kpc', password=sys.argv[1],"
        " dsn=sys.argv[2]); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, PASSWORD, oracle.dsn], check=True)
    assert oracle.stats()["logins"] == 1
    assert_nobody_is_logged_in(oracle)


def test_async_connection_queries(oracle: OracleStandIn) -> None:
    async def ask() -> Any:
        async with oracledb.connect_async(
            user="kpc", password=PASSWORD, dsn=oracle.dsn
        ) as connection:
            return await connection.fetchall("SELECT id FROM sale ORDER BY id")

    assert asyncio.run(ask()) == [(1,), (2,), (3,), (4,), (5,)]


# -- binds


def test_binds_of_every_type_come_back(cursor: oracledb.Cursor) -> None:
    given: list[Any] = [
        1, -5, Decimal("12345678901234567890.123456789"), 0.25, "ภาษาไทย", b"\x00\xff", None,
        dt.datetime(2024, 2, 29, 1, 2, 3), "x" * 3000,
    ]  # fmt: skip
    names = ", ".join(f":{i}" for i in range(1, len(given) + 1))
    cursor.execute(f"SELECT {names} FROM dual", given)
    row = cursor.fetchone()
    assert row is not None
    assert row[:2] == (1, -5)
    assert row[3:] == tuple(given[3:])


def test_name_bound_once_serves_twice_and_again(cursor: oracledb.Cursor) -> None:
    sql = "SELECT COUNT(*) FROM sale WHERE id >= :n OR qty = :n"
    cursor.execute(sql, n=3)
    assert cursor.fetchone() == (4,)
    cursor.execute(sql, n=1)
    assert cursor.fetchone() == (5,)
    cursor.execute(sql, n=None)
    assert cursor.fetchone() == (0,)


def test_name_bound_once_is_one_value_in_a_grouped_expression(cursor: oracledb.Cursor) -> None:
    sql = "SELECT CASE WHEN id < :most THEN id END, COUNT(*) FROM sale WHERE id <> :other"
    sql += " GROUP BY CASE WHEN id < :most THEN id END ORDER BY 1"
    cursor.execute(sql, most=3, other=2)
    assert cursor.fetchall() == [(1, 1), (None, 3)]
    cursor.execute(sql, most=2, other=5)
    assert cursor.fetchall() == [(1, 1), (None, 3)]
    with refused("ORA-00979"):
        cursor.execute(
            "SELECT CASE WHEN id < :1 THEN id END, COUNT(*) FROM sale"
            " GROUP BY CASE WHEN id < :2 THEN id END",
            [3, 3],
        )


def test_missing_and_surplus_binds_are_refused(cursor: oracledb.Cursor) -> None:
    with refused("DPY-4010"):
        cursor.execute("SELECT :a, :b FROM dual", a=1)
    with refused("DPY-4009"):
        cursor.execute("SELECT :1 FROM dual", [1, 2])


def test_bound_text_is_not_padded_to_compare_with_a_char(cursor: oracledb.Cursor) -> None:
    sql = "SELECT COUNT(*) FROM branch WHERE code = :c"
    cursor.execute(sql, c="BKK")
    assert cursor.fetchone() == (0,)
    cursor.execute(sql, c="BKK   ")
    assert cursor.fetchone() == (1,)


# -- fetching


@pytest.mark.parametrize("size", [1, 7, 100, 9_999, 70_000])
def test_any_arraysize_gives_all_rows_in_order(connection: oracledb.Connection, size: int) -> None:
    with connection.cursor() as cursor:
        cursor.arraysize = cursor.prefetchrows = size
        most = 500 if size < 100 else BIG_ROWS
        cursor.execute("SELECT id, amount, name FROM big WHERE id <= :m ORDER BY id", m=most)
        rows = cursor.fetchall()
    assert len(rows) == most
    assert rows[-1] == (most, most * 1.25, f"ลูกค้า {most}")
    assert [r[0] for r in rows] == list(range(1, most + 1))


def test_arrow_batches_are_exact(connection: oracledb.Connection) -> None:
    schema = pa.schema(
        [("ID", pa.int64()), ("AMOUNT", pa.decimal128(18, 2)), ("SOLD", pa.timestamp("s"))]
    )
    tables = [
        pa.table(batch)
        for batch in connection.fetch_df_batches(
            "SELECT id, amount, sold FROM big ORDER BY id", size=25_000, requested_schema=schema
        )
    ]
    whole = pa.concat_tables(tables)
    assert whole.num_rows == BIG_ROWS
    assert whole.column("AMOUNT")[-1].as_py() == Decimal(BIG_ROWS) * Decimal("1.25")
    assert whole.column("SOLD")[0].as_py() == dt.datetime(2020, 1, 1, 1)


def test_lobs_come_as_values_and_by_locator(connection: oracledb.Connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, body, scan FROM doc ORDER BY id")
        by_locator = [
            tuple(v.read() if isinstance(v, oracledb.LOB) else v for v in row) for row in cursor
        ]
        cursor.execute("SELECT id, body, scan FROM doc ORDER BY id -- whole", fetch_lobs=False)
        whole = cursor.fetchall()
    assert whole == by_locator
    assert whole[0] == (1, "short", b"abc")
    assert whole[1][1:] == ("ยาว" * 20000, b"z" * 70000)
    assert whole[2] == (3, None, None)


def test_describe_tells_types_of_columns_and_expressions(cursor: oracledb.Cursor) -> None:
    cursor.execute(
        "SELECT id, amount, free, note, branch, sold, stamp, zoned, key16, COUNT(*) OVER () n,"
        " NVL(qty, 0), note || 'x', MAX(sold) OVER (), 'abc' FROM sale"
    )
    assert cursor.description is not None
    shown = [(c[0], c[1].name[8:], c[3], c[4], c[5], c[6]) for c in cursor.description]
    assert shown == [
        ("ID", "NUMBER", None, 18, 0, False),
        ("AMOUNT", "NUMBER", None, 18, 2, True),
        ("FREE", "NUMBER", None, 0, -127, True),
        ("NOTE", "VARCHAR", 20, None, None, True),
        ("BRANCH", "CHAR", 6, None, None, True),
        ("SOLD", "DATE", None, None, None, True),
        ("STAMP", "TIMESTAMP", None, 0, 6, True),
        ("ZONED", "TIMESTAMP_TZ", None, 0, 6, True),
        ("KEY16", "RAW", 16, None, None, True),
        ("N", "NUMBER", None, 0, -127, False),
        ("NVL(QTY,0)", "NUMBER", None, 0, -127, False),
        ("NOTE||'X'", "VARCHAR", 21, None, None, False),
        ("MAX(SOLD)OVER()", "DATE", None, None, None, True),
        ("'ABC'", "CHAR", 3, None, None, False),
    ]


def test_parse_resolves_names_and_describes_without_running(
    oracle: OracleStandIn, cursor: oracledb.Cursor
) -> None:
    cursor.parse("SELECT id FROM sale WHERE id = :x")
    assert oracle.stats()["executes"] == 0
    with refused("ORA-00942"):
        cursor.parse("SELECT id FROM nowhere")


def test_large_result_is_streamed(oracle: OracleStandIn, cursor: oracledb.Cursor) -> None:
    """A cross join of 300 million rows is opened, read a little, and left."""
    server = psutil.Process(oracle.pid)
    cursor.execute("SELECT a.id, b.name, a.name FROM big a, (SELECT * FROM big WHERE id <= 5000) b")
    before = server.memory_info().rss
    cursor.arraysize = 10_000
    for _ in range(5):
        assert len(cursor.fetchmany()) == 10_000
    assert server.memory_info().rss - before < 200 * 1024 * 1024


# -- what the server tells of itself


def test_module_and_action_are_logged(
    oracle: OracleStandIn, connection: oracledb.Connection
) -> None:
    connection.module, connection.action = "kpcluigi", "chunk 7"
    with connection.cursor() as cursor:
        cursor.execute("SELECT /*+ FULL(s) */ id FROM sale s WHERE id = :n", n=4)
        cursor.fetchall()
        cursor.execute("SELECT module, action FROM v$session WHERE module IS NOT NULL")
        assert cursor.fetchall() == [("kpcluigi", "chunk 7")]
    entry = oracle.log()[0]
    assert (entry["module"], entry["action"]) == ("kpcluigi", "chunk 7")
    assert (entry["binds"], entry["rows"], entry["hints"]) == ([4], 1, ["FULL(s)"])
    assert [e["n"] for e in oracle.log(since=1)] == [1]


# -- changes


def test_every_type_is_stored_and_read_back(ledger: oracledb.Connection) -> None:
    zoned = dt.datetime(2024, 5, 1, 9, 30)
    row = (
        1, Decimal("-12.34"), "ยา", "AB", Decimal("0.125"), dt.datetime(2024, 2, 29, 13),
        dt.datetime(2024, 2, 29, 13, 0, 0, 7), zoned, "ย" * 5000, b"\x01\x02",
    )  # fmt: skip
    with ledger.cursor() as cursor:
        cursor.setinputsizes(None, None, None, None, None, None, oracledb.DB_TYPE_TIMESTAMP)
        cursor.execute("INSERT INTO ledger VALUES (:1,:2,:3,:4,:5,:6,:7,:8,:9,:10)", row)
        assert cursor.rowcount == 1
        cursor.execute("SELECT * FROM ledger", fetch_lobs=False, fetch_decimals=True)
        found = cursor.fetchone()
    assert found == (*row[:3], "AB  ", *row[4:])


def test_executemany_counts_and_rollback_forgets(ledger: oracledb.Connection) -> None:
    with ledger.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO ledger (id, name) VALUES (:1, :2)", [(i, f"n{i}") for i in range(20)]
        )
        assert cursor.rowcount == 20
        cursor.execute("UPDATE ledger SET name = name || '!', id = id + 100 WHERE id < 5")
        assert cursor.rowcount == 5
        cursor.execute("DELETE FROM ledger WHERE id BETWEEN 10 AND 19")
        assert cursor.rowcount == 10
        cursor.execute("SELECT COUNT(*), MAX(id), MAX(name) FROM ledger")
        assert cursor.fetchone() == (10, 104, "n9")
        ledger.rollback()
        cursor.execute("SELECT COUNT(*) FROM ledger")
        assert cursor.fetchone() == (0,)


def test_others_see_a_change_after_commit_only(
    oracle: OracleStandIn, ledger: oracledb.Connection
) -> None:
    with connect(oracle) as other, other.cursor() as theirs, ledger.cursor() as mine:
        mine.execute("INSERT INTO ledger (id, name) VALUES (1, 'a')")
        theirs.execute("SELECT COUNT(*) FROM ledger")
        assert theirs.fetchone() == (0,)
        ledger.commit()
        theirs.execute("SELECT COUNT(*) FROM ledger")
        assert theirs.fetchone() == (1,)


def test_duplicate_key_leaves_the_rest_of_the_transaction(ledger: oracledb.Connection) -> None:
    with ledger.cursor() as cursor:
        cursor.execute("INSERT INTO ledger (id, name) VALUES (1, 'a')")
        with refused("ORA-00001"):
            cursor.execute("INSERT INTO ledger (id, name) VALUES (1, 'b')")
        cursor.execute("SELECT id, name FROM ledger")
        assert cursor.fetchall() == [(1, "a")]


def test_as_of_scn_reads_the_past(ledger: oracledb.Connection) -> None:
    with ledger.cursor() as cursor:
        cursor.execute("INSERT INTO ledger (id, name) VALUES (1, 'old')")
        cursor.execute("INSERT INTO ledger (id, name) VALUES (2, 'gone')")
        ledger.commit()
        cursor.execute("SELECT dbms_flashback.get_system_change_number FROM dual")
        scn = cursor.fetchall()[0][0]
        cursor.execute("UPDATE ledger SET name = 'new' WHERE id = 1")
        cursor.execute("DELETE FROM ledger WHERE id = 2")
        cursor.execute("INSERT INTO ledger (id, name) VALUES (3, 'young')")
        past = "SELECT id, name FROM ledger AS OF SCN :scn ORDER BY id"
        for _ in range(2):
            cursor.execute(past, scn=scn)
            assert cursor.fetchall() == [(1, "old"), (2, "gone")]
            ledger.commit()
        cursor.execute("SELECT id, name FROM ledger ORDER BY id")
        assert cursor.fetchall() == [(1, "new"), (3, "young")]


def test_scn_moves_on_with_every_look(cursor: oracledb.Cursor) -> None:
    seen = []
    for _ in range(3):
        for sql in (
            "SELECT current_scn FROM v$database",
            "SELECT dbms_flashback.get_system_change_number FROM dual",
        ):
            cursor.execute(sql)
            seen += cursor.fetchall()
    assert seen == sorted(set(seen))


def test_read_only_transaction_sees_one_moment(
    oracle: OracleStandIn, ledger: oracledb.Connection
) -> None:
    with connect(oracle) as reader, reader.cursor() as reading, ledger.cursor() as writing:
        reading.execute("SET TRANSACTION READ ONLY")
        writing.execute("INSERT INTO ledger (id, name) VALUES (1, 'a')")
        ledger.commit()
        reading.execute("SELECT COUNT(*) FROM ledger")
        assert reading.fetchone() == (0,)
        with refused("ORA-01456"):
            reading.execute("DELETE FROM ledger")
        reader.commit()
        reading.execute("SELECT COUNT(*) FROM ledger")
        assert reading.fetchone() == (1,)


# -- breaks and faults


def test_call_timeout_breaks_a_running_statement(connection: oracledb.Connection) -> None:
    with connection.cursor() as cursor:
        connection.call_timeout = 300
        started = time.monotonic()
        with refused("DPY-4024"):
            cursor.execute("SELECT SUM(a.amount * b.amount) FROM big a, big b, big c")
        assert time.monotonic() - started < 3
        connection.call_timeout = 0
        cursor.execute("SELECT COUNT(*) FROM sale")
        assert cursor.fetchone() == (5,)


def test_cancel_from_another_thread(connection: oracledb.Connection) -> None:
    timer = threading.Timer(0.3, connection.cancel)
    with connection.cursor() as cursor:
        timer.start()
        with refused("ORA-01013"):
            cursor.execute("SELECT SUM(a.amount * b.amount) FROM big a, big b, big c")
        timer.join()
        cursor.execute("SELECT 1 FROM dual")
        assert cursor.fetchone() == (1,)


def test_armed_error_strikes_the_nth_fetch(oracle: OracleStandIn, cursor: oracledb.Cursor) -> None:
    oracle.arm(on="fetch", match="from big", nth=3, ora=1555)
    cursor.arraysize = cursor.prefetchrows = 1000
    cursor.execute("SELECT id FROM big")
    assert len(cursor.fetchmany(3000)) == 3000
    with refused("ORA-01555"):
        cursor.fetchmany(1000)
    cursor.execute("SELECT id FROM big")
    assert len(cursor.fetchall()) == BIG_ROWS


def test_armed_error_strikes_matching_statements_only(
    oracle: OracleStandIn, cursor: oracledb.Cursor
) -> None:
    oracle.arm(on="execute", match="BRANCH", times=2, ora=8103)
    cursor.execute("SELECT 1 FROM dual")
    for _ in range(2):
        with refused("ORA-08103"):
            cursor.execute("SELECT code FROM branch")
    cursor.execute("SELECT code FROM branch")


def test_armed_drop_ends_the_session(oracle: OracleStandIn) -> None:
    connection = connect(oracle)
    oracle.arm(on="fetch", drop=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM big")
        with refused("DPY-4011"):
            cursor.fetchall()
    assert not connection.is_healthy()
    assert_nobody_is_logged_in(oracle)


def test_armed_delay_ends_with_the_clients_break(
    oracle: OracleStandIn, connection: oracledb.Connection
) -> None:
    oracle.arm(on="execute", delay=30)
    connection.call_timeout = 200
    with connection.cursor() as cursor:
        started = time.monotonic()
        with refused("DPY-4024"):
            cursor.execute("SELECT 1 FROM dual")
        assert time.monotonic() - started < 3
    connection.ping()


def test_armed_refusal_of_a_login(oracle: OracleStandIn) -> None:
    oracle.arm(on="login", ora=1017)
    with refused("ORA-01017"):
        connect(oracle)
    with connect(oracle) as opened:
        opened.ping()


def test_unknown_fault_is_refused(oracle: OracleStandIn) -> None:
    with pytest.raises(Exception, match="400"):
        oracle.arm(on="sometimes", ora=1)
