"""Two charts as inline SVG: no library, no script; readable in print and in the dark.

Colours come from the page (`currentColor` and its classes), text is text, and each chart has a
title and a description that say in words what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from markupsafe import Markup, escape

WIDTH, HEIGHT = 460, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 14, 14, 46
_TICKS: tuple[timedelta, ...] = (
    *(timedelta(seconds=n) for n in (1, 2, 5, 10, 15, 30)),
    *(timedelta(minutes=n) for n in (1, 2, 5, 10, 15, 30)),
    *(timedelta(hours=n) for n in (1, 2, 3, 6, 12)),
    *(timedelta(days=n) for n in (1, 2, 7, 14, 28, 91, 182, 364)),
)


@dataclass(frozen=True)
class Axes:
    """Where a moment and a number lie in the picture."""

    start: datetime
    end: datetime
    top: float

    def x(self, moment: datetime) -> float:
        return LEFT + (moment - self.start) / (self.end - self.start) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - value / self.top * (HEIGHT - TOP - BOTTOM)


def bars(
    starts: Sequence[datetime], values: Sequence[float], step: timedelta, *, title: str, unit: str
) -> Markup:
    """One bar per step."""
    axes = Axes(starts[0], starts[-1] + step, _round_up(max(values)))
    gap = 1.0 if len(starts) < 80 else 0.0
    drawn = [
        f'<rect class="bar" x="{axes.x(start) + gap / 2:.1f}" y="{axes.y(value):.1f}" '
        f'width="{max(axes.x(start + step) - axes.x(start) - gap, 0.5):.1f}" '
        f'height="{axes.y(0) - axes.y(value):.1f}"/>'
        for start, value in zip(starts, values, strict=True)
        if value
    ]
    best = max(range(len(values)), key=values.__getitem__)
    said = (
        f"{sum(values):,.0f} rows from {_in_words(starts[0])} to {_in_words(starts[-1] + step)}; "
        f"the most, {values[best]:,.0f}, from {_in_words(starts[best])}."
    )
    return _picture(axes, drawn, title=title, description=said, unit=unit)


def steps(
    moments: Sequence[datetime],
    values: Sequence[int],
    *,
    limit: int,
    title: str,
    unit: str,
) -> Markup:
    """A line that holds each value until the next moment, and the limit where it is in sight."""
    most = max(values)
    in_sight = most >= limit / 5
    start, end = moments[0], moments[-1]
    margin = max((end - start) / 40, timedelta(milliseconds=100))
    axes = Axes(start - margin, end + margin, _round_up(max(most, limit if in_sight else 0)))
    points = [(axes.x(moments[0]), axes.y(0))]
    for i, (moment, value) in enumerate(zip(moments, values, strict=True)):
        points.append((axes.x(moment), axes.y(values[i - 1] if i else 0)))
        points.append((axes.x(moment), axes.y(value)))
    points.append((axes.x(end), axes.y(0)))
    outline = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    drawn = [f'<polygon class="area" points="{outline}"/>']
    if in_sight:
        y = axes.y(limit)
        drawn.append(
            f'<line class="limit" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
            f'<text x="{WIDTH - RIGHT}" y="{y + 15:.1f}" text-anchor="end">'
            f"allowed: {limit:,}</text>"
        )
    said = (
        f"At most {most:,} of {limit:,} batches ({100 * most / limit:.1f} %), between "
        f"{_in_words(start)} and {_in_words(end)}."
        + ("" if in_sight else " The limit lies far above the chart.")
    )
    return _picture(axes, drawn, title=title, description=said, unit=unit)


def _picture(axes: Axes, drawn: list[str], *, title: str, description: str, unit: str) -> Markup:
    parts: list[str] = []
    for value in _levels(axes.top):
        y = axes.y(value)
        parts.append(
            f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4.5:.1f}" text-anchor="end">{_short(value)}</text>'
        )
    parts += drawn
    base = axes.y(0)
    parts.append(f'<line class="axis" x1="{LEFT}" y1="{base}" x2="{WIDTH - RIGHT}" y2="{base}"/>')
    for moment, label in _times(axes.start, axes.end):
        x = axes.x(moment)
        parts.append(
            f'<line class="axis" x1="{x:.1f}" y1="{base}" x2="{x:.1f}" y2="{base + 4}"/>'
            f'<text x="{x:.1f}" y="{base + 18}" text-anchor="middle">{label}</text>'
        )
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text x="13" y="{middle}" text-anchor="middle" transform="rotate(-90 13 {middle})">'
        f"{escape(unit)}</text>"
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">'
        f"{_day_or_span(axes.start, axes.end)}</text>"
    )
    return Markup(
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'role="img"><title>{escape(title)}</title><desc>{escape(description)}</desc>'
        f'{"".join(parts)}</svg><p class="said">{escape(description)}</p></figure>'
    )


def _round_up(value: float) -> float:
    """The next 1, 2, 2.5 or 5 times a power of ten; at least 1."""
    if value <= 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(n * power for n in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 20) if n * power >= value)


def _levels(top: float) -> list[float]:
    """Round numbers from 0 to the top."""
    for parts in (4, 5, 3):
        step = top / parts
        if step == int(step) and float(f"{step:.1e}") == step:
            return [i * step for i in range(parts + 1)]
    return [0.0, top]


def _short(value: float) -> str:
    """12k, 1.5M: as long as an axis has room for."""
    for size, letter in ((1e9, "bn"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            unit = 1e3 if letter == "k" else size
            return f"{value / unit:g}{letter}"
    return f"{value:,g}"


def _times(start: datetime, end: datetime) -> list[tuple[datetime, str]]:
    """Round moments, five at most, and how they are written."""
    span = end - start
    step = next((tick for tick in _TICKS if span / tick <= 5), _TICKS[-1])
    midnight = datetime(start.year, start.month, start.day, tzinfo=UTC)
    pattern = "%H:%M:%S" if step < timedelta(minutes=1) else "%H:%M"
    if step >= timedelta(days=1):
        pattern = "%-d %b"
    elif span > timedelta(days=1):
        pattern = "%-d %b %H h"
    moment = midnight + math.ceil((start - midnight) / step) * step
    found = []
    while moment <= end:
        found.append((moment, f"{moment:{pattern}}"))
        moment += step
    return found


def _day_or_span(start: datetime, end: datetime) -> str:
    if start.date() == end.date():
        return f"UTC, {start:%-d %B %Y}"
    return f"UTC, {start:%-d %B %Y} to {end:%-d %B %Y}"


def _in_words(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
