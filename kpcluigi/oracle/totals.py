"""What Oracle says of a whole table and window: the source's side of a reconciliation.

One statement reads the table once. It groups the rows by the day of the partition column, and a
small, repeatable sample of them by itself: a group of one row shows that row.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import Any

import oracledb
import pyarrow as pa

from kpcluigi.markers import ColumnTotals, RangeTotals, SourceTotals
from kpcluigi.oracle.source import Source, SourceColumn, number_as_text

LOB_HEAD = 1000
"""Characters of a LOB that the sample shows; more could exceed what VARCHAR2 holds."""

_ALL = "G"
"""Follows every hexadecimal digit."""


def read_totals(
    connection: oracledb.Connection,
    source: Source,
    *,
    scn: int | None,
    rows: int,
    sample_rows: int,
    notes: Sequence[str] = (),
) -> SourceTotals:
    """Count, sum, mean, extremes and lengths of every mapped column per day, and sampled rows.

    Args:
        scn: the snapshot that the chunks were read at.
        rows: rows of the window, about; the share of the sample follows from it.
        sample_rows: rows in the sample, at most.
    """
    started = time.monotonic()
    sql = totals_sql(source, scn)
    limit = sample_limit(rows, sample_rows)
    tally = _Tally(source)
    with connection.cursor() as cursor:
        cursor.outputtypehandler = _forgiving
        cursor.arraysize = 1000
        cursor.execute(sql, {**source.window_binds, "sample_limit": limit})
        for day, key, count, *measures in cursor:
            tally.add(day, key, int(count), measures)
    return tally.marker(
        scn=scn,
        limit=limit,
        sample_rows=sample_rows,
        sql=sql,
        seconds=round(time.monotonic() - started, 3),
        notes=notes,
    )


def totals_sql(source: Source, scn: int | None) -> str:
    """The statement of `read_totals`: (day, sampled external id or NULL, rows, measures …)."""
    mapped = _mapped(source)
    key = _as_text(source.columns[source.table.external_id_column])
    digest = f"SUBSTR(RAWTOHEX(STANDARD_HASH(NVL({key}, '-'), 'MD5')), 1, 8)"
    values = ", ".join(f"{column.value} AS c{i}" for i, column in enumerate(mapped))
    measured = ", ".join(
        sql for i, column in enumerate(mapped) for _, sql in _measures(column, f"c{i}")
    )
    return (
        f"SELECT TO_CHAR(on_day, 'YYYY-MM-DD'), sampled, COUNT(*), {measured} FROM ("
        f"SELECT {source.parallel_hint}TRUNC({_local_day(source)}) AS on_day, "
        f"CASE WHEN {digest} < :sample_limit THEN {key} END AS sampled, {values} "
        f"{source.from_clause(scn)} WHERE {source.in_window}) GROUP BY on_day, sampled"
    )


def sample_limit(rows: int, sample_rows: int) -> str:
    """What the MD5 of an external id must be below, so that about so many of the rows are taken.

    A few more are, so that there are seldom fewer; the surplus is dropped by the same order.
    """
    wanted = sample_rows + 4 * math.sqrt(sample_rows)
    return _ALL if wanted >= rows else f"{int(16**8 * wanted / rows):08X}"


def _mapped(source: Source) -> list[SourceColumn]:
    return [source.columns[name] for name in source.table.source_columns]


def _local_day(source: Source) -> str:
    """The partition column's own wall clock; with a zone, that of the session: the source's."""
    column = source.columns[source.table.partition_column]
    raw = f"t.{column.name}"
    return f"CAST({raw} AT LOCAL AS DATE)" if column.zoned else raw


def _as_text(column: SourceColumn) -> str:
    if column.kind == "number":
        return number_as_text(column.value)
    if column.kind == "datetime":
        return f"TO_CHAR({column.value}, '{column.date_format}')"
    return column.value


def _measures(column: SourceColumn, name: str) -> list[tuple[str, str]]:
    """What is asked of a column: the field of `ColumnTotals`, and SQL over the values `name`."""
    there = ("non_null", f"COUNT(CASE WHEN {name} IS NOT NULL THEN 1 END)")
    if column.kind == "number":
        asked = ("sum", "min", "max") if column.is_amount else ("min", "max")
        return [there, *((f, number_as_text(f"{f.upper()}({name})")) for f in asked)]
    if column.kind == "datetime":
        pattern = column.date_format
        return [there, *((f, f"TO_CHAR({f.upper()}({name}), '{pattern}')") for f in ("min", "max"))]
    if pa.types.is_large_binary(column.arrow):
        return [there, ("length", f"SUM(DBMS_LOB.GETLENGTH({name}))")]
    if pa.types.is_binary(column.arrow):
        length = ("length", f"SUM(UTL_RAW.LENGTH({name}))")
        return [there, length, *((f, f"{f.upper()}(RAWTOHEX({name}))") for f in ("min", "max"))]
    length = ("length", f"SUM(LENGTH({name}))")
    if pa.types.is_large_string(column.arrow):
        return [there, length, ("head", f"MIN(TO_CHAR(SUBSTR({name}, 1, {LOB_HEAD})))")]
    return [there, length, *((f, f"{f.upper()}({name})") for f in ("min", "max"))]


def _forgiving(cursor: oracledb.Cursor, info: Any) -> Any:
    """Bytes that are not valid UTF-8 are shown as U+FFFD."""
    if info.type_code is oracledb.DB_TYPE_VARCHAR:
        return cursor.var(str, arraysize=cursor.arraysize, encoding_errors="replace")
    return None


@dataclass
class _Column:
    """One column's totals, while they are added up."""

    kind: str
    non_null: int = 0
    sum: Decimal = field(default_factory=Decimal)
    length: int = 0
    min: str | None = None
    max: str | None = None

    def add(self, found: dict[str, Any]) -> None:
        self.non_null += int(found["non_null"])
        self.length += int(found.get("length") or 0)
        if found.get("sum") is not None:
            with localcontext(prec=80):
                self.sum += Decimal(found["sum"])
        for name, better in (("min", min), ("max", max)):
            both = [v for v in (getattr(self, name), found.get(name)) if v is not None]
            setattr(self, name, better(both, key=self._order) if both else None)

    def _order(self, value: str) -> Any:
        return Decimal(value) if self.kind == "number" else value.encode()

    def totals(self, measured: set[str]) -> ColumnTotals:
        summed = "sum" in measured
        with localcontext(prec=80):
            mean = self.sum / self.non_null if summed and self.non_null else None
        with localcontext(prec=38):
            return ColumnTotals(
                non_null=self.non_null,
                sum=f"{self.sum:f}" if summed else None,
                avg=None if mean is None else f"{+mean:f}",
                min=self.min,
                max=self.max,
                length=self.length if "length" in measured else None,
            )


