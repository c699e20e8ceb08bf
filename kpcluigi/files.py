"""Files that appear whole or not at all, and gzip streams."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from isal import igzip

from kpcluigi.errors import DiskFullError

COMPRESSION = 1
"""igzip level: the fastest but one, 2.7 times smaller than raw at a thirtieth of gzip -9's CPU."""


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends well, flushed to disk before.

    Raises:
        DiskFullError: the disk is full or read-only.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        raise DiskFullError(
            f"{path} cannot be written: {error.strerror}; make room in {path.parent} (or make it "
            f"writable) and run the same command again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself is on disk only with its folder
    finally:
        os.close(folder)


def in_words(size: float) -> str:
    """Bytes for people: 14.4 GB, 2.1 MB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def gzip_writer(file: BinaryIO) -> BinaryIO:
    """A gzip stream into `file`, without name and time, so that the same data gives the same bytes.

    Closing it ends the stream and leaves `file` open.
    """
    packed = igzip.IGzipFile(
        filename="", mode="wb", compresslevel=COMPRESSION, fileobj=file, mtime=0
    )
    return cast(BinaryIO, packed)


def gzip_reader(path: Path) -> BinaryIO:
    """The uncompressed content of a gzip file."""
    return cast(BinaryIO, igzip.open(path, "rb"))
