"""Reading one chunk: its statement, and its rows as a stream of frames, values exact."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Literal

import oracledb
import polars as pl
import pyarrow as pa

from kpcluigi.markers import Chunk, KeyType
from kpcluigi.oracle.frames import to_frame
from kpcluigi.oracle.source import Source


def read_chunk(
    connection: oracledb.Connection, source: Source, chunk: Chunk, *, scn: int | None
) -> Iterator[pl.DataFrame]:
    """The chunk's rows in the order of its statement, in frames of `fetch_size` rows.

    Memory holds one frame, however large the chunk is.
    """
    batches = connection.fetch_df_batches(
        chunk_sql(source, chunk, scn),
        chunk_binds(source, chunk),
        size=source.table.fetch_size,
        requested_schema=source.schema,
    )
    for batch in batches:
        yield to_frame(pa.RecordBatchReader.from_stream(batch).read_all())


def count_chunk(
    connection: oracledb.Connection, source: Source, chunk: Chunk, *, scn: int | None
) -> int:
    """How many rows the chunk has at that SCN."""
    sql = f"SELECT COUNT(*) {source.from_clause(scn)} WHERE {_in_chunk(source, chunk)}"
    with connection.cursor() as cursor:
        cursor.execute(sql, chunk_binds(source, chunk))
        (rows,) = cursor.fetchone() or (0,)
    return int(rows)


def chunk_sql(source: Source, chunk: Chunk, scn: int | None) -> str:
    """The statement that reads one chunk.

    Ordered by the parent where the mapping names one, then by what the table is cut by, then by the
    external id, so that the same snapshot gives the same bytes.
    """
    table = source.table
    cut_by = ["ROWID"] if chunk.by == "rowid" else [*table.key, table.external_id_column]
    parent = [table.order_by_parent] if table.order_by_parent else []
    order = ", ".join(f"t.{name}" for name in dict.fromkeys([*parent, *cut_by]))
    return (
        f"SELECT {source.select_list} {source.from_clause(scn)} "
        f"WHERE {_in_chunk(source, chunk)} ORDER BY {order}"
    )


def chunk_binds(source: Source, chunk: Chunk) -> dict[str, Any]:
    """The binds of `chunk_sql`."""
    binds = source.window_binds
    kinds: list[KeyType] = ["text"] if chunk.by == "rowid" else source.key_types
    for side, values in (("low", chunk.low), ("high", chunk.high)):
        for i, (value, kind) in enumerate(zip(values or (), kinds, strict=False)):
            binds[f"{side}{i}"] = Decimal(value) if kind == "number" else value
    return binds


def _in_chunk(source: Source, chunk: Chunk) -> str:
    """The rows of the window that are the chunk's, as a condition."""
    keys = [f"t.{part}" for part in source.table.key]
    conditions = [source.in_window]
    if chunk.null_keys:
        conditions.append("(" + " OR ".join(f"{key} IS NULL" for key in keys) + ")")
        return " AND ".join(conditions)
    if chunk.by == "key" and source.key_nullable:
        conditions.extend(f"{key} IS NOT NULL" for key in keys)
    if chunk.low is not None:
        conditions.append(_bounded(source, chunk, "low"))
    if chunk.high is not None:
        conditions.append(_bounded(source, chunk, "high"))
    return " AND ".join(conditions)


def _bounded(source: Source, chunk: Chunk, side: Literal["low", "high"]) -> str:
    """Key >= low, or key < high, column by column: Oracle cannot order row values.

    The bound on a composite key's first column alone adds nothing but an index range to scan.
    """
    beyond, last = (">", ">=") if side == "low" else ("<", "<")
    if chunk.by == "rowid":
        return f"t.ROWID {last} CHARTOROWID(:{side}0)"
    keys = [f"t.{part}" for part in source.table.key]
    bounds = [_placeholder(source, i, f":{side}{i}") for i in range(len(keys))]
    condition = f"{keys[-1]} {last} {bounds[-1]}"
    for key, bound in reversed(list(zip(keys[:-1], bounds[:-1], strict=True))):
        condition = f"({key} {beyond} {bound} OR ({key} = {bound} AND {condition}))"
    return condition if len(keys) == 1 else f"{keys[0]} {beyond}= {bounds[0]} AND {condition}"


def _placeholder(source: Source, i: int, name: str) -> str:
    column = source.key_columns[i]
    if column.kind != "datetime":
        return name
    function = "TO_TIMESTAMP" if "FF" in column.date_format else "TO_DATE"
    return f"{function}({name}, '{column.date_format}')"
