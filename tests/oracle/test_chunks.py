"""Whatever the keys, the chunks of a plan hold every row of the window exactly once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import oracledb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpcluigi.errors import ConfigurationError
from kpcluigi.oracle import (
    Increment,
    Window,
    connect,
    count_chunk,
    describe_source,
    plan_chunks,
    read_chunk,
    read_totals,
)
from kpcluigi.oracle.rowids import rowid
from kpcluigi.rehearsal.oracle import OracleStandIn
from kpcluigi.rehearsal.oracle.catalog import Column, Table, create_table
from kpcluigi.tables import Table as Mapping
from kpcluigi.tables import parse_tables

USER, PASSWORD = "READER", "test-password"
WINDOW = Window(date(2024, 1, 1), date(2024, 12, 31))
FIRST, LAST = datetime(2024, 1, 1), datetime(2024, 12, 31, 23, 59, 59)
KEYS = {
    "N": ("K1 NUMBER(38)",),
    "T": ("K1 VARCHAR2(40)",),
    "D": ("K1 TIMESTAMP(6)",),
    "PAIR": ("K1 VARCHAR2(40)", "K2 NUMBER(10,2)"),
    "TRIO": ("K1 DATE", "K2 VARCHAR2(40)", "K3 NUMBER(5)"),
}
"""Tables by name, with the columns of their keys; no key is unique and every part may be NULL."""

numbers = st.one_of(st.integers(-3, 3), st.integers(-(10**38) + 1, 10**38 - 1)).map(Decimal)
texts = st.one_of(
    st.sampled_from(["A", "a", "B", "ก", "กา", " A", "A ", "'"]),
    st.text(
        st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]),
        min_size=1,
        max_size=10,
    ),
)
moments = st.one_of(
    st.sampled_from([datetime(1900, 1, 1), datetime(2024, 2, 29, 12), datetime(9999, 12, 31)]),
    st.datetimes(datetime(1700, 1, 1), datetime(4000, 1, 1)),
)
parts: dict[str, st.SearchStrategy[Any]] = {
    "NUMBER(38)": numbers,
    "NUMBER(10,2)": st.decimals(-99, 99, places=2),
    "NUMBER(5)": st.integers(0, 3).map(Decimal),
    "VARCHAR2(40)": texts,
    "DATE": moments.map(lambda moment: moment.replace(microsecond=0)),
    "TIMESTAMP(6)": moments,
}
created = st.one_of(
    st.sampled_from([FIRST, LAST, FIRST - timedelta(seconds=1), LAST + timedelta(seconds=1)]),
    st.datetimes(FIRST, LAST).map(lambda moment: moment.replace(microsecond=0)),
)


def tables_of(name: str) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """Rows of (created, key parts …), with many equal keys and NULLs among them."""
    key = st.tuples(
        *(st.one_of(st.none(), parts[column.split(" ", 1)[1]]) for column in KEYS[name])
    )
    few = st.lists(key, min_size=1, max_size=6).flatmap(st.sampled_from)
    return st.lists(st.tuples(created, st.one_of(key, few)), max_size=40).map(
        lambda rows: [(when, *key) for when, key in rows]
    )


def mapping(name: str, **options: Any) -> Mapping:
    key = [column.split()[0] for column in KEYS[name]]
    columns = {"ID": {"field": "Ext__c", "type": "text"}}
    columns |= {part: {"field": f"{part}__c", "type": "text"} for part in key}
    table = {
        "phase": 1,
        "object": "T__c",
        "external_id": "Ext__c",
        "key": key,
        "partition_column": "CREATED_DATE",
        "columns": columns,
    }
    return parse_tables({"tables": {name: table}})[name].model_copy(update=options)


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OracleStandIn]:
    database = tmp_path_factory.mktemp("oracle") / "oracle.duckdb"
    make_tables(database)
    with OracleStandIn(database, user=USER, password=PASSWORD) as oracle:
        yield oracle


def make_tables(database: Path) -> None:
    with duckdb.connect(str(database)) as con:
        for name, key in KEYS.items():
            columns = [Column("ID", "NUMBER(10)", nullable=False), Column("CREATED_DATE", "DATE")]
            columns += [Column(part.split(" ")[0], part.split(" ", 1)[1]) for part in key]
            columns += [Column("UPDATED_DATE", "DATE")]
            create_table(con, Table(USER, name, tuple(columns)))


@pytest.fixture(scope="module")
def connection(oracle: OracleStandIn) -> Iterator[oracledb.Connection]:
    with connect(dsn=oracle.dsn, user=USER, password=PASSWORD, module="test") as connection:
        yield connection


def fill(connection: oracledb.Connection, name: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """The table holds these rows and no others; their ids are their positions."""
    key = [column.split()[0] for column in KEYS[name]]
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {name}")
        for i, row in enumerate(rows):
            named = {
                column: value
                for column, value in zip(["CREATED_DATE", *key], row, strict=True)
                if value is not None
            }
            binds = ", ".join(f":{column}" for column in ["id", *named])
            cursor.execute(
                f"INSERT INTO {name} (ID, {', '.join(named)}) VALUES ({binds})", {"id": i, **named}
            )
    connection.commit()


@pytest.mark.parametrize("name", KEYS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_the_chunks_are_the_window_each_row_once(
    connection: oracledb.Connection, name: str, data: st.DataObject
) -> None:
    rows = data.draw(tables_of(name))
    size = data.draw(st.integers(2, 9))
    fill(connection, name, rows)
    table = mapping(name, chunk_size=size)
    source = describe_source(connection, owner=USER, table=table, window=WINDOW)
    plan = plan_chunks(connection, source, fingerprint="")
    fill(connection, name, [])  # later changes are none of this plan's business
    found: list[int] = []
    for chunk in plan.chunks:
        frames = list(read_chunk(connection, source, chunk, scn=plan.scn))
        ids = pl.concat(frames)["ID"].cast(pl.Int64).to_list() if frames else []
        assert len(ids) == chunk.rows
        assert count_chunk(connection, source, chunk, scn=plan.scn) == chunk.rows
        found += ids
    expected = [i for i, row in enumerate(rows) if FIRST <= row[0] <= LAST]
    assert sorted(found) == expected
    assert plan.rows == len(expected)
    assert len(plan.chunks) <= len(expected) / size + 2


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_ranges_of_rowids_are_the_window_each_row_once(
    oracle: OracleStandIn, connection: oracledb.Connection, data: st.DataObject
) -> None:
    oracle.grant("SELECT DBA_EXTENTS")
    rows = data.draw(tables_of("T"))
    size = data.draw(st.integers(2, 9))
    fill(connection, "T", rows)
    table = mapping("T", chunk_size=size, strategy="rowid_range")
    source = describe_source(connection, owner=USER, table=table, window=WINDOW)
    plan = plan_chunks(connection, source, fingerprint="")
    assert plan.notes == []
    assert plan.strategy == "rowid_range"
    fill(connection, "T", [(FIRST, f"later {i}") for i in range(20)])
    found: list[int] = []
    for chunk in plan.chunks:
        assert chunk.rows is None
        frames = list(read_chunk(connection, source, chunk, scn=plan.scn))
        found += pl.concat(frames)["ID"].cast(pl.Int64).to_list() if frames else []
    expected = [i for i, row in enumerate(rows) if FIRST <= row[0] <= LAST]
    assert sorted(found) == expected
    assert plan.rows == len(expected)


def test_a_table_that_never_had_a_row_is_cut_into_nothing(tmp_path: Path) -> None:
    """It has no extents; that is no reason to think that it is a view."""
    database = tmp_path / "oracle.duckdb"
    make_tables(database)
    table = mapping("T", strategy="rowid_range")
    with OracleStandIn(
        database, user=USER, password=PASSWORD, granted=["SELECT DBA_EXTENTS"]
    ) as oracle:
        with connect(dsn=oracle.dsn, user=USER, password=PASSWORD, module="test") as connection:
            source = describe_source(connection, owner=USER, table=table, window=WINDOW)
            plan = plan_chunks(connection, source, fingerprint="")
    assert (plan.rows, plan.chunks, plan.notes) == (0, [], [])


def test_many_rows_are_cut_into_many_ranges_of_rowids(tmp_path: Path) -> None:
    """By blocks: as even as the rows lie, each chunk read as a range of its own."""
    database = tmp_path / "oracle.duckdb"
    make_tables(database)
    with duckdb.connect(str(database)) as con:
        con.execute(
            f"""INSERT INTO "{USER}"."T" (ID, CREATED_DATE, K1)
            SELECT i, TIMESTAMP '2024-06-01', 'same' FROM range(45000) r(i)"""
        )
    table = mapping("T", chunk_size=10_000, strategy="rowid_range")
    with OracleStandIn(database, user=USER, password=PASSWORD) as oracle:
        oracle.grant("SELECT DBA_EXTENTS")
        with connect(dsn=oracle.dsn, user=USER, password=PASSWORD, module="test") as connection:
            source = describe_source(connection, owner=USER, table=table, window=WINDOW)
            plan = plan_chunks(connection, source, fingerprint="")
            heights = [
                sum(frame.height for frame in read_chunk(connection, source, chunk, scn=plan.scn))
                for chunk in plan.chunks
            ]
    assert sum(heights) == plan.rows == 45_000
    assert len(heights) in (5, 6)
    assert max(heights) <= 12_000, "one key that all rows share does not make one chunk"


def test_without_the_extents_the_key_cuts_and_the_plan_says_why(
    oracle: OracleStandIn, connection: oracledb.Connection
) -> None:
    oracle.revoke("SELECT DBA_EXTENTS")
    fill(connection, "N", [(FIRST, Decimal(i)) for i in range(9)])
    table = mapping("N", chunk_size=4, strategy="rowid_range")
    source = describe_source(connection, owner=USER, table=table, window=WINDOW)
    plan = plan_chunks(connection, source, fingerprint="")
    assert plan.strategy == "key_range"
    assert [chunk.rows for chunk in plan.chunks] == [4, 4, 1]
    (note,) = plan.notes
    assert "SELECT on DBA_EXTENTS is not granted (ORA-00942" in note


def test_without_flashback_the_plan_says_so(
    oracle: OracleStandIn, connection: oracledb.Connection
) -> None:
    fill(connection, "N", [(FIRST, Decimal(i)) for i in range(9)])
    table = mapping("N", chunk_size=4)
    source = describe_source(connection, owner=USER, table=table, window=WINDOW)
    oracle.revoke("EXECUTE DBMS_FLASHBACK", "SELECT V$DATABASE")
    try:
        plan = plan_chunks(connection, source, fingerprint="")
    finally:
        oracle.grant("EXECUTE DBMS_FLASHBACK", "SELECT V$DATABASE")
    assert plan.scn is None
    (note,) = plan.notes
    assert note.startswith("no consistent snapshot")


@pytest.mark.parametrize("strategy", ["key_range", "rowid_range"])
def test_planning_reads_the_table_once_and_each_chunk_is_one_statement(
    oracle: OracleStandIn, connection: oracledb.Connection, strategy: str
) -> None:
    oracle.grant("SELECT DBA_EXTENTS")
    fill(connection, "N", [(FIRST, Decimal(i)) for i in range(30)])
    table = mapping("N", chunk_size=7, strategy=strategy)
    source = describe_source(connection, owner=USER, table=table, window=WINDOW)
    since = len(oracle.log())
    plan = plan_chunks(connection, source, fingerprint="")
    for chunk in plan.chunks:
        list(read_chunk(connection, source, chunk, scn=plan.scn))
    read_totals(connection, source, scn=plan.scn, rows=plan.rows, sample_rows=5)
    touching = [e["sql"] for e in oracle.log(since) if f"{USER}.N" in e["sql"]]
    probe = f"SELECT 1 FROM {USER}.N AS OF SCN"
    passes = [sql for sql in touching if not sql.startswith(probe)]
    assert len(passes) == 1 + len(plan.chunks) + 1


def test_rows_of_one_parent_lie_together_and_the_same_snapshot_gives_the_same_order(
    connection: oracledb.Connection,
) -> None:
    rows = [(FIRST, f"P{i % 3}", Decimal(i % 2)) for i in range(24)]
    fill(connection, "PAIR", rows)
    table = mapping("PAIR", chunk_size=100, key=("K2",), order_by_parent="K1")
    source = describe_source(connection, owner=USER, table=table, window=WINDOW)
    plan = plan_chunks(connection, source, fingerprint="")
    (chunk,) = plan.chunks

    def order() -> list[tuple[str, int, int]]:
        frame = pl.concat(list(read_chunk(connection, source, chunk, scn=plan.scn)))
        return list(zip(*(frame[name].to_list() for name in ("K1", "K2", "ID")), strict=True))

    assert order() == sorted(order())
    assert order() == order()


def test_the_lowest_rowid_of_a_block() -> None:
    assert rowid(1, 1, 1) == "AAAAABAABAAAAABAAA"
    assert rowid(70_000, 5, 131) == "AAARFwAAFAAAACDAAA"
    bigfile = rowid(70_000, 1024, 5_000_000)
    assert bigfile == rowid(70_000, 5_000_000 >> 22, 5_000_000 % (1 << 22))


def test_a_watermark_is_read_by_its_own_clock() -> None:
    column = {"field": "Updated__c", "type": "datetime", "zone": "UTC"}
    section = mapping("N").model_dump(exclude={"name"}, exclude_none=True)
    section["columns"] = {
        "ID": {"field": "Ext__c", "type": "text"},
        "K1": {"field": "K__c", "type": "text"},
        "UPDATED_DATE": column,
    }
    section["source_zone"] = "Asia/Bangkok"
    since, until = datetime(2024, 6, 1, 6, tzinfo=UTC), datetime(2024, 6, 2, 6, tzinfo=UTC)
    with pytest.raises(ConfigurationError, match="different zones"):
        parse_tables({"tables": {"N": section}})
    section["watermark"] = ["UPDATED_DATE"]
    table = parse_tables({"tables": {"N": section}})["N"]
    binds = Increment(date(2024, 1, 1), since, until).binds(table)
    assert binds["since"] == datetime(2024, 6, 1, 6)
    assert Increment(date(2024, 1, 1), None, until).binds(table)["until"] == datetime(
        2024, 6, 2, 13
    )


def test_an_increment_is_what_its_watermark_says(connection: oracledb.Connection) -> None:
    """Half-open, in the table's own clock; the older column counts where the newer is NULL."""
    since, until = datetime(2024, 6, 1, 12, tzinfo=UTC), datetime(2024, 6, 2, 12, tzinfo=UTC)
    first, after = datetime(2024, 6, 1, 19), datetime(2024, 6, 2, 19)  # in Bangkok
    second = timedelta(seconds=1)
    rows = [
        (first - second, None),
        (first, None),
        (after - second, None),
        (after, None),
        (FIRST, first),
        (FIRST, first - second),
        (FIRST, after),
        (FIRST - second, first),
        (first, after),
    ]
    fill(connection, "N", [(made, Decimal(1)) for made, _ in rows])
    with connection.cursor() as cursor:
        for i, (_, updated) in enumerate(rows):
            cursor.execute("UPDATE n SET updated_date = :u WHERE id = :i", {"u": updated, "i": i})
    connection.commit()
    table = mapping("N", source_zone="Asia/Bangkok")
    increment = Increment(date(2024, 1, 1), since, until)
    source = describe_source(connection, owner=USER, table=table, window=increment)
    plan = plan_chunks(connection, source, fingerprint="")
    frames = [f for c in plan.chunks for f in read_chunk(connection, source, c, scn=plan.scn)]
    assert sorted(pl.concat(frames)["ID"].cast(pl.Int64).to_list()) == [1, 2, 4]
    whole = Increment(date(2024, 1, 1), None, until)
    source = describe_source(connection, owner=USER, table=table, window=whole)
    assert plan_chunks(connection, source, fingerprint="").rows == 7
