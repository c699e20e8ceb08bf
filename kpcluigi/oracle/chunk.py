"""Reading one chunk as a stream of frames, values exact."""

from __future__ import annotations

from collections.abc import Iterator

import oracledb
import polars as pl

from kpcluigi.markers import Chunk
from kpcluigi.oracle.plan import chunk_binds, chunk_sql
from kpcluigi.oracle.source import Source, Window


def read_chunk(
    connection: oracledb.Connection,
    source: Source,
    window: Window,
    chunk: Chunk,
    *,
    scn: int | None,
) -> Iterator[pl.DataFrame]:
    """The chunk's rows in key order, in frames of `fetch_size` rows.

    Memory holds one frame, however large the chunk is.
    """
    batches = connection.fetch_df_batches(
        chunk_sql(source, chunk, scn),
        chunk_binds(source, chunk, window),
        size=source.table.fetch_size,
        requested_schema=source.schema,
    )
    for batch in batches:
        yield pl.DataFrame(batch)
