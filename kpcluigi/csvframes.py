"""A gzip CSV as frames of text, block after block: the memory it takes does not depend on its size.

All columns are text; an empty value is null, or "" where it is quoted (Salesforce makes no
difference between the two).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl

from kpcluigi.errors import StagingError
from kpcluigi.files import gzip_reader

BLOCK = 1 << 20
"""Uncompressed bytes that become one frame, about. Four times as many take no less CPU, and 20 MB
more."""

csv.field_size_limit(1 << 24)  # a record may hold 400,000 characters, Python's default is 131,072


def read_frames(path: Path, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
    """The rows of a gzip CSV with a header, as frames of its columns, or of the named ones.

    Raises:
        StagingError: the file has no such column, or is damaged.
    """
    try:
        yield from frames_of(_blocks_of(path), columns)
    except (EOFError, OSError, pl.exceptions.PolarsError, ValueError) as error:
        raise StagingError(f"{path} is damaged: {error}") from error


def frames_of(
    blocks: Iterable[bytes], columns: Sequence[str] | None = None
) -> Iterator[pl.DataFrame]:
    """Frames of a CSV that comes in blocks of bytes, cut anywhere.

    Raises:
        ValueError: it has rows and no such column, or ends in the middle of a row. Results of a job
            that was refused unread come with a header that lacks the columns, and no rows.
    """
    names: list[str] = []
    wanted: list[int] = []
    for data in _whole_rows(blocks):
        if not names:
            end = data.index(b"\n") + 1
            names = _names(data[:end])
            data = data[end:]
            missing = [name for name in columns or () if name not in names]
            if missing and data:
                raise ValueError(f"it has no column {', '.join(missing)}")
            chosen = names if columns is None else columns
            wanted = [names.index(name) for name in chosen if name in names]
        if data:
            yield _frame(data, names, wanted).select(names if columns is None else columns)


def rows_between(frames: Iterable[pl.DataFrame], first: int, after: int) -> Iterator[pl.DataFrame]:
    """The rows first <= row < after of all frames together, counted from 0."""
    row = 0
    for frame in frames:
        start, end = max(first - row, 0), min(after - row, frame.height)
        if start < end:
            yield frame[start:end]
        row += frame.height


def to_lines(frame: pl.DataFrame) -> bytes:
    """The frame as the lines of such a CSV, without a header."""
    text = frame.write_csv(None, include_header=False, quote_style="necessary", null_value="")
    return text.encode()


def header_line(names: Sequence[str]) -> bytes:
    """The first line of a CSV with these columns."""
    return (",".join(names) + "\n").encode()


def _blocks_of(path: Path) -> Iterator[bytes]:
    with gzip_reader(path) as packed:
        while block := packed.read(BLOCK):
            yield block


def _frame(data: bytes, names: Sequence[str], wanted: Sequence[int]) -> pl.DataFrame:
    frame = pl.read_csv(
        io.BytesIO(data),
        has_header=False,
        columns=sorted(wanted),
        infer_schema=False,
        extra_columns="raise",
    )
    frame.columns = [names[i] for i in sorted(wanted)]
    return frame


def _whole_rows(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, cut behind ends of rows."""
    rest = b""
    for block in blocks:
        data = rest + block
        end = _last_row_end(data)
        if end:
            yield data[:end]
        rest = data[end:]
    if rest:
        if rest.count(b'"') % 2:
            raise ValueError("it ends in the middle of a quoted value")
        yield rest if rest.endswith(b"\n") else rest + b"\n"


def _last_row_end(data: bytes) -> int:
    """The position behind the last line feed outside quotes; `data` begins with a row.

    A line feed is outside quotes where an even number of quotes stands before it: inside a value
    they are doubled.
    """
    before = data.count(b'"')
    position = len(data)
    while (found := data.rfind(b"\n", 0, position)) >= 0:
        before -= data.count(b'"', found, position)
        if before % 2 == 0:
            return found + 1
        position = found
    return 0


def _names(line: bytes) -> list[str]:
    return next(csv.reader([line.decode("utf-8-sig").rstrip("\r\n")]), [])
