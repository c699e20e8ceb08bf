"""Planned chunks hold every row of the window exactly once, values exact, at one SCN."""

from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal

import duckdb
import oracledb
import polars as pl
import pytest

from kpcluigi.errors import OracleError
from kpcluigi.markers import Plan, SourceTotals
from kpcluigi.oracle import (
    Source,
    Window,
    connect,
    describe_source,
    plan_chunks,
    read_chunk,
    read_totals,
    retrying,
)
from kpcluigi.oracle.connection import passing
from kpcluigi.oracle.plan import boundaries_sql
from kpcluigi.rehearsal.oracle import OracleStandIn
from kpcluigi.rehearsal.oracle.catalog import Column, Table, create_table
from kpcluigi.tables import Table as Mapping
from kpcluigi.tables import parse_tables

USER, PASSWORD = "READER", "test-password"
WINDOW = Window(date(2024, 1, 1), date(2024, 12, 31))


def mapping(table: str, *key: str, chunk_size: int = 10_000, **columns: str) -> Mapping:
    fields = {
        name: {"field": f"F{i}__c", "type": kind} for i, (name, kind) in enumerate(columns.items())
    }
    document = {
        "tables": {
            table: {
                "phase": 1,
                "object": "T__c",
                "external_id": "F0__c",
                "key": list(key),
                "partition_column": "CREATED_DATE",
                "chunk_size": chunk_size,
                "columns": fields,
            }
        }
    }
    return parse_tables(document)[table]


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OracleStandIn]:
    database = tmp_path_factory.mktemp("oracle") / "oracle.duckdb"
    with duckdb.connect(str(database)) as con:
        make_tables(con)
    with OracleStandIn(database, user=USER, password=PASSWORD) as oracle:
        yield oracle


def make_tables(con: duckdb.DuckDBPyConnection) -> None:
    created = Column("CREATED_DATE", "DATE")
    create_table(
        con,
        Table(
            "READER",
            "NUMBERS",
            (
                Column("ID", "NUMBER(38)", nullable=False),
                Column("AMOUNT", "NUMBER(18,4)"),
                Column("LOOSE", "NUMBER"),
                Column("NAME", "VARCHAR2(200 CHAR)"),
                created,
            ),
            ("ID",),
        ),
    )
    con.execute(
        """INSERT INTO "READER"."NUMBERS" (ID, AMOUNT, LOOSE, NAME, CREATED_DATE)
        SELECT 12345678901234567890123456780000000000::DECIMAL(38,0) + i * 7,
            i / 10000.0, i || '.000000000001',
            'ชื่อ ' || i,
            CASE i % 4 WHEN 0 THEN TIMESTAMP '2024-01-01 00:00:00'
                       WHEN 1 THEN TIMESTAMP '2024-12-31 23:59:59'
                       WHEN 2 THEN TIMESTAMP '2023-12-31 23:59:59'
                       ELSE TIMESTAMP '2025-01-01 00:00:00' END
        FROM range(50000) r(i)"""
    )
    create_table(
        con,
        Table(
            "READER",
            "PAIRS",
            (
                Column("CODE", "VARCHAR2(20)", nullable=False),
                Column("LINE_NO", "NUMBER(4)", nullable=False),
                created,
            ),
            ("CODE", "LINE_NO"),
        ),
    )
    con.execute(
        """INSERT INTO "READER"."PAIRS" (CODE, LINE_NO, CREATED_DATE)
        SELECT 'C' || (i // 9), i % 9, TIMESTAMP '2024-06-01 12:00:00' FROM range(35000) r(i)"""
    )
    create_table(
        con,
        Table("READER", "GAPPY", (Column("ID", "NUMBER(10)"), Column("N", "NUMBER(10)"), created)),
    )
    con.execute(
        """INSERT INTO "READER"."GAPPY" (ID, N, CREATED_DATE)
        SELECT CASE WHEN i % 5 = 0 THEN NULL ELSE i END, i, TIMESTAMP '2024-06-01 12:00:00'
        FROM range(20000) r(i)"""
    )
    create_table(
        con,
        Table(
            "READER",
            "ZONED",
            (
                Column("STAMP", "TIMESTAMP(6)", nullable=False),
                Column("SEEN", "TIMESTAMP(6) WITH TIME ZONE"),
                Column("SEEN_ON", "TIMESTAMP(6) WITH TIME ZONE"),
                created,
            ),
            ("STAMP",),
        ),
    )
    con.execute(
        """INSERT INTO "READER"."ZONED" (STAMP, SEEN, SEEN_ON, CREATED_DATE)
        SELECT TIMESTAMP '2024-01-01 00:00:00' + INTERVAL (i) MICROSECOND,
            TIMESTAMP '2023-12-31 20:00:00', TIMESTAMP '2023-12-31 20:00:00',
            TIMESTAMP '2024-06-01 12:00:00' FROM range(15000) r(i)"""
    )
    create_table(
        con, Table("READER", "EMPTY", (Column("ID", "NUMBER(10)", nullable=False), created))
    )
    create_table(
        con, Table("READER", "WIDE", (Column("ID", "NUMBER(10)"), Column("B", "BLOB"), created))
    )


