"""Totals are Oracle's own numbers, to the last digit, from one statement."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import duckdb
import oracledb
import pytest

from kpcluigi.markers import SourceTotals
from kpcluigi.oracle import Source, Window, connect, describe_source, read_totals
from kpcluigi.rehearsal.oracle import OracleStandIn
from kpcluigi.rehearsal.oracle.catalog import Column, Table, create_table
from kpcluigi.tables import Table as Mapping
from kpcluigi.tables import parse_tables

USER, PASSWORD = "READER", "test-password"
WINDOW = Window(date(2024, 1, 1), date(2024, 1, 10))
ROWS = 4_000
"""Of which every tenth lies outside of the window."""

SALES = Table(
    "READER",
    "SALES",
    (
        Column("ID", "NUMBER(20)", nullable=False),
        Column("AMOUNT", "NUMBER(18,4)"),
        Column("LOOSE", "NUMBER"),
        Column("VOID", "CHAR(3)"),
        Column("NOTE", "VARCHAR2(40 CHAR)"),
        Column("SEEN", "TIMESTAMP(6) WITH TIME ZONE"),
        Column("BODY", "CLOB"),
        Column("CREATED_DATE", "DATE", nullable=False),
    ),
)
"""Without a primary key."""


def created(i: int) -> datetime:
    """Over ten days; every tenth row a day before the window."""
    if i % 10 == 9:
        return datetime(2023, 12, 31, 23, 59, 59)
    return datetime(2024, 1, 1) + timedelta(days=i % 10, seconds=i)


def amount(i: int) -> Decimal | None:
    return None if i % 7 == 0 else Decimal(10**13 + i) / 10_000


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OracleStandIn]:
    database: Path = tmp_path_factory.mktemp("oracle") / "oracle.duckdb"
    with duckdb.connect(str(database)) as con:
        create_table(con, SALES)
        con.execute(
            f"""INSERT INTO "READER"."SALES"
                (ID, AMOUNT, LOOSE, VOID, NOTE, SEEN, BODY, CREATED_DATE)
            SELECT 90000000000000000000::DECIMAL(20,0) + i,
                CASE WHEN i % 7 <> 0 THEN (10000000000000 + i)::DECIMAL(18,0) / 10000 END,
                i || '.' || repeat('0', 25) || '1', 'Y',
                CASE WHEN i % 3 = 0 THEN 'ร้าน ' || i END,
                TIMESTAMP '2024-01-01 17:00:00', repeat('ก', i % 4),
                CASE WHEN i % 10 = 9 THEN TIMESTAMP '2023-12-31 23:59:59'
                     ELSE TIMESTAMP '2024-01-01' + to_days((i % 10)::INTEGER)
                          + to_seconds(i) END
            FROM range({ROWS}) r(i)"""
        )
    with OracleStandIn(database, user=USER, password=PASSWORD) as oracle:
        yield oracle


@pytest.fixture
def connection(oracle: OracleStandIn) -> Iterator[oracledb.Connection]:
    with connect(dsn=oracle.dsn, user=USER, password=PASSWORD, module="test") as connection:
        yield connection


def mapping() -> Mapping:
    kinds = {
        "ID": "text",
        "AMOUNT": "decimal",
        "LOOSE": "decimal",
        "VOID": "text",
        "NOTE": "text",
        "SEEN": "datetime",
        "BODY": "text",
        "CREATED_DATE": "datetime",
    }
    table = {
        "phase": 1,
        "object": "T__c",
        "external_id": "ID__c",
        "key": ["ID"],
        "partition_column": "CREATED_DATE",
        "columns": {name: {"field": f"{name}__c", "type": kind} for name, kind in kinds.items()},
    }
    return parse_tables({"tables": {"SALES": table}})["SALES"]


def described(connection: oracledb.Connection) -> Source:
    return describe_source(connection, owner=USER, table=mapping(), window=WINDOW)


def totals(connection: oracledb.Connection, sample_rows: int = 50) -> SourceTotals:
    source = described(connection)
    return read_totals(connection, source, scn=None, rows=ROWS, sample_rows=sample_rows)


def test_every_column_has_its_totals_per_day_and_over_all(
    connection: oracledb.Connection,
) -> None:
    found = totals(connection)
    rows = [i for i in range(ROWS) if i % 10 != 9]
    assert found.rows == len(rows)
    assert [day.day for day in found.ranges] == [f"2024-01-{d:02d}" for d in range(1, 10)]
    amounts = [a for i in rows if (a := amount(i)) is not None]
    total = found.total["AMOUNT"]
    assert total.non_null == len(amounts)
    assert Decimal(total.sum or "") == sum(amounts)
    mean = Fraction(sum(amounts)) / len(amounts)
    assert abs(Fraction(total.avg or "") - mean) < Fraction(1, 10**27)
    assert (Decimal(total.min or ""), Decimal(total.max or "")) == (min(amounts), max(amounts))
    assert total.length is None
    loose = Fraction(found.total["LOOSE"].sum or "")
    assert loose == sum(rows) + Fraction(len(rows), 10**26), "26 places are all there"
    third = [i for i in rows if i % 10 == 2]
    assert found.ranges[2].rows == len(third)
    summed = sum(a for a in map(amount, third) if a is not None)
    assert Decimal(found.ranges[2].columns["AMOUNT"].sum or "") == summed
    assert found.ranges[2].columns["CREATED_DATE"].min == f"{created(2)}"
    assert found.total["CREATED_DATE"].max == f"{max(created(i) for i in rows)}"
    assert found.total["ID"].sum is None, "names made of digits are not added up"
    assert found.total["ID"].max == str(90_000_000_000_000_000_000 + rows[-1])
    notes = [i for i in rows if i % 3 == 0]
    assert found.total["NOTE"].non_null == len(notes)
    assert found.total["NOTE"].length == sum(len(f"ร้าน {i}") for i in notes)
    assert found.total["VOID"].length == 3 * len(rows), "CHAR is padded"
    assert found.total["SEEN"].min == "2024-01-01 17:00:00.000000"
    assert found.total["BODY"].length == sum(i % 4 for i in rows)


def test_the_sample_shows_rows_as_oracle_holds_them_and_is_repeatable(
    connection: oracledb.Connection,
) -> None:
    found = totals(connection)
    assert found.sample == totals(connection).sample
    assert len(found.sample) == 50
    for key, row in found.sample.items():
        i = int(key) - 90_000_000_000_000_000_000
        assert i % 10 != 9
        assert row["ID"] == key
        expected = amount(i)
        assert row["AMOUNT"] == (None if expected is None else f"{expected.normalize():f}")
        assert row["NOTE"] == (f"ร้าน {i}" if i % 3 == 0 else None)
        assert row["CREATED_DATE"] == f"{created(i)}"
        assert row["BODY"] == ("ก" * (i % 4) or None)
    days = {created(int(key) - 90_000_000_000_000_000_000).day for key in found.sample}
    assert len(days) >= 6, "it is drawn from all over the table"


def test_a_table_smaller_than_the_sample_is_all_in_it(connection: oracledb.Connection) -> None:
    assert len(totals(connection, sample_rows=ROWS).sample) == ROWS - ROWS // 10
    assert totals(connection, sample_rows=0).sample == {}


def test_one_statement_touches_the_table(
    oracle: OracleStandIn, connection: oracledb.Connection
) -> None:
    source = described(connection)
    since = len(oracle.log())
    read_totals(connection, source, scn=None, rows=ROWS, sample_rows=50)
    assert [entry["sql"].count("READER.SALES") for entry in oracle.log(since)] == [1]


def test_an_external_id_that_two_rows_share_is_named(connection: oracledb.Connection) -> None:
    key = "90000000000000000001"
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE sales SET id = {key} WHERE id = 90000000000000000002")
        found = totals(connection, sample_rows=ROWS)
    connection.rollback()
    assert found.duplicate_keys == [key]
    assert key not in found.sample
