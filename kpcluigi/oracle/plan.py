"""Cutting a table into chunks: one pass over it, at one SCN.

A chunk is a half-open range of keys or of ROWIDs; the first has no lower and the last no upper end,
so that together they hold every row of the window exactly once. Rows whose key is NULL have a chunk
of their own.
"""

from __future__ import annotations

import time
from typing import Any

import oracledb

from kpcluigi.markers import Chunk, Plan
from kpcluigi.oracle.rowids import boundaries, read_extents
from kpcluigi.oracle.snapshot import NOT_GRANTED, take_snapshot
from kpcluigi.oracle.source import Source, number_as_text

NO_SNAPSHOT = (
    "no consistent snapshot: rows that change while the table is read may be read in either state "
    "(FLASHBACK on the table and EXECUTE on DBMS_FLASHBACK are not granted)"
)


def plan_chunks(connection: oracledb.Connection, source: Source, *, fingerprint: str) -> Plan:
    """Chunks by the strategy of the mapping, from one pass over the table.

    The PARALLEL hint of the mapping serves this pass and that of the totals, and no other.
    """
    started = time.monotonic()
    snapshot = take_snapshot(connection, source)
    notes = [] if snapshot.scn is not None else [NO_SNAPSHOT]
    strategy = source.table.strategy
    cut = None
    if strategy == "rowid_range":
        cut = _by_rowid(connection, source, snapshot.scn, notes)
        if cut is None:
            strategy = "key_range"
    sql, rows, chunks = cut or _by_key(connection, source, snapshot.scn)
    return Plan(
        table=source.table.name,
        owner=source.owner,
        partition_column=source.table.partition_column,
        window=str(source.window),
        scn=snapshot.scn,
        snapshot_at=snapshot.at,
        fingerprint=fingerprint,
        strategy=strategy,
        key=list(source.table.key),
        key_types=source.key_types,
        rows=rows,
        sql=sql,
        seconds=round(time.monotonic() - started, 3),
        columns=list(source.described),
        notes=notes,
        chunks=chunks,
    )


Cut = tuple[str, int, list[Chunk]]
"""The statement of the pass, the rows of the table, its chunks."""


def _by_key(connection: oracledb.Connection, source: Source, scn: int | None) -> Cut:
    sql = boundaries_sql(source, scn)
    size = source.table.chunk_size
    with connection.cursor() as cursor:
        cursor.arraysize = 1000
        cursor.execute(sql, {**source.window_binds, "chunk_size": size})
        chunks = _chunks(cursor.fetchall(), size)
    return sql, sum(chunk.rows or 0 for chunk in chunks), chunks


def _by_rowid(
    connection: oracledb.Connection, source: Source, scn: int | None, notes: list[str]
) -> Cut | None:
    """None, and a note that says why, where the table cannot be cut so."""
    asked = "rowid_range was asked for, the table is cut by its key instead"
    try:
        extents = read_extents(connection, source)
    except oracledb.DatabaseError as error:
        if getattr(error.args[0], "code", 0) not in NOT_GRANTED:
            raise
        notes.append(f"{asked}: SELECT on DBA_EXTENTS is not granted ({error})")
        return None
    sql = count_sql(source, scn)
    with connection.cursor() as cursor:
        cursor.execute(sql, source.window_binds)
        (rows,) = cursor.fetchone() or (0,)
    if not rows:
        return sql, 0, []  # a table that never had a row has no extents either
    if not extents:
        notes.append(f"{asked}: Oracle lists no extents of {source.name}; is it a view?")
        return None
    cuts = [[rowid] for rowid in boundaries(extents, rows=rows, chunk_size=source.table.chunk_size)]
    ends = zip([None, *cuts], [*cuts, None], strict=True)
    chunks = [
        Chunk(n=i, rows=None, by="rowid", low=low, high=high)
        for i, (low, high) in enumerate(ends, 1)
    ]
    return sql, rows, chunks


def boundaries_sql(source: Source, scn: int | None) -> str:
    """The key that stands at the start of every chunk, and the last row's.

    Each row is (key columns …, rank of the key, row number, whether part of the key is NULL), rows
    without a key being numbered by themselves. Equal keys share a rank, which is how a chunk begins
    before the first of them, wherever among them the boundary fell. One sort of the keys, or one
    walk over an index that holds key and partition column; nothing else is kept, so it needs no
    more than that of TEMP.
    """
    table = source.table
    keys = [f"t.{part}" for part in table.key]
    named = ", ".join(f"{key} AS k{i}" for i, key in enumerate(keys))
    nulls = " OR ".join(f"{key} IS NULL" for key in keys)
    no_key = f"CASE WHEN {nulls} THEN 1 ELSE 0 END"
    apart = f"PARTITION BY {no_key} " if source.key_nullable else ""
    order = f"OVER ({apart}ORDER BY {', '.join(keys)})"
    picked = ", ".join([*(_as_text(source, i) for i in range(len(keys))), "first_rn, rn, no_key"])
    return (
        f"SELECT {picked} FROM ("
        f"SELECT {source.parallel_hint}{named}, RANK() {order} AS first_rn, "
        f"ROW_NUMBER() {order} AS rn, LEAD(1) {order} AS following, "
        f"{no_key if source.key_nullable else '0'} AS no_key "
        f"{source.from_clause(scn)} WHERE {source.in_window}) "
        f"WHERE MOD(rn, :chunk_size) = 1 OR following IS NULL ORDER BY no_key, rn"
    )


def count_sql(source: Source, scn: int | None) -> str:
    """How many rows the window has."""
    return (
        f"SELECT {source.parallel_hint}COUNT(*) {source.from_clause(scn)} WHERE {source.in_window}"
    )


def _as_text(source: Source, i: int) -> str:
    """A key column as text that a chunk's statement turns back into the same value."""
    column = source.key_columns[i]
    if column.kind == "number":
        return f"{number_as_text(f'k{i}')} AS k{i}"
    if column.kind == "datetime":
        return f"TO_CHAR(k{i}, '{column.date_format}') AS k{i}"
    return f"k{i}"


def _chunks(found: list[tuple[Any, ...]], chunk_size: int) -> list[Chunk]:
    """Chunks from the rows of `boundaries_sql`; a key that fills several has one of its own."""
    keyed = [row[:-1] for row in found if not row[-1]]
    total = keyed[-1][-1] if keyed else 0
    starts = {
        first: [str(part) for part in key] for *key, first, rn in keyed if rn % chunk_size == 1
    }
    firsts = [*starts, total + 1]
    lows = [*starts.values(), None]
    chunks = [
        Chunk(n=i, rows=firsts[i] - first, low=lows[i - 1] if i > 1 else None, high=lows[i])
        for i, first in enumerate(starts, 1)
    ]
    without_key = max((row[-2] for row in found if row[-1]), default=0)
    if without_key:
        chunks.append(Chunk(n=len(chunks) + 1, rows=without_key, null_keys=True))
    return chunks
