"""One chunk from Oracle to its chunk file and manifest."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import oracledb

from kpcluigi import transform
from kpcluigi.chunkfile import ChunkWriter, writing
from kpcluigi.errors import RowCountError, StagingError
from kpcluigi.markers import Chunk, ChunkManifest, Plan
from kpcluigi.oracle import Source, read_chunk
from kpcluigi.oracle.chunk import chunk_sql
from kpcluigi.staging import TableFolder, write_marker
from kpcluigi.tables import Table


def extract_chunk(
    connection: oracledb.Connection,
    source: Source,
    plan: Plan,
    chunk: Chunk,
    folder: TableFolder,
    *,
    min_free_bytes: int,
    tell: Callable[[int], None],
) -> ChunkManifest:
    """Stream the chunk into `chunks/0000n.csv.gz`, then write its manifest.

    Args:
        min_free_bytes: free space below which extraction stops.
        tell: receives the rows read so far, after every frame.

    Raises:
        RowCountError: under one SCN the chunk holds other than its planned rows.
        StagingError: the disk is too full.
        OracleError: a value does not fit the type of its mapping.
    """
    started = time.monotonic()
    table = source.table
    scn = plan.scn_of(chunk.n)
    ledger = transform.FitLedger()
    header = transform.header(table)
    read = rejected = 0
    with ExitStack() as stack:
        writer = stack.enter_context(writing(folder.chunk_file(chunk.n), header))
        refused: ChunkWriter | None = None
        for frame in read_chunk(connection, source, chunk, scn=scn):
            _require_space(folder.path, min_free_bytes)
            read += frame.height
            reasons = transform.rejections(table, frame)
            good = frame.filter(reasons.is_null())
            writer.add(transform.convert(table, good, in_utc=source.in_utc, ledger=ledger))
            if good.height < frame.height:
                bad = frame.filter(reasons.is_not_null())
                rejected += bad.height
                if refused is None:
                    refused = stack.enter_context(
                        writing(folder.rejected_rows(chunk.n), b"sf__Error," + header)
                    )
                whole = _without_length(table)
                text = transform.convert(whole, bad, in_utc=source.in_utc, ledger=ledger)
                refused.add(text.insert_column(0, reasons.drop_nulls()))
            tell(read)
        if chunk.rows is not None and read != chunk.rows and scn is not None:
            raise RowCountError(
                f"{table.name} chunk {chunk.n}: planned {chunk.rows:,} rows, but Oracle gave "
                f"{read:,} at the same SCN {scn}; nothing of it was kept. Have the table planned "
                f"anew with: kpcluigi reextract --table {table.name} --loaded, and run the same "
                f"command again"
            )
        if refused is not None:
            refused.close()
        written = writer.close()
    manifest = ChunkManifest(
        table=table.name,
        n=chunk.n,
        scn=scn,
        fingerprint=plan.fingerprint,
        sql=chunk_sql(source, chunk, scn),
        rows=written.rows,
        rejected=rejected,
        fitted=ledger.columns,
        raw_bytes=written.raw_bytes,
        file_bytes=written.file_bytes,
        sha256=written.sha256,
        header_bytes=written.header_bytes,
        cuts=written.cuts,
        seconds=round(time.monotonic() - started, 3),
    )
    write_marker(folder.chunk_manifest(chunk.n), manifest)
    return manifest


def _without_length(table: Table) -> Table:
    """The table with its external id uncut, so that the dead letter shows what it was."""
    name = table.external_id_column
    column = table.columns[name].model_copy(update={"length": None})
    return table.model_copy(update={"columns": {**table.columns, name: column}})


def _require_space(folder: Path, floor: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < floor:
        raise StagingError(
            f"{folder} has {free / 1e9:.1f} GB free, less than the {floor / 1e9:.1f} GB that "
            f"`min_free_gb` under [staging] keeps: extraction stops, uploads go on. "
            f"Free some space and run the same command again"
        )
