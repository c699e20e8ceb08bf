"""The first design's way: a chunk as one pandas frame, `apply` per column, `to_csv`, gzip -9.

It writes what Salesforce should get, so that its work is kpcluigi's: exact decimals, local time
converted to UTC, texts cut, line ends made LF. The first design's documents have amounts go through
float and stamp local time with Z, which takes 4 % less CPU.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from datetime import UTC
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from kpcluigi.fields import NULL
from kpcluigi.tables import Table

Convert = Callable[[Any], Any]


def first_design(frame: pd.DataFrame, table: Table, path: Path) -> str:
    """Write the chunk; its sha256."""
    converts: dict[str, Convert] = {}
    for name, column in table.columns.items():
        match column.type:
            case "text":
                converts[name] = _text(column.length)
            case "decimal":
                converts[name] = _decimal(column.scale or 0)
            case "boolean":
                converts[name] = _boolean
            case "date":
                converts[name] = _date
            case "datetime":
                converts[name] = _datetime(table.zone_of(column))
    converts |= dict.fromkeys(table.lookups, _lookup)
    fields = {**{n: c.field for n, c in table.columns.items()}, **table.lookups}
    frame = frame.rename(columns=fields)
    for name, convert in converts.items():
        frame[fields[name]] = frame[fields[name]].apply(convert)
    frame = frame[list(fields.values())]
    plain = path.with_suffix("")
    frame.to_csv(plain, index=False, na_rep=NULL)
    packed = gzip.compress(plain.read_bytes())
    path.write_bytes(packed)
    plain.unlink()
    return hashlib.sha256(packed).hexdigest()


def _text(length: int | None) -> Convert:
    def convert(value: Any) -> str | None:
        if pd.isna(value):
            return None
        return str(value).replace("\r\n", "\n").replace("\r", "\n")[:length]

    return convert


def _lookup(value: Any) -> str | None:
    return None if pd.isna(value) else str(value).rstrip(" ")


def _decimal(scale: int) -> Convert:
    places = Decimal(1).scaleb(-scale)

    def convert(value: Any) -> Decimal | None:
        if pd.isna(value):
            return None
        return Decimal(str(value)).quantize(places, ROUND_HALF_UP)

    return convert


_BOOLEAN = {"Y": "true", "N": "false"}


def _boolean(value: Any) -> str | None:
    return None if pd.isna(value) else _BOOLEAN[str(value).strip(" ").upper()]


def _date(value: Any) -> str | None:
    return None if pd.isna(value) else value.strftime("%Y-%m-%d")


def _datetime(zone: ZoneInfo) -> Convert:
    def convert(value: Any) -> str | None:
        if pd.isna(value):
            return None
        utc = value.to_pydatetime().replace(tzinfo=zone).astimezone(UTC)
        return f"{utc.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"

    return convert
