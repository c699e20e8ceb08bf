"""Sums and extremes of NUMBERs that no single DuckDB aggregate gives exactly.

The values that a DECIMAL holds with room to spare are nearly all, and are aggregated as such; the
others, which take long, are aggregated by themselves in a CASE that the first never enter.
"""

from __future__ import annotations

from kpcluigi.rehearsal.oracle import values
from kpcluigi.rehearsal.oracle.values import Typed

SAFE_DIGITS = 28
"""A DECIMAL of that many digits can be summed over ten thousand million rows in 38."""

_SCALE = 10
_HALF = 10**19


def _plain(text: str) -> tuple[str, str]:
    """SQL for canonical `text` as a DECIMAL, and for whether that is exact."""
    decimal = f"TRY_CAST({text} AS DECIMAL({SAFE_DIGITS},{_SCALE}))"
    point = f"instr({text}, '.')"
    return (
        decimal,
        f"(({point} = 0 OR strlen({text}) - {point} <= {_SCALE}) AND {decimal} IS NOT NULL)",
    )


def _unless_empty(counted: str, over: str, sql: str) -> str:
    return f"CASE WHEN count({counted}){over} > 0 THEN {sql} END"


def sum_of_texts(text: str, distinct: str, over: str) -> str:
    """The sum of NUMBERs carried by canonical text."""
    if distinct:
        return f"ora_total(list({distinct}{text}){over})"
    decimal, plain = _plain(text)
    summed = f"CAST(sum(CASE WHEN {plain} THEN {decimal} END){over} AS VARCHAR)"
    others = f"list({text}) FILTER ({text} IS NOT NULL AND NOT {plain}){over}"
    total = f"ora_total(list_append(coalesce({others}, CAST([] AS VARCHAR[])), {summed}))"
    return _unless_empty(text, over, total)


def sum_of_many_digits(value: Typed, distinct: str, over: str) -> str:
    """The sum of DECIMALs whose own digits leave no room for the sum's."""
    assert value.type.fixed is not None
    scale = value.type.fixed[1]
    if distinct or scale > SAFE_DIGITS:
        return f"ora_total(list({distinct}{values.canonical_sql(value)}){over})"
    limit = 10 ** (SAFE_DIGITS - scale)
    plain = f"{value.sql} BETWEEN -{limit} AND {limit}"
    whole = f"CAST(trunc({value.sql}) AS HUGEINT)"
    parts = [
        f"CAST(sum(CASE WHEN {plain} THEN {value.sql} END){over} AS VARCHAR)",
        f"CAST(sum(CASE WHEN NOT {plain} THEN {whole} // {_HALF} END){over} AS VARCHAR)"
        f" || '{str(_HALF)[1:]}'",
        f"CAST(sum(CASE WHEN NOT {plain} THEN {whole} % {_HALF} END){over} AS VARCHAR)",
    ]
    if scale:
        rest = f"CAST({value.sql} - trunc({value.sql}) AS DECIMAL({scale + 1},{scale}))"
        parts.append(f"CAST(sum(CASE WHEN NOT {plain} THEN {rest} END){over} AS VARCHAR)")
    return _unless_empty(value.sql, over, f"ora_total([{', '.join(parts)}])")


def extreme_of_texts(function: str, text: str, over: str) -> str:
    """The least ("min") or largest ("max") of NUMBERs carried by canonical text."""
    decimal, plain = _plain(text)
    found = f"CAST({function}(CASE WHEN {plain} THEN {decimal} END){over} AS VARCHAR)"
    key = f"CASE WHEN NOT {plain} THEN ora_number_key({text}) END"
    other = f"arg_{function}({text}, {key}){over}"
    return _unless_empty(text, over, f"ora_{function}([{found}, {other}])")
