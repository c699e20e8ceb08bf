"""What the user may not do is refused in Oracle's words, and can be changed while it runs."""

from __future__ import annotations

import urllib.error
from collections.abc import Iterator
from pathlib import Path

import duckdb
import oracledb
import pytest

from kpcluigi.rehearsal.oracle import OracleStandIn
from kpcluigi.rehearsal.oracle.catalog import create_table

from .client import connect, fetched, refused
from .conftest import PASSWORD, PLACE, SALE

SCN = "SELECT dbms_flashback.get_system_change_number FROM dual"
PLACE_THEN = "SELECT name FROM hr.place AS OF SCN 1000000"


def test_catalogue_views_need_a_grant(oracle: OracleStandIn, cursor: oracledb.Cursor) -> None:
    views = ("dba_extents", "dba_segments", "dba_objects")
    for view in views:
        with refused("ORA-00942"):
            cursor.execute(f"SELECT COUNT(*) FROM {view}")
    oracle.grant("select dba_extents")
    assert fetched(cursor, "SELECT COUNT(*) FROM sys.dba_extents")[0][0] > 20
    with refused("ORA-00942"):
        cursor.execute("SELECT COUNT(*) FROM dba_segments")
    oracle.grant("SELECT_CATALOG_ROLE")
    assert all(fetched(cursor, f"SELECT COUNT(*) FROM {v}")[0][0] for v in views)
    oracle.reset()
    for view in views:
        with refused("ORA-00942"):
            cursor.execute(f"SELECT COUNT(*) FROM {view}")


def test_table_without_select_is_not_there(oracle: OracleStandIn, cursor: oracledb.Cursor) -> None:
    seen = "SELECT COUNT(*) FROM {} WHERE owner = 'HR'"
    views = ("all_tables", "all_tab_columns", "all_objects", "all_constraints", "all_indexes")
    assert fetched(cursor, "SELECT name FROM hr.place") == [("Head office",)]
    assert all(fetched(cursor, seen.format(v)) != [(0,)] for v in views)
    oracle.revoke("SELECT HR.PLACE")
    for sql in ("SELECT name FROM hr.place", PLACE_THEN, "DELETE FROM hr.place"):
        with refused("ORA-00942"):
            cursor.execute(sql)
    assert all(fetched(cursor, seen.format(v)) == [(0,)] for v in views)
    oracle.grant("SELECT HR.PLACE")
    assert fetched(cursor, "SELECT name FROM hr.place") == [("Head office",)]


def test_flashback_needs_its_privilege(oracle: OracleStandIn, cursor: oracledb.Cursor) -> None:
    assert fetched(cursor, PLACE_THEN) == [("Head office",)]
    oracle.revoke("FLASHBACK HR.PLACE")
    with refused("ORA-01031"):
        cursor.execute(PLACE_THEN)
    with refused("ORA-01031"):
        cursor.execute(f"EXPLAIN PLAN FOR {PLACE_THEN}")
    assert fetched(cursor, "SELECT name FROM hr.place") == [("Head office",)]
    assert fetched(cursor, "SELECT COUNT(*) FROM sale AS OF SCN 1000000") == [(5,)]
    oracle.grant("FLASHBACK ANY TABLE")
    assert fetched(cursor, PLACE_THEN) == [("Head office",)]
    assert ("FLASHBACK ANY TABLE",) in fetched(cursor, "SELECT privilege FROM session_privs")


def test_scn_needs_a_privilege_either_way(oracle: OracleStandIn, cursor: oracledb.Cursor) -> None:
    oracle.revoke("EXECUTE DBMS_FLASHBACK")
    with refused("ORA-00904"):
        cursor.execute(SCN)
    assert fetched(cursor, "SELECT current_scn FROM v$database")
    oracle.revoke("SELECT V$DATABASE")
    with refused("ORA-00942"):
        cursor.execute("SELECT current_scn FROM v$database")
    oracle.grant("EXECUTE DBMS_FLASHBACK")
    assert fetched(cursor, SCN)


def test_login_needs_create_session(oracle: OracleStandIn) -> None:
    oracle.revoke("CREATE SESSION")
    with refused("ORA-01045"):
        connect(oracle)
    oracle.reset()
    connect(oracle).close()


@pytest.mark.parametrize("privilege", ["SELECT HR.NOWHERE", "DANCE", "SELECT", ""])
def test_unknown_privilege_is_refused(oracle: OracleStandIn, privilege: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="400"):
        oracle.revoke(privilege)
    with pytest.raises(urllib.error.HTTPError, match="400"):
        oracle.grant(privilege)


def test_owners_rights_cannot_be_taken(oracle: OracleStandIn, cursor: oracledb.Cursor) -> None:
    for verb in ("SELECT", "FLASHBACK"):
        with pytest.raises(urllib.error.HTTPError, match="400"):
            oracle.revoke(f"{verb} KPC.SALE")
    assert fetched(cursor, "SELECT COUNT(*) FROM sale AS OF SCN 1000000") == [(5,)]


@pytest.fixture
def poor(tmp_path: Path) -> Iterator[OracleStandIn]:
    """A server of its own whose user starts with other privileges."""
    path = tmp_path / "own.duckdb"
    with duckdb.connect(str(path)) as con:
        create_table(con, PLACE)
        create_table(con, SALE)
    with OracleStandIn(
        path,
        user="KPC",
        password=PASSWORD,
        granted=["SELECT_CATALOG_ROLE"],
        revoked=["SELECT HR.PLACE", "EXECUTE DBMS_FLASHBACK"],
    ) as running:
        yield running


def test_privileges_of_the_start_are_what_reset_brings_back(poor: OracleStandIn) -> None:
    poor.grant("SELECT HR.PLACE")
    with connect(poor) as connection, connection.cursor() as cursor:
        assert fetched(cursor, "SELECT name FROM hr.place") == []
        poor.reset()
        with refused("ORA-00942"):
            cursor.execute("SELECT name FROM hr.place")
        with refused("ORA-00904"):
            cursor.execute(SCN)
        assert fetched(cursor, "SELECT COUNT(*) FROM dba_extents") == [(0,)]
