"""Synonyms: whose are found by which name, and what they show of what may not be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import oracledb
import pytest

from kpcluigi.rehearsal.oracle import OracleStandIn
from kpcluigi.rehearsal.oracle.catalog import Column, Table, create_synonym, create_table

USER, PASSWORD = "KPC", "test-password"


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OracleStandIn]:
    database = tmp_path_factory.mktemp("synonyms") / "oracle.duckdb"
    with duckdb.connect(str(database)) as con:
        for name in ("OPEN", "GUARDED"):
            create_table(con, Table("XX", name, (Column("ID", "NUMBER"),)))
        con.execute('INSERT INTO "XX"."OPEN" (ID) VALUES (\'7\')')
        create_synonym(con, "apps", "s_open", ("xx", "open"))
        create_synonym(con, "APPS", "S_GUARDED", ("XX", "GUARDED"))
        create_synonym(con, "APPS", "S_GONE", ("XX", "GONE"))
        create_synonym(con, "PUBLIC", "P_OPEN", ("XX", "OPEN"))
        create_synonym(con, "PUBLIC", "P_GUARDED", ("XX", "GUARDED"))
        with pytest.raises(ValueError, match="is a table"):
            create_synonym(con, "XX", "OPEN", ("XX", "GUARDED"))
    with OracleStandIn(
        database, user=USER, password=PASSWORD, revoked=["SELECT XX.GUARDED"]
    ) as oracle:
        yield oracle


def rows(oracle: OracleStandIn, sql: str) -> list[tuple[Any, ...]]:
    with oracledb.connect(user=USER, password=PASSWORD, dsn=oracle.dsn) as connection:
        return list(connection.cursor().execute(sql))


@pytest.mark.parametrize("name", ["APPS.S_OPEN", "apps.s_open x", "P_OPEN"])
def test_a_synonym_is_read_like_its_table(oracle: OracleStandIn, name: str) -> None:
    assert rows(oracle, f"SELECT id FROM {name}") == [(7,)]


@pytest.mark.parametrize(
    ("name", "number"),
    [("APPS.S_GUARDED", 942), ("P_GUARDED", 942), ("S_OPEN", 942), ("APPS.P_OPEN", 942),
     ("APPS.S_GONE", 980)],
)  # fmt: skip
def test_a_synonym_that_cannot_be_read(oracle: OracleStandIn, name: str, number: int) -> None:
    with pytest.raises(oracledb.DatabaseError, match=f"ORA-00{number}"):
        rows(oracle, f"SELECT id FROM {name}")


def test_which_synonyms_are_shown(oracle: OracleStandIn) -> None:
    """Public ones all; others' only where what they lead to may be read."""
    shown = [("APPS", "S_OPEN"), ("PUBLIC", "P_GUARDED"), ("PUBLIC", "P_OPEN")]
    assert rows(oracle, "SELECT owner, synonym_name FROM all_synonyms ORDER BY 1, 2") == shown
    objects = (
        "SELECT owner, object_name FROM all_objects WHERE object_type = 'SYNONYM' ORDER BY 1, 2"
    )
    assert rows(oracle, objects) == shown
    assert rows(oracle, "SELECT synonym_name FROM user_synonyms") == []
