"""Functions that DuckDB calls back into Python for: what Oracle does and DuckDB does not."""

from __future__ import annotations

import calendar
import datetime as dt
import hashlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import duckdb
from duckdb.func import PythonUDFType

from kpcluigi.rehearsal.oracle import oradate, oranumber, segments
from kpcluigi.rehearsal.oracle.errors import OraError


def _to_number(text: str) -> str:
    return oranumber.canonical(oranumber.parse_number(text))


def _seconds(days: str) -> int:
    """Days, with a fraction, as whole seconds: a DATE has no finer grain."""
    return int((Decimal(days) * 86400).to_integral_value())


def _shift(moment: dt.datetime, months: int, day: int | None) -> dt.datetime:
    count = moment.year * 12 + moment.month - 1 + months
    year, month = divmod(count, 12)
    if not 1 <= year <= 9999:
        raise OraError(1841)
    last = calendar.monthrange(year, month + 1)[1]
    return moment.replace(year=year, month=month + 1, day=last if day is None else min(day, last))


def _add_months(moment: dt.datetime, months: int) -> dt.datetime:
    """ADD_MONTHS: the last day of a month goes to the last day."""
    is_last = moment.day == calendar.monthrange(moment.year, moment.month)[1]
    return _shift(moment, months, None if is_last else moment.day)


def _shift_months(moment: dt.datetime, months: int) -> dt.datetime:
    """date + INTERVAL 'n' MONTH: ORA-01839 where the month has no such day."""
    shifted = _shift(moment, months, moment.day)
    if shifted.day != moment.day:
        raise OraError(1839)
    return shifted


def _instr(text: str, part: str, start: int, nth: int) -> int:
    if nth < 1:
        raise OraError(1428)
    if start == 0:
        return 0
    at = start - 1 if start > 0 else len(text) + start - len(part) + 1
    while nth:
        at = text.find(part, at) if start > 0 else text.rfind(part, 0, at + len(part))
        if at < 0:
            return 0
        nth -= 1
        if nth:
            at += 1 if start > 0 else -1
    return at + 1


def _hex_to_raw(text: str) -> bytes:
    try:
        return bytes.fromhex("0" * (len(text) % 2) + text)
    except ValueError:
        raise OraError(1465) from None


def _sha(method: str, data: bytes) -> str:
    return hashlib.new(method, data).hexdigest()


def _at_most_4000(text: str) -> str:
    if len(text.encode()) > 4000:
        raise OraError(1489)
    return text


def _cut_bytes(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")


def _ascii(text: str) -> int:
    return int.from_bytes(text[:1].encode(), "big")


def _bytes_at_most(text: str, size: int, by_char: bool, column: str) -> str:
    """`text`, which fits the column; else ORA-12899."""
    actual = len(text) if by_char else len(text.encode())
    if actual > size:
        raise OraError(12899, column, actual, size)
    return text


def _raw_at_most(data: bytes, size: int, column: str) -> bytes:
    if len(data) > size:
        raise OraError(12899, column, len(data), size)
    return data


_T, _I, _B, _D, _H = "VARCHAR", "INTEGER", "BLOB", "TIMESTAMP", "HUGEINT"
_FUNCTIONS: dict[str, tuple[Callable[..., Any], list[str], str]] = {
    "ora_add": (oranumber.add, [_T, _T], _T),
    "ora_subtract": (oranumber.subtract, [_T, _T], _T),
    "ora_multiply": (oranumber.multiply, [_T, _T], _T),
    "ora_divide": (oranumber.divide, [_T, _T], _T),
    "ora_modulo": (oranumber.modulo, [_T, _T], _T),
    "ora_power": (oranumber.power, [_T, _T], _T),
    "ora_round": (oranumber.round_half_up, [_T, _I], _T),
    "ora_truncate": (oranumber.truncate, [_T, _I], _T),
    "ora_floor": (oranumber.floor, [_T], _T),
    "ora_ceil": (oranumber.ceil, [_T], _T),
    "ora_total": (oranumber.total, ["VARCHAR[]"], _T),
    "ora_min": (oranumber.least, ["VARCHAR[]"], _T),
    "ora_max": (oranumber.largest, ["VARCHAR[]"], _T),
    "ora_fit": (oranumber.fit, [_T, _I, _I], _T),
    "ora_number_key": (oranumber.encode, [_T], _B),
    "ora_number_text": (oranumber.as_oracle_text, [_T], _T),
    "ora_number_to_char": (oranumber.to_char, [_T, _T, _T, _T], _T),
    "ora_to_number": (_to_number, [_T], _T),
    "ora_to_date": (oradate.to_date, [_T, _T], _D),
    "ora_to_timestamp": (oradate.to_timestamp, [_T, _T], _D),
    "ora_seconds": (_seconds, [_T], "BIGINT"),
    "ora_add_months": (_add_months, [_D, _I], _D),
    "ora_shift_months": (_shift_months, [_D, _I], _D),
    "ora_instr": (_instr, [_T, _T, "BIGINT", "BIGINT"], "BIGINT"),
    "ora_initcap": (str.title, [_T], _T),
    "ora_ascii": (_ascii, [_T], "BIGINT"),
    "ora_hex_to_raw": (_hex_to_raw, [_T], _B),
    "ora_at_most_4000": (_at_most_4000, [_T], _T),
    "ora_cut_bytes": (_cut_bytes, [_T, _I], _T),
    "ora_text_fits": (_bytes_at_most, [_T, _I, "BOOLEAN", _T], _T),
    "ora_raw_fits": (_raw_at_most, [_B, _I, _T], _B),
    "ora_sha": (_sha, [_T, _B], _T),
    "ora_to_rowid": (segments.parse, [_T], _H),
    "ora_first_row": (segments.first_row, [_H, _H], "BIGINT"),
}
_BY_COLUMN: dict[str, tuple[Callable[..., Any], list[str], str]] = {
    "ora_rowid_text": (segments.texts, [_H], _T),
}


def register(con: duckdb.DuckDBPyConnection) -> None:
    """Make the functions known to `con` and to every cursor of it."""
    for name, (function, parameters, result) in _FUNCTIONS.items():
        con.create_function(name, function, list(parameters), result)
    for name, (function, parameters, result) in _BY_COLUMN.items():
        con.create_function(name, function, list(parameters), result, type=PythonUDFType.ARROW)
