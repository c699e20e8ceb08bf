"""One chunk into Salesforce: its file, the load of it, its dead letter, its marker."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from kpcluigi.csvframes import read_frames
from kpcluigi.load.compression import Compression
from kpcluigi.load.fileload import FileLoad, Gate, Loaded, LoadRules, Stage, StagedFile
from kpcluigi.load.results import KeySet
from kpcluigi.load.row_errors import ERROR, ErrorCounts
from kpcluigi.load.settle import write_rows
from kpcluigi.markers import ChunkManifest, LoadResult, RowErrors
from kpcluigi.salesforce import Client
from kpcluigi.staging import TableFolder, verify_chunk, write_marker
from kpcluigi.tables import Table

_LATER = " later"


@dataclass
class ChunkLoad:
    """The load of one chunk file; `run` brings it from wherever it stands to its marker.

    The attributes are those of `FileLoad`; its staged file is the chunk's.
    """

    client: Client
    table: Table
    manifest: ChunkManifest
    folder: TableFolder
    logs: Path
    rules: LoadRules
    compression: Compression
    gate: Gate
    may_send: Callable[[], None]
    stage: Callable[[Stage], None]
    tell: Callable[[str, float, str | None], None]

    def run(self) -> LoadResult:
        """Send what is not sent, wait for the rest, account for each row, write the marker.

        Raises:
            ChunkChangedError: the file is not the one that was extracted.
            JobFailedError: a job was refused, or kept failing; the next run sends its rows again.
            JobTimeoutError: a job outlasted `job_timeout`; the next run picks it up.
        """
        started = time.monotonic()
        folder, n = self.folder, self.manifest.n
        verify_chunk(folder, self.manifest)
        staged = staged_chunk(folder, self.manifest)
        loaded = FileLoad(
            client=self.client,
            table=self.table,
            staged=staged,
            logs=self.logs,
            rules=self.rules,
            compression=self.compression,
            gate=self.gate,
            may_send=self.may_send,
            stage=self.stage,
            tell=self.tell,
        ).run()
        blanked = gather(loaded, self.table, folder.dead_letter(n), folder.blanked(n))
        errors = loaded.errors
        errors.merge(rejections(self.manifest))
        result = LoadResult(
            table=self.table.name,
            n=n,
            object=self.table.object,
            chunk_sha256=self.manifest.sha256,
            extracted=self.manifest.rows + self.manifest.rejected,
            created=loaded.count("created"),
            updated=loaded.count("updated"),
            failed=loaded.count("failed"),
            unprocessed=loaded.count("unprocessed"),
            rejected=self.manifest.rejected,
            changed_to_fit=self.manifest.changed_to_fit,
            blanked=blanked,
            errors=errors.ordered(),
            jobs=[*loaded.spent_jobs, *loaded.outcomes],
            seconds=round(time.monotonic() - started, 3),
        )
        write_marker(folder.load_result(n), result)
        forget_journal(staged.journal, staged.again)
        return result


def staged_chunk(folder: TableFolder, manifest: ChunkManifest) -> StagedFile:
    """The chunk's file, as something to be loaded."""
    return StagedFile(
        title=f"{manifest.table} chunk {manifest.n}",
        table=manifest.table,
        n=manifest.n,
        path=folder.chunk_file(manifest.n),
        sha256=manifest.sha256,
        rows=manifest.rows,
        header_bytes=manifest.header_bytes,
        cuts=manifest.cuts,
        journal=folder.load_journal(manifest.n),
        again=folder.again(manifest.n),
    )


def forget_journal(journal: Path, again: Path) -> None:
    """What was under way is done: its marker says all that is to be known of it."""
    journal.unlink(missing_ok=True)
    shutil.rmtree(again, ignore_errors=True)


def gather(loaded: Loaded, table: Table, dead: Path, blanked: Path) -> int:
    """Bring the dead rows together, and those that arrived without a parent; none leave no file.

    Whatever else was tried with a row, it lies there as it was staged: one that lost a parent and
    was refused all the same is dead with that parent.

    Returns:
        How many rows arrived without a parent.
    """
    columns, key = [ERROR, *table.fields], table.external_id
    died = KeySet(_keys(loaded.dead_files, key)) if loaded.blanked_files else KeySet([])
    lost: list[pl.DataFrame] = []

    def arrived() -> Iterator[pl.DataFrame]:
        """The rows that lost a parent, each as it was before it lost the first, with all errors."""
        for i, path in enumerate(loaded.blanked_files):
            earlier = KeySet(_keys(loaded.blanked_files[:i], key))
            later = _errors(loaded.blanked_files[i + 1 :], key)
            for frame in read_frames(path, columns):
                first = frame.filter(~earlier.has(frame[key]))
                if later is not None:
                    both = pl.concat_str(ERROR, _LATER, separator=" | ", ignore_nulls=True)
                    first = first.join(later, on=key, how="left").with_columns(both.alias(ERROR))
                    first = first.select(columns)
                gone = died.has(first[key])
                lost.append(first.filter(gone))
                yield first.filter(~gone)

    def refused() -> Iterator[pl.DataFrame]:
        before = pl.concat(lost).drop(ERROR) if lost else None
        for path in loaded.dead_files:
            for frame in read_frames(path, columns):
                if before is None:
                    yield frame
                    continue
                yield frame.join(before, on=key, how="anti")
                yield frame.select(ERROR, key).join(before, on=key).select(columns)

    rows = _write(blanked, columns, arrived())
    _write(dead, columns, refused())
    return rows


def _errors(paths: Iterable[Path], key: str) -> pl.DataFrame | None:
    """By key, for which other parents rows were sent without."""
    frames = [frame for path in paths for frame in read_frames(path, [ERROR, key])]
    if not frames:
        return None
    told = pl.col(ERROR).str.join(" | ").alias(_LATER)
    return pl.concat(frames).group_by(key, maintain_order=True).agg(told)


def _keys(paths: Iterable[Path], key: str) -> Iterator[pl.Series]:
    for path in paths:
        for frame in read_frames(path, [key]):
            yield frame[key]


def _write(path: Path, columns: list[str], frames: Iterable[pl.DataFrame]) -> int:
    """The rows in one gzip CSV; none leave no file."""
    rows = (frame for frame in frames if frame.height)
    first = next(rows, None)
    if first is None:
        path.unlink(missing_ok=True)
        return 0
    return write_rows(path, columns, itertools.chain([first], rows)).rows


def rejections(manifest: ChunkManifest) -> list[RowErrors]:
    """The rows that extraction refused, by their reason."""
    counts = ErrorCounts()
    for message, rows in manifest.rejected_for.items():
        code, _, rest = message.partition(":")
        field = rest.rpartition(":")[2].removesuffix("--").strip()
        counts.merge(
            [RowErrors(code=code, field=field, rows=rows, message=message, sample_keys=[])]
        )
    return counts.ordered()
