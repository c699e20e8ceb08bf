"""One Oracle stand-in for the whole folder, over a small database of branches and sales."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import oracledb
import pytest

from kpcluigi.rehearsal.oracle import OracleStandIn
from kpcluigi.rehearsal.oracle.catalog import Column, Table, create_table

PASSWORD = "ta-chang-1932"
BIG_ROWS = 60_000

BRANCH = Table(
    "KPC",
    "BRANCH",
    (
        Column("CODE", "CHAR(6)"),
        Column("NAME", "VARCHAR2(40 CHAR)", nullable=False),
        Column("OPENED", "DATE"),
        Column("RENT", "NUMBER(12,2)"),
    ),
    ("CODE",),
)
SALE = Table(
    "KPC",
    "SALE",
    (
        Column("ID", "NUMBER(18)"),
        Column("BRANCH", "CHAR(6)"),
        Column("AMOUNT", "NUMBER(18,2)"),
        Column("QTY", "NUMBER(5)"),
        Column("FREE", "NUMBER"),
        Column("SOLD", "DATE"),
        Column("STAMP", "TIMESTAMP(6)"),
        Column("ZONED", "TIMESTAMP(6) WITH TIME ZONE"),
        Column("NOTE", "VARCHAR2(20)"),
        Column("KEY16", "RAW(16)"),
        Column("WIDE", "NUMBER(38)"),
    ),
    ("ID",),
)
DOC = Table(
    "KPC",
    "DOC",
    (Column("ID", "NUMBER(9)"), Column("BODY", "CLOB"), Column("SCAN", "BLOB")),
    ("ID",),
)
BIG = Table(
    "KPC",
    "BIG",
    (
        Column("ID", "NUMBER(18)"),
        Column("AMOUNT", "NUMBER(18,2)"),
        Column("NAME", "VARCHAR2(60)"),
        Column("SOLD", "DATE"),
    ),
    ("ID",),
)
LEDGER = Table(
    "KPC",
    "LEDGER",
    (
        Column("ID", "NUMBER(9)"),
        Column("AMOUNT", "NUMBER(6,2)"),
        Column("NAME", "VARCHAR2(10)", nullable=False),
        Column("CODE", "CHAR(4)"),
        Column("FREE", "NUMBER"),
        Column("DAY", "DATE"),
        Column("STAMP", "TIMESTAMP(6)"),
        Column("ZONED", "TIMESTAMP(6) WITH TIME ZONE"),
        Column("BODY", "CLOB"),
        Column("KEY16", "RAW(16)"),
    ),
    ("ID",),
)
PLACE = Table("HR", "PLACE", (Column("ID", "NUMBER(4)"), Column("NAME", "VARCHAR2(30)")), ("ID",))

_ROWS = f"""
INSERT INTO "KPC"."BRANCH" (CODE, NAME, OPENED, RENT) VALUES
    ('BKK', 'กรุงเทพ', TIMESTAMP '2001-05-01', 1500.50),
    ('CNX', 'เชียงใหม่', TIMESTAMP '2010-12-31 23:59:59', 700),
    ('HKT', 'ภูเก็ต', NULL, NULL);
INSERT INTO "KPC"."SALE"
    (ID, BRANCH, AMOUNT, QTY, FREE, SOLD, STAMP, ZONED, "_offset_ZONED", NOTE, KEY16, WIDE) VALUES
    (1, 'BKK', 100.10, 3, '0.0000000001', TIMESTAMP '2024-01-31 08:00:00',
     TIMESTAMP '2024-01-31 08:00:00.123456', TIMESTAMP '2024-01-31 01:00:00', 420, 'first',
     unhex('00ff10'), 99999999999999999999999999999999999999),
    (2, 'BKK', -0.05, 1, '-12345678901234567890.123456789', TIMESTAMP '2024-02-29',
     TIMESTAMP '2024-02-29', TIMESTAMP '2024-02-29 12:00:00', -330, '',
     NULL, -99999999999999999999999999999999999999),
    (3, 'CNX', 250, NULL, '10', TIMESTAMP '2023-12-31 17:30:00', NULL, NULL, 0, 'สวัสดี', NULL, 0),
    (4, 'CNX', 250, 7, NULL, NULL, NULL, NULL, 0, '  pad ', NULL, NULL),
    (5, NULL, NULL, NULL, '9', TIMESTAMP '1900-01-01', NULL, NULL, 0, NULL, NULL, 12);
INSERT INTO "KPC"."DOC" (ID, BODY, SCAN) VALUES
    (1, 'short', 'abc'::BLOB), (2, repeat('ยาว', 20000), repeat('z', 70000)::BLOB), (3, NULL, NULL);
INSERT INTO "KPC"."BIG" (ID, AMOUNT, NAME, SOLD)
    SELECT i, (i * 1.25)::DECIMAL(18,2), 'ลูกค้า ' || i, TIMESTAMP '2020-01-01' + to_hours(i::INTEGER)
    FROM range(1, {BIG_ROWS + 1}) r(i);
INSERT INTO "HR"."PLACE" (ID, NAME) VALUES (1, 'Head office');
"""


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("oracle") / "rehearsal.duckdb"
    with duckdb.connect(str(path)) as con:
        for table in (BRANCH, SALE, DOC, BIG, LEDGER, PLACE):
            create_table(con, table)
        con.execute(_ROWS)
    return path


@pytest.fixture(scope="session")
def server(database: Path) -> Iterator[OracleStandIn]:
    with OracleStandIn(database, user="KPC", password=PASSWORD) as running:
        yield running


@pytest.fixture
def oracle(server: OracleStandIn) -> Iterator[OracleStandIn]:
    """The server with no faults armed and its counters at zero."""
    server.disarm()
    server.reset()
    yield server
    server.disarm()


@pytest.fixture
def connection(oracle: OracleStandIn) -> Iterator[oracledb.Connection]:
    with oracledb.connect(user="kpc", password=PASSWORD, dsn=oracle.dsn) as opened:
        yield opened


@pytest.fixture
def cursor(connection: oracledb.Connection) -> Iterator[oracledb.Cursor]:
    with connection.cursor() as opened:
        yield opened


@pytest.fixture
def ledger(connection: oracledb.Connection) -> Iterator[oracledb.Connection]:
    """The connection, and an empty LEDGER before and after."""
    yield connection
    connection.rollback()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM ledger")
    connection.commit()
