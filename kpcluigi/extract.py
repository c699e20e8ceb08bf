"""One chunk from Oracle to its chunk file and manifest."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import oracledb
import polars as pl

from kpcluigi import transform
from kpcluigi.chunkfile import BYTES_PER_ROW, ChunkWriter, Written, writing
from kpcluigi.errors import DiskFullError, RowCountError
from kpcluigi.files import in_words
from kpcluigi.markers import Chunk, ChunkManifest, Plan
from kpcluigi.oracle import Source, read_chunk
from kpcluigi.oracle.chunk import chunk_sql
from kpcluigi.staging import TableFolder, reextract_command, write_marker
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
        DiskFullError: the disk is too full; the text says how much is needed.
        OracleError: a value does not fit the type of its mapping.
    """
    started = time.monotonic()
    scn = plan.scn_of(chunk.n)

    def frames() -> Iterator[pl.DataFrame]:
        read = 0
        for frame in read_chunk(connection, source, chunk, scn=scn):
            _require_space(folder.path, min_free_bytes)
            read += frame.height
            yield frame
            tell(read)
        if chunk.rows is not None and read != chunk.rows and scn is not None:
            raise RowCountError(
                f"{source.table.name} chunk {chunk.n}: planned {chunk.rows:,} rows, but Oracle "
                f"gave {read:,} at the same SCN {scn}; nothing of it was kept. Have the table "
                f"planned anew with: {reextract_command(folder, '--loaded')}, and run the same "
                f"command again"
            )

    try:
        staged = stage(
            source.table,
            frames(),
            in_utc=source.in_utc,
            file=folder.chunk_file(chunk.n),
            rejected_file=folder.rejected_rows(chunk.n),
        )
    except DiskFullError as error:
        raise DiskFullError(f"{error}; {_needed(plan, folder)}") from error
    manifest = ChunkManifest(
        table=source.table.name,
        n=chunk.n,
        scn=scn,
        fingerprint=plan.fingerprint,
        sql=chunk_sql(source, chunk, scn),
        rows=staged.written.rows,
        rejected=staged.rejected,
        rejected_for=staged.ledger.rejected_for,
        fitted=staged.ledger.columns,
        raw_bytes=staged.written.raw_bytes,
        file_bytes=staged.written.file_bytes,
        sha256=staged.written.sha256,
        header_bytes=staged.written.header_bytes,
        cuts=staged.written.cuts,
        seconds=round(time.monotonic() - started, 3),
    )
    write_marker(folder.chunk_manifest(chunk.n), manifest)
    return manifest


@dataclass(frozen=True)
class Staged:
    """What `stage` made of its frames."""

    written: Written
    rejected: int
    ledger: transform.FitLedger


def stage(
    table: Table,
    frames: Iterable[pl.DataFrame],
    *,
    in_utc: Collection[str],
    file: Path,
    rejected_file: Path,
) -> Staged:
    """Frames of Oracle's columns into a chunk file, and a file of the rows that cannot be sent.

    Both appear when all frames have been taken, the second only if there are such rows.
    """
    ledger = transform.FitLedger()
    header = transform.header(table)
    rejected = 0
    rejected_file.unlink(missing_ok=True)  # of an attempt that was interrupted
    with ExitStack() as stack:
        writer = stack.enter_context(writing(file, header))
        refused: ChunkWriter | None = None
        for frame in frames:
            converted = transform.convert(table, frame, in_utc=in_utc, ledger=ledger)
            writer.add(converted.rows)
            if converted.rejected is None:
                continue
            rejected += converted.rejected.height
            if refused is None:
                refused = stack.enter_context(writing(rejected_file, b"sf__Error," + header))
            refused.add(converted.rejected)
        if refused is not None:
            refused.close()
        return Staged(writer.close(), rejected, ledger)


def _require_space(folder: Path, floor: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < floor:
        raise DiskFullError(
            f"{folder} has {in_words(free)} free, less than the {in_words(floor)} that "
            f"`min_free_gb` under [staging] keeps: extraction stops, uploads go on. "
            f"Free some space and run the same command again"
        )


def _needed(plan: Plan, folder: TableFolder) -> str:
    """How much room the rest of the table takes."""
    done = (folder.chunk_manifest, folder.load_result)
    left = [c.n for c in plan.chunks if not any(path(c.n).exists() for path in done)]
    size = sum(plan.rows_of(n) for n in left) * BYTES_PER_ROW
    return f"the {len(left)} chunks of {plan.table} still to come need about {in_words(size)}"
