"""Rows that are sent again: a file of their own, loaded like a chunk."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kpcluigi.errors import ChunkChangedError, StagingError
from kpcluigi.load.chunk import gather
from kpcluigi.load.compression import Compression
from kpcluigi.load.fileload import FileLoad, Gate, LoadRules, Stage, StagedFile
from kpcluigi.markers import AttemptResult, AttemptSource
from kpcluigi.salesforce import Client
from kpcluigi.staging import TableFolder, read_marker
from kpcluigi.tables import Table

S = TypeVar("S", bound=AttemptSource)


@dataclass(frozen=True)
class AttemptFiles:
    """Where the files of an attempt lie.

    Attributes:
        title: for people, such as "KPS_T_SALES_MD repair 1".
        begun: the marker that it began with.
        path: its rows.
        journal, again: as of `StagedFile`.
        dead, blanked: for the rows that do not arrive, and those that arrive without a parent.
    """

    title: str
    begun: Path
    path: Path
    journal: Path
    again: Path
    dead: Path
    blanked: Path


@dataclass
class AttemptLoad(ABC):
    """The load of such a file. The attributes are those of `FileLoad`; the file is the attempt's.

    Attributes:
        attempt: its number.
    """

    client: Client
    table: Table
    folder: TableFolder
    attempt: int
    logs: Path
    rules: LoadRules
    compression: Compression
    gate: Gate
    stage: Callable[[Stage], None]
    tell: Callable[[str, float, str | None], None]

    @abstractmethod
    def run(self) -> AttemptResult:
        """Bring the attempt from wherever it stands to its marker.

        Raises:
            JobFailedError, JobTimeoutError: as `ChunkLoad`; the next run goes on with the attempt.
        """

    def source(self, files: AttemptFiles, model: type[S]) -> S:
        """What the attempt began with. Raises `StagingError` where that is gone."""
        source = read_marker(files.begun, model)
        if source is None:
            raise StagingError(f"{files.begun} is gone; run the command again")
        return source

    def send(self, files: AttemptFiles, source: AttemptSource) -> dict[str, Any]:
        """Send the rows, from wherever their load stands; returns the fields of `AttemptResult`."""
        started = time.monotonic()
        if not files.path.exists() or sha256_of(files.path) != source.sha256:
            raise ChunkChangedError(
                f"{files.title}: {files.path} was changed since the attempt began; nothing more of "
                f"it was sent. Restore it from a backup, or, where no job of it is under way in "
                f"the org (Setup, Bulk Data Load Jobs), remove {files.begun} and {files.journal} "
                f"and run the same command again"
            )
        loaded = FileLoad(
            client=self.client,
            table=self.table,
            staged=StagedFile(
                title=files.title,
                table=self.table.name,
                n=self.attempt,
                path=files.path,
                sha256=source.sha256,
                rows=source.rows,
                header_bytes=source.header_bytes,
                cuts=source.cuts,
                journal=files.journal,
                again=files.again,
            ),
            logs=self.logs,
            rules=self.rules,
            compression=self.compression,
            gate=self.gate,
            may_send=lambda: None,
            stage=self.stage,
            tell=self.tell,
        ).run()
        return {
            "table": self.table.name,
            "attempt": self.attempt,
            "rows": source.rows,
            "created": loaded.count("created"),
            "updated": loaded.count("updated"),
            "failed": loaded.count("failed"),
            "unprocessed": loaded.count("unprocessed"),
            "blanked": gather(loaded, self.table, files.dead, files.blanked),
            "errors": loaded.errors.ordered(),
            "jobs": [*loaded.spent_jobs, *loaded.outcomes],
            "seconds": round(time.monotonic() - started, 3),
        }


def sha256_of(path: Path) -> str:
    """Of the bytes of a file with rows to send. Raises `StagingError` where it cannot be read."""
    if not path.is_file():
        raise StagingError(f"{path} is no file; nothing was sent")
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise StagingError(f"{path} cannot be read: {error.strerror}") from None
