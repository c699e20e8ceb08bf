"""Bind values: what a client sent for a place holder, and how DuckDB is given it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal

from kpcluigi.rehearsal.oracle.oranumber import canonical
from kpcluigi.rehearsal.oracle.oratypes import NUMBER, OraType, number

BindValue = None | str | bytes | Decimal | dt.datetime


@dataclass(frozen=True)
class Bound:
    """A place holder's value with the Oracle type that the client gave it.

    `offset` is the minutes east of UTC that came with a TIMESTAMP WITH TIME ZONE.
    """

    value: BindValue
    type: OraType
    offset: int = 0


def number_bind(value: Decimal) -> Bound:
    """A number. Its digits are rounded up to a few widths, so that statements are compiled once."""
    text = canonical(value)
    whole, _, fraction = text.lstrip("-").partition(".")
    for digits, scale in ((18, 0), (38, 0)):
        if len(whole) <= digits and not fraction:
            return Bound(value, number((digits, scale)))
    if len(whole) <= 18 and len(fraction) <= 20:
        return Bound(value, number((18 + len(fraction), len(fraction))))
    if len(whole) + len(fraction) <= 38:
        return Bound(value, number((38, len(fraction))))
    return Bound(value, NUMBER)
