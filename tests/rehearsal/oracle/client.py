"""How the tests of this folder talk to the server: connecting, fetching, and being refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import oracledb
import pytest

from kpcluigi.rehearsal.oracle import OracleStandIn

from .conftest import PASSWORD


def connect(oracle: OracleStandIn) -> oracledb.Connection:
    return oracledb.connect(user="kpc", password=PASSWORD, dsn=oracle.dsn)


@contextmanager
def refused(code: str) -> Iterator[None]:
    with pytest.raises(oracledb.Error) as caught:
        yield
    assert caught.value.args[0].full_code == code


def fetched(cursor: oracledb.Cursor, sql: str, **binds: object) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    return list(cursor.execute(sql, **binds).fetchall())


def present_scn(cursor: oracledb.Cursor) -> int:
    scn = fetched(cursor, "SELECT dbms_flashback.get_system_change_number FROM dual")[0][0]
    assert isinstance(scn, int)
    return scn
