"""What becomes of a chunk's file once every row of it has its outcome: kept, moved or deleted."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from kpcluigi.errors import DiskFullError
from kpcluigi.staging import TableFolder


@dataclass(frozen=True)
class CleanUp:
    """`[staging] after_load`; `archive` is the folder that files are moved to, None: they are not.

    The manifest stays beside where the file was: it says what was sent.
    """

    delete: bool = False
    archive: Path | None = None

    def after_load(self, folder: TableFolder, n: int) -> None:
        """Clean up behind chunk n, whose load marker is written. Done already is done.

        Raises:
            DiskFullError: the archive takes no more; the file stays where it is.
        """
        file = folder.chunk_file(n)
        if not file.exists():
            return
        archived = self._archived(folder, n)
        if archived is not None:
            self._move(file, archived)
        elif self.delete:
            file.unlink()

    def file_of(self, folder: TableFolder, n: int) -> Path | None:
        """Where the file of chunk n is now; None where it was deleted."""
        for path in (folder.chunk_file(n), self._archived(folder, n)):
            if path is not None and path.exists():
                return path
        return None

    def _archived(self, folder: TableFolder, n: int) -> Path | None:
        if self.archive is None:
            return None
        run = folder.path.parent
        return (
            self.archive / run.parent.name / run.name / folder.path.name / folder.chunk_file(n).name
        )

    def _move(self, file: Path, target: Path) -> None:
        """The file is whole at its new place before it leaves the old one."""
        partial = target.with_name(f".{target.name}.tmp-{os.getpid()}")
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(file, partial)
            with partial.open("rb") as copied:
                os.fsync(copied.fileno())
            partial.replace(target)
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # the rename itself is on disk only with its folder
            finally:
                os.close(folder)
        except OSError as error:
            if target.parent.is_dir():
                partial.unlink(missing_ok=True)
            raise DiskFullError(
                f"{file} could not be moved to {target}: {error.strerror}; it is loaded and stays "
                f"where it is. Make room, or change `archive` under [staging]"
            ) from error
        file.unlink()
