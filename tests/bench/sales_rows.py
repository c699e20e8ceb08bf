"""Makes the rows of the benchmarks: DuckDB computes them from their numbers and a seed."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa

from kpcluigi.rehearsal.oracle.catalog import Column, Table, create_table
from tests.bench.sales import NAME, NOT_NULL, OWNER, WINDOW

_FIRST_KEY = 9_999_999_999_999_000_000
"""Keys grow from 19 digits to 20."""

_PRODUCTS = (
    "Whisky 12 Years 1L",
    "น้ำหอม 50ml",
    "Chocolate assorted",
    "ผ้าพันคอผ้าไหมลายดอกไม้ สีฟ้า",
    "สร้อยคอทองคำ หนึ่งบาท",
    "กระเป๋าเดินทาง",
    "ครีมบำรุงผิวหน้าสูตรเข้มข้น",
    "Sunglasses",
    "ชาเขียวญี่ปุ่น",
    "นาฬิกาข้อมือ",
    "ลิปสติก",
    "ขนมอบกรอบรสต้มยำ",
)
_REMARKS = (
    "ลูกค้าขอใบกำกับภาษีเต็มรูป",
    "paid in two parts",
    "สินค้าแลกซื้อ",
    "gift wrapped",
)
_AWKWARD_REMARKS = (
    "returned, then sold again",
    'customer said "keep the change"',
    "first line\nsecond line",
    "บรรทัดแรก\r\nบรรทัดที่สอง",
    "an old terminal wrote\ra lone carriage return",
    "#N/A",
    "ลูกค้าขอเปลี่ยนสินค้าเนื่องจากขนาดไม่ตรงกับที่สั่งไว้ และขอให้ออกใบกำกับภาษีใหม่ทั้งหมดอีกครั้ง",
)


def _texts(values: tuple[str, ...]) -> str:
    return "[" + ", ".join("'" + value.replace("'", "''") + "'" for value in values) + "]"


_MACROS = f"""
CREATE OR REPLACE TEMP MACRO square(x, prime) AS x * x % prime;
CREATE OR REPLACE TEMP MACRO noise(i, salt) AS
    square(square((i * 1103515245 + salt * 334214459) % 2147483647, 1999999973)
           * 1664525007 % 1610612741, 2147483629);
CREATE OR REPLACE TEMP MACRO pick(texts, place) AS texts[1 + place % len(texts)];
CREATE OR REPLACE TEMP MACRO product(place) AS pick({_texts(_PRODUCTS)}, place);
CREATE OR REPLACE TEMP MACRO remark(place) AS pick({_texts(_REMARKS)}, place);
CREATE OR REPLACE TEMP MACRO awkward(place) AS pick({_texts(_AWKWARD_REMARKS)}, place);
"""

_COLUMNS: dict[str, tuple[str, str]] = {
    "SALES_ID": ("NUMBER(20)", f"{_FIRST_KEY}::HUGEINT + i * 7 + a % 6"),
    "TENANT_CODE": ("VARCHAR2(10)", "'T' || lpad((a % 240)::VARCHAR, 4, '0')"),
    "STORE_CODE": ("VARCHAR2(10)", "pick(['BKK', 'DMK', 'HKT'], b) || '-' || 100 + b % 60"),
    "VOID_FLAG": ("CHAR(4)", "CASE WHEN c % 50 = 0 THEN 'Y   ' ELSE 'N   ' END"),
    "SALES_DATE": ("DATE", "date_trunc('day', made)"),
    "CREATED_DATE": ("DATE", "made"),
    "UPDATED_DATE": (
        "TIMESTAMP(6)",
        "CASE WHEN a % 3 = 0 THEN made + to_microseconds(b % 2592000 * 1000000 + c % 1000000) END",
    ),
    # A refund now and then; every hundredth net amount has more than two places
    "SALES_AMOUNT": (
        "NUMBER(18,2)",
        "((5900 + b % 1500000) * CASE WHEN c % 40 = 0 THEN -1 ELSE 1 END)::DECIMAL(16,0) * 0.01",
    ),
    "NET_AMOUNT": (
        "NUMBER(18,4)",
        "(5900 + c % 1500000)::DECIMAL(14,0) * 0.01"
        " + CASE WHEN a % 100 = 0 THEN (b % 100)::DECIMAL(14,0) * 0.0001 ELSE 0 END",
    ),
    "QUANTITY": ("NUMBER(9)", "1 + c % 12"),
    "PRODUCT_NAME": (
        "VARCHAR2(60 CHAR)",
        "product(b) || CASE WHEN b % 100 = 0 THEN ' (สินค้าส่งเสริมการขาย ไม่รับคืน)' ELSE '' END",
    ),
    "REMARK": (
        "VARCHAR2(200 CHAR)",
        "CASE WHEN a % 200 = 1 THEN awkward(c) WHEN a % 5 = 0 THEN remark(c) END",
    ),
}
"""Oracle column: its type, and the DuckDB expression of its value. `i` is the row's number, `a`,
`b` and `c` are numbers that look random, `made` is the time at which the sale was entered."""


def write_database(path: Path, *, rows: int, seed: int) -> None:
    """The file that the Oracle stand-in serves."""
    salt = f"{seed % 1_000_003}::BIGINT"
    with duckdb.connect(str(path), config={"memory_limit": "1GB"}) as con:
        con.execute("SET enable_progress_bar = false")
        columns = tuple(Column(n, t, n not in NOT_NULL) for n, (t, _) in _COLUMNS.items())
        create_table(con, Table(OWNER, NAME, columns, ("SALES_ID",)))
        con.execute(_MACROS)
        values = ", ".join(f'{value} AS "{name}"' for name, (_, value) in _COLUMNS.items())
        named = ", ".join(f'"{name}"' for name in _COLUMNS)
        first, last = (f"TIMESTAMP '{day} 12:00:00'" for day in (WINDOW.start, WINDOW.end))
        con.execute(
            f"""INSERT INTO "{OWNER}"."{NAME}" ({named}) SELECT {values} FROM (
            SELECT range AS i, noise(range, {salt}) AS a, noise(range, {salt} + 1) AS b,
                   noise(range, {salt} + 2) AS c,
                   {first} + to_seconds(
                       range * date_diff('second', {first}, {last}) // {rows}) AS made
            FROM range({rows}))"""
        )


def write_batches(database: Path, path: Path, schema: pa.Schema, *, rows: int, size: int) -> None:
    """The first `rows` rows in batches of `size` as an Arrow file, with the driver's types."""
    named = ", ".join(f'"{name}"' for name in schema.names)
    with duckdb.connect(str(database), read_only=True) as con:
        whole = con.sql(
            f'SELECT {named} FROM "{OWNER}"."{NAME}" ORDER BY SALES_ID LIMIT {rows}'
        ).to_arrow_table()
    with pa.ipc.new_file(str(path), schema) as file:
        for batch in whole.cast(schema).combine_chunks().to_batches(max_chunksize=size):
            file.write_batch(batch)
