"""A CSV comes back row for row, wherever its blocks are cut."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpcluigi.csvframes import frames_of, read_frames, to_lines
from kpcluigi.errors import StagingError
from kpcluigi.files import gzip_writer, replacing

VALUE = st.text(st.sampled_from('a,"\n é#0'), max_size=6)
ROWS = st.lists(st.tuples(VALUE, VALUE, VALUE), min_size=1, max_size=12)


def as_csv(rows: list[tuple[str, ...]], quoting: int) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=quoting)  # type: ignore[arg-type]
    writer.writerow(["x", "y", "z"])
    writer.writerows(rows)
    return text.getvalue().encode()


@given(rows=ROWS, size=st.integers(1, 40), every=st.booleans())
@settings(max_examples=150)
def test_rows_survive_any_cut(rows: list[tuple[str, ...]], size: int, every: bool) -> None:
    data = as_csv(rows, csv.QUOTE_ALL if every else csv.QUOTE_MINIMAL)
    blocks = [data[i : i + size] for i in range(0, len(data), size)]
    found = [row for frame in frames_of(blocks) for row in frame.fill_null("").rows()]
    assert found == rows


@given(rows=ROWS)
@settings(max_examples=50)
def test_what_is_written_is_read_again(rows: list[tuple[str, ...]]) -> None:
    frame = pl.DataFrame(rows, schema={"x": str, "y": str, "z": str}, orient="row")
    again = pl.concat(frames_of([b"x,y,z\n", to_lines(frame)]))
    assert again.rows() == rows


def packed(path: Path, data: bytes) -> Path:
    with replacing(path) as file, gzip_writer(file) as stream:
        stream.write(data)
    return path


def test_columns_come_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    path = packed(tmp_path / "f.csv.gz", b'"sf__Id","sf__Error",A,B\n"1","e","a","b"\n')
    (frame,) = read_frames(path, ["B", "sf__Error"])
    assert frame.columns == ["B", "sf__Error"]
    assert frame.rows() == [("b", "e")]


def test_a_header_alone_has_no_frames(tmp_path: Path) -> None:
    path = packed(tmp_path / "f.csv.gz", b"A,B\n")
    assert list(read_frames(path, ["A"])) == []


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = packed(tmp_path / "f.csv.gz", b"A,B\n" + b'"x","y"\n' * 1000)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(StagingError, match=r"f\.csv\.gz is damaged"):
        list(read_frames(path))
    packed(path, b'A,B\n"x","y\n')
    with pytest.raises(StagingError, match="middle of a quoted value"):
        list(read_frames(path))
    packed(path, b'A,B\n"x"\n"y","z","too many"\n')
    with pytest.raises(StagingError, match=r"f\.csv\.gz is damaged"):
        list(read_frames(path))
