"""Every error that a database is known for can be armed anywhere, and text can be spoiled."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import oracledb
import pyarrow as pa
import pytest

from kpcluigi.rehearsal.oracle import OracleStandIn

from .client import connect, fetched
from .conftest import PASSWORD

LOST = {3113, 3135}
"""The driver closes the session and says DPY-4011 for these."""

KNOWN = (60, 942, 1017, 1031, 1033, 1410, 1466, 1555, 1652, 3113, 3135, 4031, 8103, 8181, 12514,
         12541)  # fmt: skip


@pytest.fixture
def own(oracle: OracleStandIn) -> Iterator[oracledb.Connection]:
    """A connection that may break."""
    connection = connect(oracle)
    yield connection
    if connection.is_healthy():
        connection.close()


def check(error: oracledb.Error, number: int) -> None:
    info = error.args[0]
    assert info.code == number
    assert info.full_code == ("DPY-4011" if number in LOST else f"ORA-{number:05d}")
    if number not in LOST:
        assert re.match(rf"ORA-{number:05d}: \S.{{8,}}", info.message)
        assert "armed by a test" not in info.message
        assert "{}" not in info.message
        assert "?" not in info.message
    assert info.isrecoverable is (number in LOST | {1033, 12514})


@pytest.mark.parametrize("number", KNOWN)
@pytest.mark.parametrize("event", ["login", "execute", "fetch"])
def test_known_errors_strike_anywhere(
    oracle: OracleStandIn, own: oracledb.Connection, event: str, number: int
) -> None:
    with own.cursor() as cursor:
        cursor.arraysize = cursor.prefetchrows = 100
        if event == "fetch":
            cursor.execute("SELECT id FROM big")
        oracle.arm(on=event, ora=number)
        acts: dict[str, Callable[[], object]] = {
            "login": lambda: connect(oracle),
            "execute": lambda: cursor.execute("SELECT id FROM big"),
            "fetch": cursor.fetchall,
        }
        with pytest.raises(oracledb.Error) as refused:
            acts[event]()
        check(refused.value, number)
        if event != "login":
            assert own.is_healthy() is (number not in LOST)
    with connect(oracle) as another, another.cursor() as cursor:
        assert fetched(cursor, "SELECT COUNT(*) FROM sale") == [(5,)]


TEXTS = "SELECT id, name, name AS second FROM big ORDER BY id"


def test_garbled_text_of_a_fetch_is_no_utf8(oracle: OracleStandIn, cursor: oracledb.Cursor) -> None:
    cursor.arraysize = cursor.prefetchrows = 10
    oracle.arm(on="fetch", match="from big", garble=True)
    cursor.execute(TEXTS)
    assert len(cursor.fetchmany(10)) == 10
    with pytest.raises(UnicodeDecodeError):
        cursor.fetchmany(10)
    assert len(cursor.execute(TEXTS).fetchmany(50)) == 50


def raw(cursor: oracledb.Cursor, metadata: oracledb.FetchInfo) -> oracledb.Var | None:
    if metadata.type_code is oracledb.DB_TYPE_VARCHAR:
        return cursor.var(str, arraysize=cursor.arraysize, bypass_decode=True)
    return None


@pytest.mark.parametrize(("column", "spoiled"), [("SECOND", 2), (".*", 1), ("name", 1)])
def test_garbled_text_keeps_its_length(
    oracle: OracleStandIn, cursor: oracledb.Cursor, column: str, spoiled: int
) -> None:
    cursor.outputtypehandler = raw
    clean = cursor.execute(TEXTS).fetchmany(3)
    oracle.arm(on="execute", garble=True, column=column)
    found = cursor.execute(TEXTS).fetchmany(3)
    assert found[1:] == clean[1:]
    expected = list(clean[0])
    expected[spoiled] = b"\xff" + expected[spoiled][1:]
    assert list(found[0]) == expected


def test_garbled_text_reaches_arrow(oracle: OracleStandIn) -> None:
    oracle.arm(on="execute", garble=True)
    with connect(oracle) as connection:
        batch = pa.table(connection.fetch_df_all("SELECT name FROM big WHERE id = 1"))
    with pytest.raises(pa.ArrowInvalid):
        batch.validate(full=True)


def test_garbled_clob_is_no_utf8(oracle: OracleStandIn, cursor: oracledb.Cursor) -> None:
    oracle.arm(on="execute", garble=True, column="BODY")
    with pytest.raises(UnicodeDecodeError):
        cursor.execute("SELECT id, body FROM doc", fetch_lobs=False).fetchall()


@pytest.mark.parametrize(
    "fault",
    [
        {"on": "login", "garble": True},
        {"on": "fetch", "garble": False},
        {"on": "fetch", "ora": 1, "column": "A"},
        {"on": "fetch", "ora": 1, "garble": True},
    ],
)
def test_meaningless_garble_is_refused(oracle: OracleStandIn, fault: dict[str, object]) -> None:
    with pytest.raises(Exception, match="400"):
        oracle.arm(**fault)


def test_password_is_asked_before_privileges(oracle: OracleStandIn) -> None:
    oracle.revoke("CREATE SESSION")
    with pytest.raises(oracledb.Error, match="ORA-01017"):
        oracledb.connect(user="kpc", password=PASSWORD + "x", dsn=oracle.dsn)