@pytest.fixture
def connection(oracle: OracleStandIn) -> Iterator[oracledb.Connection]:
    oracle.disarm()
    with connect(dsn=oracle.dsn, user=USER, password=PASSWORD, module="test") as connection:
        yield connection


def planned(connection: oracledb.Connection, table: Mapping) -> tuple[Source, Plan]:
    source = describe_source(connection, owner="READER", table=table, window=WINDOW)
    return source, plan_chunks(connection, source, fingerprint="f")


def totals(connection: oracledb.Connection, source: Source, scn: int | None) -> SourceTotals:
    return read_totals(connection, source, scn=scn, rows=25_000, sample_rows=100)


def read(connection: oracledb.Connection, source: Source, plan: Plan) -> list[pl.DataFrame]:
    return [
        pl.concat(list(read_chunk(connection, source, chunk, scn=plan.scn)))
        for chunk in plan.chunks
    ]


def test_a_wide_number_key_is_cut_and_read_exactly(connection: oracledb.Connection) -> None:
    table = mapping("NUMBERS", "ID", ID="text", AMOUNT="decimal", LOOSE="text", NAME="text")
    source, plan = planned(connection, table)
    assert plan.rows == 25_000
    assert [chunk.rows for chunk in plan.chunks] == [10_000, 10_000, 5_000]
    assert plan.chunks[0].low is None
    assert plan.chunks[-1].high is None
    chunks = read(connection, source, plan)
    assert [chunk.height for chunk in chunks] == [10_000, 10_000, 5_000]
    rows = pl.concat(chunks)
    expected = [i for i in range(50_000) if i % 4 in (0, 1)]
    base = 12345678901234567890123456780000000000
    assert rows["ID"].cast(pl.String).to_list() == [str(base + 7 * i) for i in expected]
    assert rows["AMOUNT"].to_list() == [Decimal(i) / 10_000 for i in expected]
    assert rows["LOOSE"].to_list() == [
        f"{i}.000000000001" if i else ".000000000001" for i in expected
    ]
    assert rows["NAME"].to_list() == [f"ชื่อ {i}" for i in expected]
    assert totals(connection, source, plan.scn).rows == 25_000


def test_a_composite_key_is_cut_between_its_parts(connection: oracledb.Connection) -> None:
    source, plan = planned(
        connection, mapping("PAIRS", "CODE", "LINE_NO", CODE="text", LINE_NO="decimal")
    )
    assert plan.key_types == ["text", "number"]
    rows = pl.concat(read(connection, source, plan))
    pairs = list(zip(rows["CODE"].to_list(), rows["LINE_NO"].to_list(), strict=True))
    assert len(pairs) == 35_000
    assert len(set(pairs)) == 35_000
    assert pairs == sorted(pairs)


def test_rows_with_a_null_key_have_a_chunk_of_their_own(connection: oracledb.Connection) -> None:
    source, plan = planned(connection, mapping("GAPPY", "ID", ID="text", N="decimal"))
    assert [(chunk.rows, chunk.null_keys) for chunk in plan.chunks] == [
        (10_000, False),
        (6_000, False),
        (4_000, True),
    ]
    rows = pl.concat(read(connection, source, plan))
    assert sorted(rows["N"].to_list()) == list(range(20_000))


def test_a_timestamp_key_keeps_its_microseconds_and_zones_are_the_databases(
    connection: oracledb.Connection,
) -> None:
    table = mapping("ZONED", "STAMP", STAMP="text", SEEN="datetime", SEEN_ON="date")
    source, plan = planned(connection, table)
    assert [chunk.rows for chunk in plan.chunks] == [10_000, 5_000]
    chunks = read(connection, source, plan)
    assert [chunk.height for chunk in chunks] == [10_000, 5_000]
    assert source.in_utc == {"SEEN"}
    assert chunks[0]["SEEN"][0] == datetime(2023, 12, 31, 20)
    assert chunks[0]["SEEN_ON"][0] == datetime(2024, 1, 1, 3), "the day as it stands in Bangkok"


def test_a_type_that_cannot_become_the_mapped_one_is_refused(
    connection: oracledb.Connection,
) -> None:
    with pytest.raises(OracleError, match=r"NUMBERS.NAME is DB_TYPE_VARCHAR, but .* as date"):
        describe_source(
            connection,
            owner="READER",
            table=mapping("NUMBERS", "ID", ID="text", NAME="date"),
            window=WINDOW,
        )


def test_an_empty_window_has_no_chunk(connection: oracledb.Connection) -> None:
    _, plan = planned(connection, mapping("EMPTY", "ID", ID="text"))
    assert (plan.rows, plan.chunks) == (0, [])


