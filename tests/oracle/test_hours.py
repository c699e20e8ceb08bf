"""When Oracle may be read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kpcluigi.oracle.hours import parse_hours


@pytest.mark.parametrize(
    ("hours", "now", "opens"),
    [
        ("22:00-06:00 Asia/Bangkok", "2024-03-01T15:00", None),
        ("22:00-06:00 Asia/Bangkok", "2024-03-01T22:59", None),
        ("22:00-06:00 Asia/Bangkok", "2024-03-01T23:00", "2024-03-02T15:00"),
        ("22:00-06:00 Asia/Bangkok", "2024-03-01T14:59", "2024-03-01T15:00"),
        ("08:00-17:30 UTC", "2024-03-01T17:29", None),
        ("08:00-17:30 UTC", "2024-03-01T17:30", "2024-03-02T08:00"),
        ("08:00-17:30 UTC", "2024-12-31T07:00", "2024-12-31T08:00"),
    ],
)
def test_hours_may_reach_over_midnight(hours: str, now: str, opens: str | None) -> None:
    span = parse_hours(hours)
    assert span is not None
    found = span.opens_at(datetime.fromisoformat(now).replace(tzinfo=UTC))
    expected = None if opens is None else datetime.fromisoformat(opens).replace(tzinfo=UTC)
    assert found == expected


def test_no_hours_are_all_hours() -> None:
    assert parse_hours("  ") is None


@pytest.mark.parametrize(
    "text", ["22-6", "00:00-00:00", "22:00", "25:00-26:00", "22:00-06:00 Bangkok"]
)
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_hours(text)
