"""Which chunk a sampled row belongs to, so that the sample has rows of each."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from kpcluigi.markers import KeyType, Plan
from kpcluigi.oracle.totals import Row


def stratum_by_chunk(plan: Plan) -> Callable[[Row], int] | None:
    """The number of a row's chunk, by its key; None where chunks are ranges of ROWIDs.

    A row's place does not tell its ROWID; the sample is then spread over the days.
    """
    if any(chunk.by == "rowid" for chunk in plan.chunks):
        return None
    ranges = [chunk for chunk in plan.chunks if not chunk.null_keys]
    lows = [_ordered(plan, chunk.low) for chunk in ranges if chunk.low is not None]
    numbers = [chunk.n for chunk in ranges]
    without_key = next((chunk.n for chunk in plan.chunks if chunk.null_keys), 0)

    def stratum_of(row: Row) -> int:
        key = [row.get(part) for part in plan.key]
        if not numbers or any(value is None for value in key):
            return without_key
        return numbers[bisect_right(lows, _ordered(plan, [value or "" for value in key]))]

    return stratum_of


def _ordered(plan: Plan, key: list[str]) -> tuple[Any, ...]:
    """A key that sorts as Oracle sorts it."""
    return tuple(_comparable(v, kind) for v, kind in zip(key, plan.key_types, strict=True))


def _comparable(value: str, kind: KeyType) -> Any:
    return Decimal(value) if kind == "number" else value.encode()
