"""The charts of a run of seconds, of days, and of one that was interrupted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest

from kpcluigi.report import charts, frames
from kpcluigi.report.history import Job

START = datetime(2025, 1, 6, 19, 0, 3, tzinfo=UTC)


def job(begun: timedelta, lasts: timedelta, rows: int = 60_000, *, ended: bool = True) -> Job:
    sent = START + begun
    return Job(
        table="T",
        kind="load",
        id=str(sent),
        state="JobComplete",
        sent_at=sent,
        ended_at=sent + lasts if ended else None,
        rows=rows,
        arrived=rows if ended else 0,
        failed=0,
        batches=-(-rows // 10_000),
    )


@pytest.mark.parametrize(
    ("lasts", "unit", "label"),
    [
        (timedelta(seconds=20), "second", "19:00:05"),
        (timedelta(minutes=20), "10 seconds", "19:05"),
        (timedelta(hours=2), "minute", "19:30"),
        (timedelta(days=6), "hour", "8 Jan"),
        (timedelta(days=100), "day", "3 Feb"),
    ],
)
def test_rows_are_counted_per_what_suits_the_run(lasts: timedelta, unit: str, label: str) -> None:
    jobs = [job(lasts / 4 * i, lasts / 4) for i in range(4)]
    found, frame = frames.throughput(jobs)
    assert found == unit
    assert frame["rows"].sum() == pytest.approx(240_000)
    assert len(frame) <= frames.MOST_STEPS + 1
    starts = [start.to_pydatetime() for start in frame["start"]]
    step = dict(frames.STEPS)[unit]
    values = frame["rows"].tolist()
    drawn = charts.bars(starts, values, step, title="Rows", unit=f"rows per {unit}")
    root = ElementTree.fromstring(drawn)
    texts = [text.text for text in root.iter("text")]
    assert label in texts
    assert f"rows per {unit}" in texts
    assert any(text and text.startswith("UTC, 6 January 2025") for text in texts)
    assert root.find("svg/title") is not None
    assert root.findtext("svg/desc", "").startswith("240,000 rows from 2025-01-06 ")
    heights = [float(bar.get("height", 0)) for bar in root.iter("rect")]
    assert all(0 < height <= charts.HEIGHT for height in heights)


def test_a_job_that_ended_at_once_counts_whole() -> None:
    _, frame = frames.throughput([job(timedelta(), timedelta())])
    assert frame["rows"].tolist() == [60_000]


def test_a_job_counts_until_a_day_after_its_end() -> None:
    """As the governor reckons; one under way counts on."""
    hour = timedelta(hours=1)
    jobs = [job(0 * hour, hour), job(10 * hour, hour), job(24.5 * hour, hour), job(30 * hour, hour)]
    frame = frames.allocation([*jobs, job(40 * hour, hour, ended=False)])
    at = [(moment - START) / hour for moment in frame["at"]]
    assert list(zip(at, frame["batches"], strict=True)) == [
        (0, 6), (10, 12), (24.5, 18), (25, 12), (30, 18), (35, 12), (40, 18)
    ]  # fmt: skip


@pytest.mark.parametrize(("most", "in_sight"), [(12, False), (14_990, True)])
def test_the_limit_is_drawn_where_it_is_in_sight(most: int, in_sight: bool) -> None:
    moments = [START, START + timedelta(hours=5), START + timedelta(hours=9)]
    drawn = charts.steps(moments, [5, most, 3], limit=15_000, title="T", unit="batches")
    assert ("allowed: 15,000" in drawn) is in_sight
    assert f"At most {most:,} of 15,000 batches" in drawn
    ElementTree.fromstring(drawn)


def test_nothing_sent_is_nothing_to_draw() -> None:
    assert frames.throughput([])[1].empty
    assert frames.allocation([]).empty
