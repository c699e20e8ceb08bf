"""Oracle tables in a DuckDB file: how they are made, stored and found again.

A table `"OWNER"."NAME"` of the file holds one DuckDB column per Oracle column:

    NUMBER(p,s)                 DECIMAL(p,s), 1 <= p <= 38, 0 <= s <= p
    NUMBER                      VARCHAR, canonical decimal text: no exponent, no plus sign, no zeros
                                at the end of a fraction, one digit before the point ('-0.5', '12')
    NUMBER(p,s) with other s,   the same; rows are put in straight only, as the server would not
    FLOAT                       round them
    VARCHAR2(n [CHAR]), CLOB    VARCHAR; '' counts as NULL
    CHAR(n [CHAR])              VARCHAR; padded with blanks when the server opens the file
    DATE                        TIMESTAMP, whole seconds
    TIMESTAMP(n)                TIMESTAMP (microseconds)
    TIMESTAMP(n) WITH TIME ZONE TIMESTAMP in UTC, and a hidden SMALLINT `_offset_NAME`, the minutes
                                east of UTC, which is 420 (Bangkok) unless given
    RAW(n), BLOB                BLOB; empty counts as NULL in a RAW

Three more are hidden: a row was alive from `_from_scn` (0: always) until `_to_scn` (NULL: still),
and `_row` numbers the rows from 0, of which `segments` makes their rowids; all versions of a row
have the same. Hidden columns have defaults and can never be named in Oracle SQL. Rows are put in
with

    INSERT INTO "OWNER"."NAME" (columns…) SELECT …

before the server opens the file. The file must not be called like a schema ('kpc.duckdb'), or
DuckDB could not tell the file KPC from the schema KPC in "KPC"."T". The catalogue itself is the
schema `_oracle` of the same file; synonyms, which lead to tables only, are in it alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import duckdb

from kpcluigi.rehearsal.oracle.oratypes import OraType, parse_type, storage

HIDDEN_OFFSET = "_offset_"
DEFAULT_OFFSET = 420
"""Minutes east of UTC: Asia/Bangkok."""

_CATALOGUE = """
CREATE SCHEMA IF NOT EXISTS _oracle;
CREATE TABLE IF NOT EXISTS _oracle.columns (
    owner VARCHAR, table_name VARCHAR, position INTEGER,
    name VARCHAR, type VARCHAR, nullable BOOLEAN);
CREATE TABLE IF NOT EXISTS _oracle.keys (
    owner VARCHAR, table_name VARCHAR, position INTEGER, name VARCHAR);
CREATE TABLE IF NOT EXISTS _oracle.settled (
    owner VARCHAR, table_name VARCHAR, row_count BIGINT);
CREATE TABLE IF NOT EXISTS _oracle.clock (scn BIGINT);
CREATE TABLE IF NOT EXISTS _oracle.synonyms (
    owner VARCHAR, name VARCHAR, table_owner VARCHAR, table_name VARCHAR);
"""


@dataclass(frozen=True)
class Column:
    """A column; `type` is Oracle's text, such as "NUMBER(18,2)" or "VARCHAR2(40 CHAR)"."""

    name: str
    type: str
    nullable: bool = True

    @cached_property
    def oracle(self) -> OraType:
        return parse_type(self.type)


@dataclass(frozen=True)
class Table:
    """A table of an owner's schema. Columns of `primary_key` are never NULL.

    `number` counts the tables of a file from 1, in the order of their names; 0 is a table without
    rowids, such as a view of the data dictionary.
    """

    owner: str
    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    number: int = 0

    @cached_property
    def by_name(self) -> dict[str, Column]:
        return {c.name: c for c in self.columns}

    @property
    def engine_name(self) -> str:
        return f'"{self.owner}"."{self.name}"'