class _Tally:
    """Adds up the groups of `totals_sql`."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._columns = _mapped(source)
        self._fields = [[name for name, _ in _measures(c, "x")] for c in self._columns]
        self._rows: dict[str, int] = {}
        self._days: dict[str, list[_Column]] = {}
        self._total = self._blank()
        self._sample: dict[str, dict[str, str | None]] = {}
        self._duplicates: set[str] = set()

    def add(self, day: str, key: str | None, rows: int, measures: Sequence[Any]) -> None:
        found = list(self._by_column(measures))
        self._rows[day] = self._rows.get(day, 0) + rows
        columns = self._days.setdefault(day, self._blank())
        for i, values in enumerate(found):
            columns[i].add(values)
            self._total[i].add(values)
        if key is None:
            return
        if rows > 1 or key in self._sample:
            self._duplicates.add(key)
        self._sample[key] = {
            column.name: values.get("head", values.get("min"))
            for column, values in zip(self._columns, found, strict=True)
            if not pa.types.is_large_binary(column.arrow)
        }

    def marker(
        self,
        *,
        scn: int | None,
        limit: str,
        sample_rows: int,
        sql: str,
        seconds: float,
        notes: Sequence[str],
    ) -> SourceTotals:
        chosen = sorted(self._sample.keys() - self._duplicates, key=_digest)[:sample_rows]
        return SourceTotals(
            table=self._source.table.name,
            scn=scn,
            rows=sum(self._rows.values()),
            ranges=[
                RangeTotals(day=day, rows=rows, columns=self._totals(self._days[day]))
                for day, rows in sorted(self._rows.items())
            ],
            total=self._totals(self._total),
            sample_limit=limit,
            sample={key: self._sample[key] for key in sorted(chosen)},
            duplicate_keys=sorted(self._duplicates),
            sql=sql,
            seconds=seconds,
            notes=list(notes),
        )

    def _blank(self) -> list[_Column]:
        return [_Column(column.kind) for column in self._columns]

    def _by_column(self, measures: Sequence[Any]) -> Iterator[dict[str, Any]]:
        left = iter(measures)
        for fields in self._fields:
            yield {name: next(left) for name in fields}

    def _totals(self, columns: list[_Column]) -> dict[str, ColumnTotals]:
        return {
            column.name: added.totals(set(fields))
            for column, added, fields in zip(self._columns, columns, self._fields, strict=True)
        }


def _digest(key: str) -> str:
    return hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()
