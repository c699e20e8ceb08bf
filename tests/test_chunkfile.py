"""A chunk file is cut into jobs at whole batches, and streams back byte for byte."""

from __future__ import annotations

import gzip
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpcluigi.chunkfile import JobBody, cut_into_jobs, writing
from kpcluigi.errors import StagingError
from kpcluigi.tables import BATCH_ROWS

HEADER = b"Ext__c,V__c\n"


def write(path: Path, frames: list[pl.DataFrame]) -> tuple[int, list[tuple[int, int]], int, str]:
    with writing(path, HEADER) as writer:
        for frame in frames:
            writer.add(frame)
        written = writer.close()
    return written.rows, written.cuts, written.raw_bytes, written.sha256


def frame(first: int, rows: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "k": [str(i) for i in range(first, first + rows)],
            "v": [f"line\n{i}" for i in range(first, first + rows)],
        }
    )


def test_frames_of_any_size_give_the_same_bytes_and_cuts(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.csv.gz", [frame(0, 25_000)])
    pieces = write(tmp_path / "b.csv.gz", [frame(0, 3), frame(3, 9_999), frame(10_002, 14_998)])
    assert whole == pieces
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


def test_each_job_carries_the_header_and_its_own_rows(tmp_path: Path) -> None:
    path = tmp_path / "00001.csv.gz"
    _, cuts, raw_bytes, _ = write(path, [frame(0, 25_000)])
    jobs = cut_into_jobs(cuts, header_bytes=len(HEADER), max_bytes=100_000_000, max_rows=BATCH_ROWS)
    assert [job.rows for job in jobs] == [10_000, 10_000, 5_000]
    bodies = [JobBody(path, header_bytes=len(HEADER), start=job.start, end=job.end) for job in jobs]
    texts = [b"".join(body) for body in bodies]
    assert [len(body) for body in bodies] == [len(text) for text in texts]
    assert all(text.startswith(HEADER) for text in texts)
    joined = HEADER + b"".join(text[len(HEADER) :] for text in texts)
    assert joined == gzip.decompress(path.read_bytes())
    assert len(joined) == raw_bytes
    assert b"".join(bodies[1]) == texts[1], "a body can be sent again"


def test_a_shortened_file_is_noticed_while_it_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "00001.csv.gz"
    write(path, [frame(0, 10)])
    with pytest.raises(StagingError, match="shorter than its manifest"):
        b"".join(JobBody(path, header_bytes=len(HEADER), start=len(HEADER), end=10_000))


def test_nothing_is_left_behind_when_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing(tmp_path / "x.csv.gz", HEADER) as writer:  # noqa: PT012
        writer.add(frame(0, 10))
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


pieces = st.lists(st.lists(st.integers(1, 1_000), min_size=1, max_size=3), min_size=1, max_size=20)


@given(batches=pieces, last=st.integers(1, BATCH_ROWS), cap=st.integers(1_010, 5_000))
def test_jobs_cover_the_file_within_the_cap(batches: list[list[int]], last: int, cap: int) -> None:
    """Each batch of 10,000 rows is written in one piece or, where it is large, in several."""
    header = 10
    rows, end = 0, header
    cuts: list[tuple[int, int]] = []
    for number, batch in enumerate(batches):
        height = last if number + 1 == len(batches) else BATCH_ROWS
        height = max(height, len(batch))
        for i, size in enumerate(batch):
            end += size
            cuts.append((rows + height * (i + 1) // len(batch), end))
        rows += height
    jobs = cut_into_jobs(cuts, header_bytes=header, max_bytes=cap, max_rows=None)
    assert sum(job.rows for job in jobs) == rows
    assert (jobs[0].start, jobs[-1].end) == (header, end)
    ends = {offset: row for row, offset in cuts}
    row = 0
    for before, after in pairwise(jobs):
        row += before.rows
        assert before.end == after.start
        assert ends[before.end] == row
        whole = [offset for so_far, offset in cuts if so_far % BATCH_ROWS == 0]
        fitting = [o for o in whole if before.start < o and header + o - before.start <= cap]
        if fitting:
            assert before.end == max(fitting), "as many whole batches as fit"
        else:
            following = next(offset for _, offset in cuts if offset > before.end)
            assert header + following - before.start > cap, "it could have been larger"
    assert all(header + job.end - job.start <= cap for job in jobs)


def test_rows_larger_than_the_cap_are_refused() -> None:
    with pytest.raises(StagingError, match="max_file_size"):
        cut_into_jobs([(5, 500)], header_bytes=10, max_bytes=400, max_rows=None)


def test_an_empty_file_needs_no_job() -> None:
    assert cut_into_jobs([], header_bytes=10, max_bytes=400, max_rows=None) == []


def test_large_rows_are_cut_below_ten_thousand(tmp_path: Path) -> None:
    path = tmp_path / "00001.csv.gz"
    notes = ["x" * 3_000] * 12_000
    rows, cuts, raw_bytes, _ = write(
        path, [pl.DataFrame({"k": [str(i) for i in range(12_000)], "v": notes})]
    )
    jobs = cut_into_jobs(cuts, header_bytes=len(HEADER), max_bytes=10_000_000, max_rows=None)
    assert len(jobs) > 3
    bodies = [JobBody(path, header_bytes=len(HEADER), start=job.start, end=job.end) for job in jobs]
    counted = [b"".join(body).count(b"\n") - 1 for body in bodies]
    assert counted == [job.rows for job in jobs]
    assert sum(counted) == rows
    assert jobs[-1].end == raw_bytes