def create_table(con: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Make `table`, empty, and note its Oracle types in the file's catalogue.

    Names are upper-cased, as Oracle does.

    Raises:
        ValueError: a column's type is none of the above, the key names no column, or the file is
            called like the owner.
    """
    owner, name = table.owner.upper(), table.name.upper()
    key = tuple(k.upper() for k in table.primary_key)
    file = con.execute("SELECT current_database()").fetchone()
    if file is not None and file[0].upper() == owner:
        raise ValueError(f"the DuckDB file must not be called {file[0]}, like the schema {owner}")
    columns = [
        Column(c.name.upper(), c.type, c.nullable and c.name.upper() not in key)
        for c in table.columns
    ]
    unknown = set(key) - {c.name for c in columns}
    if unknown:
        raise ValueError(f"{owner}.{name} has no column {sorted(unknown)} for its primary key")
    parts = []
    for column in columns:
        null = "" if column.nullable else " NOT NULL"
        parts.append(f'"{column.name}" {storage(column.oracle)}{null}')
        if column.oracle.kind == "TSTZ":
            parts.append(f'"{HIDDEN_OFFSET}{column.name}" SMALLINT DEFAULT {DEFAULT_OFFSET}')
    parts += ["_from_scn BIGINT DEFAULT 0", "_to_scn BIGINT DEFAULT NULL"]
    con.execute(_CATALOGUE)
    con.execute(f'CREATE SCHEMA IF NOT EXISTS "{owner}"')
    counter = f'"{owner}"."_rows_{name}"'
    con.execute(f"CREATE SEQUENCE {counter} MINVALUE 0 START 0")
    parts.append(f"_row BIGINT DEFAULT nextval('{counter}')")
    con.execute(f'CREATE TABLE "{owner}"."{name}" ({", ".join(parts)})')
    con.executemany(
        "INSERT INTO _oracle.columns VALUES (?, ?, ?, ?, ?, ?)",
        [[owner, name, i, c.name, c.type, c.nullable] for i, c in enumerate(columns, 1)],
    )
    for i, k in enumerate(key, 1):
        con.execute("INSERT INTO _oracle.keys VALUES (?, ?, ?, ?)", [owner, name, i, k])


Place = tuple[str, str]
"""Owner and name."""

PUBLIC = "PUBLIC"
"""The owner of synonyms that everybody's unqualified names find last."""


def create_synonym(con: duckdb.DuckDBPyConnection, owner: str, name: str, leads_to: Place) -> None:
    """Make the synonym `owner.name`; as in Oracle, what it leads to need not be there.

    Raises:
        ValueError: the name is a table's already.
    """
    at = (owner.upper(), name.upper())
    if at in load_tables(con):
        raise ValueError(f"{owner}.{name} is a table")
    to = (leads_to[0].upper(), leads_to[1].upper())
    con.execute("INSERT INTO _oracle.synonyms VALUES (?, ?, ?, ?)", [*at, *to])


def load_synonyms(con: duckdb.DuckDBPyConnection) -> dict[Place, Place]:
    """Where every synonym leads."""
    con.execute(_CATALOGUE)
    found = con.execute("SELECT owner, name, table_owner, table_name FROM _oracle.synonyms")
    return {(owner, name): (to, table) for owner, name, to, table in found.fetchall()}


def load_tables(con: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], Table]:
    """Every table of the file's catalogue, by owner and name."""
    con.execute(_CATALOGUE)
    columns: dict[tuple[str, str], list[Column]] = {}
    for owner, table, name, type_, nullable in con.execute(
        "SELECT owner, table_name, name, type, nullable FROM _oracle.columns"
        " ORDER BY owner, table_name, position"
    ).fetchall():
        columns.setdefault((owner, table), []).append(Column(name, type_, nullable))
    keys: dict[tuple[str, str], list[str]] = {}
    for owner, table, name in con.execute(
        "SELECT owner, table_name, name FROM _oracle.keys ORDER BY owner, table_name, position"
    ).fetchall():
        keys.setdefault((owner, table), []).append(name)
    return {
        at: Table(at[0], at[1], tuple(found), tuple(keys.get(at, ())), number)
        for number, (at, found) in enumerate(sorted(columns.items()), 1)
    }


def settle(con: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Give rows that were put in straight what Oracle would have given: '' is NULL, CHAR is padded.

    A table that has as many rows as when it was last settled is left alone, so that opening a large
    file again costs nothing.
    """
    at = [table.owner, table.name]
    rows = con.execute(f"SELECT count(*) FROM {table.engine_name}").fetchone()
    before = con.execute(
        "SELECT row_count FROM _oracle.settled WHERE owner = ? AND table_name = ?", at
    ).fetchone()
    if rows == before:
        return
    for column in table.columns:
        name = f'"{column.name}"'
        if storage(column.oracle) in ("VARCHAR", "BLOB") and column.oracle.kind != "BLOB":
            measure = "octet_length" if storage(column.oracle) == "BLOB" else "strlen"
            _update(con, table, name, "NULL", f"{measure}({name}) = 0")
        if column.oracle.kind == "CHAR":
            measure = "length" if column.oracle.by_char else "strlen"
            width = column.oracle.chars if column.oracle.by_char else column.oracle.size
            short = f"{measure}({name}) < {width}"
            _update(con, table, name, pad_char(name, column.oracle), short)
    con.execute("DELETE FROM _oracle.settled WHERE owner = ? AND table_name = ?", at)
    con.execute("INSERT INTO _oracle.settled VALUES (?, ?, ?)", [*at, (rows or (0,))[0]])


def _update(
    con: duckdb.DuckDBPyConnection, table: Table, name: str, value: str, where: str
) -> None:
    # Looking first spares the write, and the checkpoint after it, where nothing is to be done.
    found = con.execute(f"SELECT 1 FROM {table.engine_name} WHERE {where} LIMIT 1").fetchone()
    if found:
        con.execute(f"UPDATE {table.engine_name} SET {name} = {value} WHERE {where}")


def pad_char(value: str, type_: OraType) -> str:
    """DuckDB SQL that pads `value` with blanks to the full length of the CHAR `type_`."""
    if type_.by_char:
        return f"({value} || repeat(' ', greatest(0, {type_.chars} - length({value}))))"
    return f"({value} || repeat(' ', greatest(0, {type_.size} - strlen({value}))))"
