"""The sales targets, from one table in Oracle to one in PostgreSQL. Knows no Luigi.

content.py   rows as text, and the totals by which source and copies are compared
source.py    Oracle's side: the table, its totals and its rows in one read-only snapshot
target.py    PostgreSQL's side: one transaction that replaces the whole table
sync.py      the two of them together
"""

from kpcluigi.sales_target.content import COLUMNS, ColumnSum, Content
from kpcluigi.sales_target.source import OracleTable
from kpcluigi.sales_target.sync import Synced, sync
from kpcluigi.sales_target.target import PostgresTable, open_engine, passing

__all__ = [
    "COLUMNS",
    "ColumnSum",
    "Content",
    "OracleTable",
    "PostgresTable",
    "Synced",
    "open_engine",
    "passing",
    "sync",
]
