"""One chunk into Salesforce: its file, the load of it, its dead letter, its marker."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from kpcluigi.csvframes import header_line, read_frames
from kpcluigi.csvframes import to_lines as lines_of
from kpcluigi.files import gzip_writer, replacing
from kpcluigi.load.compression import Compression
from kpcluigi.load.fileload import FileLoad, Gate, LoadRules, Stage, StagedFile
from kpcluigi.load.row_errors import ERROR, ErrorCounts
from kpcluigi.markers import ChunkManifest, LoadResult, RowErrors
from kpcluigi.salesforce import Client
from kpcluigi.staging import TableFolder, verify_chunk, write_marker
from kpcluigi.tables import Table


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
        gather(loaded.dead_files, [ERROR, *self.table.fields], folder.dead_letter(n))
        gather(loaded.blanked_files, [ERROR, *self.table.fields], folder.blanked(n))
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
            blanked=loaded.blanked,
            errors=errors.ordered(),
            jobs=[*loaded.spent_jobs, *loaded.outcomes],
            seconds=round(time.monotonic() - started, 3),
        )
        write_marker(folder.load_result(n), result)
        forget_journal(staged)
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


def forget_journal(staged: StagedFile) -> None:
    """What was under way is done: its marker says all that is to be known of it."""
    staged.journal.unlink(missing_ok=True)
    shutil.rmtree(staged.again, ignore_errors=True)


def gather(parts: Iterable[Path], columns: list[str], path: Path) -> None:
    """The rows of several gzip CSVs in one; none leave no file."""
    parts = list(parts)
    if not parts:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as file, gzip_writer(file) as packed:
        packed.write(header_line(columns))
        for part in parts:
            for frame in read_frames(part, columns):
                packed.write(lines_of(frame))


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
