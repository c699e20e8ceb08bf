"""The chunk file: a gzip CSV that can be cut into jobs without being parsed again.

While it is written, the uncompressed offset behind every 10,000th row is noted, and where those are
large, offsets between. Those cuts are the only places where a job may begin or end (a Bulk job's
internal batch is 10,000 rows), so an upload streams a range of bytes and never looks for row
boundaries inside quoted line breaks.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import polars as pl

from kpcluigi.errors import StagingError
from kpcluigi.files import gzip_reader, gzip_writer, replacing
from kpcluigi.tables import BATCH_ROWS
from kpcluigi.transform import to_csv

BYTES_PER_ROW = 55
"""Compressed, as measured on a 13-column sales table; it only has to warn in time."""

BLOCK = 1 << 20
PIECE_BYTES = 4 << 20
"""Batches of more than this are cut into halves, and again, so that no job gets too large."""


class _Hashing(io.RawIOBase):
    """Passes bytes on to a file while it hashes and counts them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # any buffer will do
        self.sha256.update(data)
        self.size += len(data)
        return self._file.write(data)


@dataclass(frozen=True)
class Written:
    """What came to lie in a chunk file."""

    rows: int
    raw_bytes: int
    file_bytes: int
    sha256: str
    header_bytes: int
    cuts: list[tuple[int, int]]
    """Rows so far, and the uncompressed offset behind them."""


class ChunkWriter:
    """Takes frames of text, writes whole batches of rows, notes the cuts. See `writing`."""

    def __init__(self, file: BinaryIO, header: bytes) -> None:
        self._hashing = _Hashing(file)
        self._gzip = gzip_writer(cast(BinaryIO, self._hashing))
        self._gzip.write(header)
        self._header_bytes = self._offset = len(header)
        self._pending: list[pl.DataFrame] = []
        self._waiting = 0
        self._cuts: list[tuple[int, int]] = []
        self.rows = 0

    def add(self, frame: pl.DataFrame) -> None:
        """Write the full batches of 10,000 rows that are now complete; keep the rest."""
        self._pending.append(frame)
        self._waiting += frame.height
        if self._waiting >= BATCH_ROWS:
            whole = pl.concat(self._pending)
            full = whole.height - whole.height % BATCH_ROWS
            for start in range(0, full, BATCH_ROWS):
                self._write(whole[start : start + BATCH_ROWS])
            rest = whole[full:]
            self._pending, self._waiting = [rest], rest.height

    def close(self) -> Written:
        """Write what is left and end the stream."""
        if self._waiting:
            self._write(pl.concat(self._pending))
        self._gzip.close()
        return Written(
            rows=self.rows,
            raw_bytes=self._offset,
            file_bytes=self._hashing.size,
            sha256=self._hashing.sha256.hexdigest(),
            header_bytes=self._header_bytes,
            cuts=self._cuts,
        )

    def release(self) -> None:
        """Give up the compressor, whether or not the stream was ended."""
        self._gzip.close()

    def _write(self, batch: pl.DataFrame) -> None:
        data = to_csv(batch)
        if len(data) > PIECE_BYTES and batch.height > 1:
            half = batch.height // 2
            self._write(batch[:half])
            self._write(batch[half:])
            return
        self._gzip.write(data)
        self._offset += len(data)
        self.rows += batch.height
        self._cuts.append((self.rows, self._offset))


@contextmanager
def writing(path: Path, header: bytes) -> Iterator[ChunkWriter]:
    """A `ChunkWriter` whose file appears at `path` when the block ends well; close it inside."""
    with replacing(path) as file:
        writer = ChunkWriter(file, header)
        try:
            yield writer
        finally:
            writer.release()


@dataclass(frozen=True)
class Cut:
    """A run of rows, and the uncompressed bytes [start, end) they occupy."""

    rows: int
    start: int
    end: int


def cut_into_jobs(
    cuts: Sequence[tuple[int, int]],
    *,
    header_bytes: int,
    max_bytes: int,
    max_rows: int | None,
    behind: tuple[int, int] | None = None,
) -> list[Cut]:
    """Jobs as large as the caps allow, at the noted cuts only: behind whole batches if possible.

    Args:
        cuts: rows so far and uncompressed offset, behind every 10,000th row, behind the last, and
            between where rows are large.
        header_bytes: length of the header, which every job carries too.
        max_bytes: cap of a job's CSV, header included.
        max_rows: cap of a job's rows; a multiple of 10,000, or None.
        behind: the cut that the first of these follows; None: the beginning of the file.

    Raises:
        StagingError: rows between two cuts are larger than `max_bytes`.
    """
    jobs: list[Cut] = []
    row, start = behind or (0, header_bytes)
    i = 0
    while i < len(cuts):
        last = whole = None
        for k in range(i, len(cuts)):
            rows, end = cuts[k]
            if header_bytes + end - start > max_bytes or (max_rows and rows - row > max_rows):
                break
            last = k
            if rows % BATCH_ROWS == 0 or k + 1 == len(cuts):
                whole = k
        if last is None:
            raise StagingError(
                f"Rows {row:,} to {cuts[i][0]:,} take more than the {max_bytes:,} bytes of "
                f"`max_file_size`; raise it, or map fewer columns"
            )
        chosen = last if whole is None else whole
        rows, end = cuts[chosen]
        jobs.append(Cut(rows=rows - row, start=start, end=end))
        row, start, i = rows, end, chosen + 1
    return jobs


class JobBody:
    """One job's CSV (header, then bytes [start, end) of the chunk) as a readable of known length.

    Iterable any number of times: each iteration opens the file anew, so a request can be replayed.
    """

    def __init__(self, path: Path, *, header_bytes: int, start: int, end: int) -> None:
        self._path = path
        self._header_bytes = header_bytes
        self._start = start
        self._end = end

    def __len__(self) -> int:
        return self._header_bytes + self._end - self._start

    def __iter__(self) -> Iterator[bytes]:
        with gzip_reader(self._path) as stream:
            yield _exactly(stream.read(self._header_bytes), self._header_bytes, self._path)
            position = self._header_bytes
            while position < self._start:
                skipped = stream.read(min(BLOCK, self._start - position))
                position += len(_some(skipped, self._path))
            while position < self._end:
                block = stream.read(min(BLOCK, self._end - position))
                position += len(_some(block, self._path))
                yield block


def _exactly(data: bytes, size: int, path: Path) -> bytes:
    if len(data) != size:
        raise StagingError(f"{path} ends before its header does")
    return data


def _some(data: bytes, path: Path) -> bytes:
    if not data:
        raise StagingError(f"{path} is shorter than its manifest says")
    return data
