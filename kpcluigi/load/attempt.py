"""Rows that are sent again: a file of their own, loaded like a chunk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kpcluigi.errors import ChunkChangedError, StagingError
from kpcluigi.load.chunk import gather
from kpcluigi.load.compression import Compression
from kpcluigi.load.fileload import FileLoad, Gate, Loaded, LoadRules, Stage, StagedFile
from kpcluigi.salesforce import Client
from kpcluigi.staging import TableFolder
from kpcluigi.tables import Table


@dataclass
class AttemptLoad:
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

    def send(
        self, staged: StagedFile, *, begun: Path, dead: Path, blanked: Path
    ) -> tuple[Loaded, int]:
        """Send the file, from wherever its load stands.

        Args:
            begun: the marker that the attempt began with.
            dead, blanked: files for the rows that did not arrive, and those without a parent.

        Returns:
            What became of the rows, and how many arrived without a parent.
        """
        if not staged.path.exists() or sha256_of(staged.path) != staged.sha256:
            raise ChunkChangedError(
                f"{staged.title}: {staged.path} was changed since the attempt began; nothing more "
                f"of it was sent. Restore it from a backup, or, where no job of it is under way in "
                f"the org (Setup, Bulk Data Load Jobs), remove {begun} and {staged.journal} and "
                f"run the same command again"
            )
        loaded = FileLoad(
            client=self.client,
            table=self.table,
            staged=staged,
            logs=self.logs,
            rules=self.rules,
            compression=self.compression,
            gate=self.gate,
            may_send=lambda: None,
            stage=self.stage,
            tell=self.tell,
        ).run()
        return loaded, gather(loaded, self.table, dead, blanked)


def sha256_of(path: Path) -> str:
    """Of the bytes of a file with rows to send. Raises `StagingError` where it cannot be read."""
    if not path.is_file():
        raise StagingError(f"{path} is no file; nothing was sent")
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise StagingError(f"{path} cannot be read: {error.strerror}") from None