def test_later_changes_are_not_seen(connection: oracledb.Connection) -> None:
    source, plan = planned(
        connection, mapping("PAIRS", "CODE", "LINE_NO", CODE="text", LINE_NO="decimal")
    )
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM pairs WHERE code = 'C7'")
        cursor.execute(
            "INSERT INTO pairs (code, line_no, created_date) VALUES ('C7777', 99, :d)",
            d=datetime(2024, 6, 1),
        )
    connection.commit()
    try:
        assert sum(chunk.height for chunk in read(connection, source, plan)) == 35_000
        assert totals(connection, source, plan.scn).rows == 35_000
        assert totals(connection, source, None).rows == 34_992
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM pairs WHERE code = 'C7777'")
            cursor.executemany(
                "INSERT INTO pairs (code, line_no, created_date) VALUES ('C7', :n, :d)",
                [{"n": n, "d": datetime(2024, 6, 1, 12)} for n in range(9)],
            )
        connection.commit()


def test_the_hint_serves_the_planning_pass_alone(
    oracle: OracleStandIn, connection: oracledb.Connection
) -> None:
    table = mapping("NUMBERS", "ID", ID="text").model_copy(update={"parallel_degree": 8})
    since = len(oracle.log())
    source, plan = planned(connection, table)
    read(connection, source, plan)
    hinted = [e["sql"] for e in oracle.log(since) if "PARALLEL(t, 8)" in e["sql"]]
    assert hinted == [boundaries_sql(source, plan.scn)]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (mapping("NOBODY", "ID", ID="text"), "READER.NOBODY does not exist"),
        (mapping("EMPTY", "ID", ID="text", NOPE="text"), "NOPE"),
        (mapping("WIDE", "ID", ID="text", B="text"), "WIDE.B is DB_TYPE_BLOB"),
    ],
)
def test_what_cannot_be_read_is_named(
    connection: oracledb.Connection, table: Mapping, message: str
) -> None:
    with pytest.raises(OracleError, match=message):
        describe_source(connection, owner="READER", table=table, window=WINDOW)


def test_a_wrong_password_is_an_error_at_once(oracle: OracleStandIn) -> None:
    tries: list[str] = []

    def work() -> None:
        with connect(dsn=oracle.dsn, user=USER, password="wrong", module="test"):
            raise AssertionError("logged in")

    with pytest.raises(OracleError, match=r"refused the login of READER.*ORA-01017"):
        retrying(work, retries=3, delay=0.01, tell=tries.append)
    assert tries == []


@pytest.mark.parametrize("fault", [{"ora": 12170}, {"ora": 3113}, {"drop": True}])
def test_passing_faults_are_tried_again(oracle: OracleStandIn, fault: dict[str, object]) -> None:
    table = mapping("PAIRS", "CODE", "LINE_NO", CODE="text", LINE_NO="decimal")
    oracle.disarm()
    oracle.arm(on="execute", match="ROW_NUMBER", times=2, **fault)
    tries: list[str] = []

    def work() -> Plan:
        with connect(dsn=oracle.dsn, user=USER, password=PASSWORD, module="test") as connection:
            return planned(connection, table)[1]

    assert retrying(work, retries=3, delay=0.01, tell=tries.append).rows == 35_000
    assert len(tries) == 2
    assert "try 1 of 4 failed" in tries[0]


def test_a_lasting_error_is_not_tried_again(oracle: OracleStandIn) -> None:
    oracle.disarm()
    oracle.arm(on="execute", match="ROW_NUMBER", ora=1555, times=-1)
    tries: list[str] = []

    def work() -> Plan:
        with connect(dsn=oracle.dsn, user=USER, password=PASSWORD, module="test") as connection:
            return planned(
                connection, mapping("PAIRS", "CODE", "LINE_NO", CODE="text", LINE_NO="decimal")
            )[1]

    with pytest.raises(oracledb.DatabaseError, match="ORA-01555"):
        retrying(work, retries=3, delay=0.01, tell=tries.append)
    assert tries == []
    oracle.disarm()


# The driver leaves its socket to the garbage collector when the other end hangs up on a login
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_server_that_accepts_and_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dsn = f"127.0.0.1:{silent.getsockname()[1]}/KPC"
        with pytest.raises(TimeoutError, match="no answer to the login") as refused:
            with connect(dsn=dsn, user="x", password="y", module="test", login_timeout=0.5):
                raise AssertionError("logged in")
    assert passing(refused.value)
    for waiting in threading.enumerate():
        if waiting.name == f"login {dsn}":  # unless it has ended by now
            waiting.join(10)
    gc.collect()


def test_nobody_listening_is_passing() -> None:
    with pytest.raises(oracledb.Error) as refused:
        oracledb.connect(user="x", password="y", dsn="127.0.0.1:9/KPC", retry_count=0)
    assert passing(refused.value)


def test_sessions_say_who_they_are(oracle: OracleStandIn) -> None:
    since = len(oracle.log())
    with connect(
        dsn=oracle.dsn, user=USER, password=PASSWORD, module="kpcluigi", action="extract 7 T"
    ) as connection:
        connection.ping()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM dual")
    entry = oracle.log(since)[-1]
    assert (entry["module"], entry["action"]) == ("kpcluigi", "extract 7 T")
