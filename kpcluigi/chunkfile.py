"""The chunk file: a gzip CSV that can be cut into jobs without being parsed again.

While it is written, the uncompressed offset behind every 10,000th row is noted. Those cuts are the
only places where a job may begin or end (a Bulk job's internal batch is 10,000 rows), so an upload
streams a range of bytes and never looks for row boundaries inside quoted line breaks.
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
    cuts: list[int]


class ChunkWriter:
    """Takes frames of text, writes whole batches of rows, notes the cuts. See `writing`."""

    def __init__(self, file: BinaryIO, header: bytes) -> None:
        self._hashing = _Hashing(file)
        self._gzip = gzip_writer(cast(BinaryIO, self._hashing))
        self._gzip.write(header)
        self._header_bytes = self._offset = len(header)
        self._pending: list[pl.DataFrame] = []
        self._waiting = 0
        self._cuts: list[int] = []
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
        self._gzip.write(data)
        self._offset += len(data)
        self._cuts.append(self._offset)
        self.rows += batch.height


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
    """A run of whole batches: rows, and the uncompressed bytes [start, end) they occupy."""

    rows: int
    start: int
    end: int


def cut_into_jobs(
    cuts: Sequence[int], *, rows: int, header_bytes: int, max_bytes: int, max_rows: int | None
) -> list[Cut]:
    """Jobs as large as the caps allow, at the noted cuts only.

    Args:
        cuts: uncompressed offsets behind every 10,000th row and behind the last.
        rows: rows in the file.
        header_bytes: length of the header, which every job carries too.
        max_bytes: cap of a job's CSV, header included.
        max_rows: cap of a job's rows; a multiple of 10,000, or None.

    Raises:
        StagingError: 10,000 rows are larger than `max_bytes`.
    """
    jobs: list[Cut] = []
    start, first = header_bytes, 0
    for i, end in enumerate(cuts):
        if header_bytes + end - (cuts[i - 1] if i else header_bytes) > max_bytes:
            raise StagingError(
                f"Rows {i * BATCH_ROWS:,} to {(i + 1) * BATCH_ROWS:,} take more than the "
                f"{max_bytes:,} bytes of `max_file_size`; raise it, or map fewer columns"
            )
        last = i + 1 == len(cuts)
        so_far = (i + 1 - first) * BATCH_ROWS
        next_too_large = not last and (
            header_bytes + cuts[i + 1] - start > max_bytes
            or (max_rows is not None and so_far + BATCH_ROWS > max_rows)
        )
        if last or next_too_large:
            end_row = rows if last else (i + 1) * BATCH_ROWS
            jobs.append(Cut(rows=end_row - first * BATCH_ROWS, start=start, end=end))
            start, first = end, i + 1
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
