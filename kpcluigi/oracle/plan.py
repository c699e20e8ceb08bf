"""Cutting a table into chunks: one pass over the key, at one SCN.

A chunk is a half-open key range; the first has no lower and the last no upper end, so that together
they hold every row of the window exactly once. Rows whose key is NULL have a chunk of their own.
"""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import oracledb

from kpcluigi.markers import Chunk, KeyType, Plan
from kpcluigi.oracle.source import Source, Window, number_as_text

_SCN_STATEMENTS = (
    "SELECT dbms_flashback.get_system_change_number FROM dual",
    "SELECT current_scn FROM v$database",
)
_NOT_GRANTED = frozenset({904, 942, 1031, 6550, 990, 1720})


def plan_chunks(
    connection: oracledb.Connection, source: Source, window: Window, *, fingerprint: str
) -> Plan:
    """Boundaries and rows per chunk, from one pass over the key.

    The PARALLEL hint of the mapping serves this pass alone.
    """
    started = time.monotonic()
    scn = snapshot(connection, source)
    sql = boundaries_sql(source, scn)
    table = source.table
    with connection.cursor() as cursor:
        cursor.arraysize = 1000
        cursor.execute(sql, {**window.binds, "chunk_size": table.chunk_size})
        found: list[tuple[Any, ...]] = cursor.fetchall()
        null_rows = 0
        if source.key_nullable:
            cursor.execute(null_keys_sql(source, scn), window.binds)
            (null_rows,) = cursor.fetchone() or (0,)
    chunks = _chunks(found, table.chunk_size)
    if null_rows:
        chunks.append(Chunk(n=len(chunks) + 1, rows=null_rows, null_keys=True))
    return Plan(
        table=table.name,
        owner=source.owner,
        partition_column=table.partition_column,
        scn=scn,
        fingerprint=fingerprint,
        key=list(table.key),
        key_types=source.key_types,
        rows=sum(chunk.rows for chunk in chunks),
        sql=sql,
        seconds=round(time.monotonic() - started, 3),
        chunks=chunks,
    )


def snapshot(connection: oracledb.Connection, source: Source) -> int | None:
    """The present SCN, if this user may ask for it and read this table as of it; else None."""
    for statement in _SCN_STATEMENTS:
        with connection.cursor() as cursor:
            try:
                cursor.execute(statement)
                (scn,) = cursor.fetchone()
                cursor.execute(f"SELECT 1 {source.from_clause(int(scn))} WHERE ROWNUM = 1")
            except oracledb.DatabaseError as error:
                if getattr(error.args[0], "code", 0) not in _NOT_GRANTED:
                    raise
            else:
                return int(scn)
    return None


def boundaries_sql(source: Source, scn: int | None) -> str:
    """The first key of every chunk with its row number, and the last row with its.

    Each row is (key columns …, row number). One sort of the keys, or one walk over an index that
    holds key and partition column; nothing else is kept, so it needs no more than that of TEMP.
    """
    table = source.table
    keys = [f"t.{part}" for part in table.key]
    named = ", ".join(f"{key} AS k{i}" for i, key in enumerate(keys))
    order = ", ".join(keys)
    hint = f"/*+ PARALLEL(t, {table.parallel_degree}) */ " if table.parallel_degree else ""
    not_null = "".join(f" AND {key} IS NOT NULL" for key in keys) if source.key_nullable else ""
    picked = ", ".join([*(_as_text(source, i) for i in range(len(keys))), "rn"])
    return (
        f"SELECT {picked} FROM ("
        f"SELECT {hint}{named}, ROW_NUMBER() OVER (ORDER BY {order}) AS rn, "
        f"LEAD({keys[0]}) OVER (ORDER BY {order}) AS following {source.from_clause(scn)} "
        f"WHERE {source.in_window}{not_null}) "
        f"WHERE MOD(rn, :chunk_size) = 1 OR following IS NULL ORDER BY rn"
    )


def null_keys_sql(source: Source, scn: int | None) -> str:
    """How many rows of the window have a NULL in their key."""
    nulls = " OR ".join(f"t.{part} IS NULL" for part in source.table.key)
    return f"SELECT COUNT(*) {source.from_clause(scn)} WHERE {source.in_window} AND ({nulls})"


def chunk_sql(source: Source, chunk: Chunk, scn: int | None) -> str:
    """The statement that reads one chunk, in the order of its key."""
    table = source.table
    keys = [f"t.{part}" for part in table.key]
    conditions = [source.in_window]
    if chunk.null_keys:
        conditions.append("(" + " OR ".join(f"{key} IS NULL" for key in keys) + ")")
    else:
        if source.key_nullable:
            conditions.extend(f"{key} IS NOT NULL" for key in keys)
        if chunk.low is not None:
            conditions.append(_at_or_above(source, "low"))
        if chunk.high is not None:
            conditions.append(f"NOT {_at_or_above(source, 'high')}")
    return (
        f"SELECT {source.select_list} {source.from_clause(scn)} "
        f"WHERE {' AND '.join(conditions)} ORDER BY {', '.join(keys)}"
    )


def chunk_binds(source: Source, chunk: Chunk, window: Window) -> dict[str, Any]:
    """The binds of `chunk_sql`."""
    binds: dict[str, Any] = dict(window.binds)
    for side, values in (("low", chunk.low), ("high", chunk.high)):
        for i, (value, kind) in enumerate(zip(values or (), source.key_types, strict=False)):
            binds[f"{side}{i}"] = _bind(value, kind)
    return binds


def _at_or_above(source: Source, side: str) -> str:
    """key >= bound, column by column: Oracle has no ordered comparison of row values."""
    keys = [f"t.{part}" for part in source.table.key]
    bounds = [_placeholder(source, i, f":{side}{i}") for i in range(len(keys))]
    condition = f"{keys[-1]} >= {bounds[-1]}"
    for key, bound in reversed(list(zip(keys[:-1], bounds[:-1], strict=True))):
        condition = f"({key} > {bound} OR ({key} = {bound} AND {condition}))"
    return f"({condition})"


def _as_text(source: Source, i: int) -> str:
    """A key column as text that `_placeholder` turns back into the same value."""
    column = source.key_columns[i]
    if column.kind == "number":
        return f"{number_as_text(f'k{i}')} AS k{i}"
    if column.kind == "datetime":
        return f"TO_CHAR(k{i}, '{column.date_format}') AS k{i}"
    return f"k{i}"


def _placeholder(source: Source, i: int, name: str) -> str:
    column = source.key_columns[i]
    if column.kind != "datetime":
        return name
    function = "TO_TIMESTAMP" if "FF" in column.date_format else "TO_DATE"
    return f"{function}({name}, '{column.date_format}')"


def _bind(value: str, kind: KeyType) -> Any:
    return Decimal(value) if kind == "number" else value


def _chunks(found: list[tuple[Any, ...]], chunk_size: int) -> list[Chunk]:
    """Boundary rows (key texts …, row number), the table's last row at the end, as ranges."""
    total = found[-1][-1] if found else 0
    firsts = [row for row in found if row[-1] % chunk_size == 1]
    lows = [[str(part) for part in row[:-1]] for row in firsts]
    return [
        Chunk(
            n=i + 1,
            rows=min(chunk_size, total - i * chunk_size),
            low=low if i else None,
            high=lows[i + 1] if i + 1 < len(lows) else None,
        )
        for i, low in enumerate(lows)
    ]
