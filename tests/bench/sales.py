"""The table that the benchmarks move: 12 columns of sales, and how they are mapped.

`sales_rows` makes its rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pyarrow as pa

from kpcluigi.markers import OracleColumn
from kpcluigi.oracle import Source, Window
from kpcluigi.oracle.source import source_of
from kpcluigi.tables import Table, parse_tables

OWNER, NAME = "TMS", "BENCH_SALES"
WINDOW = Window(date(2022, 1, 1), date(2024, 12, 31))
NOT_NULL = frozenset({"SALES_ID", "CREATED_DATE"})

_MAPPING = {
    "phase": 1,
    "object": "Bench_Sales__c",
    "external_id": "External_ID__c",
    "key": ["SALES_ID"],
    "partition_column": "CREATED_DATE",
    "source_zone": "Asia/Bangkok",
    "columns": {
        "SALES_ID": {"field": "External_ID__c", "type": "text", "length": 20},
        "STORE_CODE": {"field": "Store_Code__c", "type": "text", "length": 10},
        "VOID_FLAG": {"field": "Void__c", "type": "boolean"},
        "SALES_DATE": {"field": "Sales_Date__c", "type": "date"},
        "CREATED_DATE": {"field": "Oracle_Created_Date__c", "type": "datetime"},
        "UPDATED_DATE": {"field": "Oracle_Updated_Date__c", "type": "datetime"},
        "SALES_AMOUNT": {"field": "Sales_Amount__c", "type": "decimal", "scale": 2},
        "NET_AMOUNT": {"field": "Net_Amount__c", "type": "decimal", "scale": 2},
        "QUANTITY": {"field": "Quantity__c", "type": "decimal", "scale": 0},
        "PRODUCT_NAME": {"field": "Product_Name__c", "type": "text", "length": 40},
        "REMARK": {"field": "Remark__c", "type": "text", "length": 80},
    },
    "lookups": {"TENANT_CODE": "Account__r.Tenant_Code__c"},
}

_NUMBERS = {
    "SALES_ID": (20, 0),
    "SALES_AMOUNT": (18, 2),
    "NET_AMOUNT": (18, 4),
    "QUANTITY": (9, 0),
}
_DATES = {
    "SALES_DATE": "DB_TYPE_DATE",
    "CREATED_DATE": "DB_TYPE_DATE",
    "UPDATED_DATE": "DB_TYPE_TIMESTAMP",
}


def mapping(*, chunk_size: int, fetch_size: int) -> Table:
    """The table as tables.toml would map it."""
    section = {**_MAPPING, "chunk_size": chunk_size, "fetch_size": fetch_size}
    return parse_tables({"tables": {NAME: section}})[NAME]


def source(table: Table) -> Source:
    """What `describe_source` finds in the stand-in for `mapping(...)`."""
    described = [
        OracleColumn(
            name=name,
            type=_DATES.get(name, "DB_TYPE_NUMBER" if name in _NUMBERS else "DB_TYPE_VARCHAR"),
            precision=_NUMBERS.get(name, (None, None))[0],
            scale=_NUMBERS.get(name, (None, None))[1],
            nullable=name not in NOT_NULL,
        )
        for name in table.source_columns
    ]
    return source_of(described, owner=OWNER, table=table, window=WINDOW)


def read_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The batches of `write_batches`, each with its own memory."""
    with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as batches:
        for i in range(batches.num_record_batches):
            yield batches.get_batch(i)
