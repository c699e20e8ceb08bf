"""What Oracle says of a whole table and window: the source's side of a reconciliation.

One statement reads the table once. It groups the rows by the day of the partition column, and a
small, repeatable sample of them by itself: a group of one row shows that row.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any

import oracledb
import pyarrow as pa

from kpcluigi.fields.base import NULL
from kpcluigi.fields.dates import EPOCH, FIRST, LAST
from kpcluigi.markers import ColumnTotals, RangeTotals, SourceTotals
from kpcluigi.oracle.source import Source, SourceColumn, number_as_text

LOB_HEAD = 1000
"""Characters of a LOB that the sample shows; more could exceed what VARCHAR2 holds."""

PER_STRATUM = 8
"""Rows that are drawn for each stratum, about, so that hardly any is without one."""

EXTREMES = ("min", "max")
_ALL = "G"
"""Follows every hexadecimal digit."""

Row = Mapping[str, str | None]
"""A sampled row: every column as text."""


def read_totals(
    connection: oracledb.Connection,
    source: Source,
    *,
    scn: int | None,
    rows: int,
    sample_rows: int,
    seed: str = "",
    strata: int = 1,
    stratum_of: Callable[[Row], int] | None = None,
    notes: Sequence[str] = (),
) -> SourceTotals:
    """Count, sum, mean, extremes and lengths of every mapped column per day, and sampled rows.

    Sums are those of the values as their field takes them: rounded to its places.

    Args:
        scn: the snapshot that the chunks were read at.
        rows: rows of the window, about; the share of the sample follows from it.
        sample_rows: rows in the sample, at most.
        seed: another one draws another sample.
        strata: how many there are: each with a row in the sample, if it can be.
        stratum_of: which one a row belongs to; None: its day.
    """
    started = time.monotonic()
    sql = totals_sql(source, scn)
    limit = sample_limit(rows, sample_rows, strata)
    tally = _Tally(source, seed, stratum_of)
    with connection.cursor() as cursor:
        cursor.outputtypehandler = _forgiving
        cursor.arraysize = 1000
        binds = {"sample_seed": seed or None, "sample_limit": limit}
        cursor.execute(sql, {**source.window_binds, **binds})
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
    external_id = source.columns[source.table.external_id_column]
    key = _as_text(external_id, external_id.value)
    digest = f"SUBSTR(RAWTOHEX(STANDARD_HASH(:sample_seed || NVL({key}, '-'), 'MD5')), 1, 8)"
    values = ", ".join(f"{column.value} AS c{i}" for i, column in enumerate(mapped))
    measured = ", ".join(
        sql for i, column in enumerate(mapped) for _, sql in _measures(source, column, f"c{i}")
    )
    return (
        f"SELECT TO_CHAR(on_day, 'YYYY-MM-DD'), sampled, COUNT(*), {measured} FROM ("
        f"SELECT {source.parallel_hint}TRUNC({_local_day(source)}) AS on_day, "
        f"CASE WHEN {digest} < :sample_limit THEN {key} END AS sampled, {values} "
        f"{source.from_clause(scn)} WHERE {source.in_window}) GROUP BY on_day, sampled"
    )


def sample_limit(rows: int, sample_rows: int, strata: int = 1) -> str:
    """What the MD5 of an external id must be below, so that about so many of the rows are taken.

    A few more are, so that there are seldom fewer, and some of each stratum; the surplus is dropped
    by the same order.
    """
    wanted = sample_rows + 4 * math.sqrt(sample_rows)
    if sample_rows:
        wanted = max(wanted, PER_STRATUM * strata)
    return _ALL if wanted >= rows else f"{int(16**8 * wanted / rows):08X}"


def _mapped(source: Source) -> list[SourceColumn]:
    return [source.columns[name] for name in source.table.source_columns]


def _local_day(source: Source) -> str:
    """The partition column's own wall clock; with a zone, that of the session: the source's.

    Where it is mapped as a date, it is the value's own clock that says which.
    """
    column = source.columns[source.table.partition_column]
    mapped = source.table.columns.get(column.name)
    raw = f"t.{column.name}"
    if not column.zoned:
        return raw
    if mapped is not None and mapped.type == "date":
        return f"CAST({column.value} AS DATE)"
    return f"CAST({raw} AT LOCAL AS DATE)"


def _limits(source: Source, column: SourceColumn) -> tuple[datetime, datetime]:
    """The first and the last value that an org holds, by the column's own clock."""
    mapped = source.table.columns[column.name]
    if mapped.type == "date":
        return FIRST, LAST + timedelta(days=1) - timedelta(seconds=1)
    if column.in_utc:
        return FIRST, LAST
    zone = source.table.zone_of(mapped)
    since_1970 = LAST.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None)
    before = EPOCH.replace(tzinfo=zone).utcoffset() or timedelta()
    return FIRST + before, since_1970


def _literal(moment: datetime) -> str:
    return f"TO_DATE('{moment:%Y-%m-%d %H:%M:%S}', 'YYYY-MM-DD HH24:MI:SS')"


def _as_text(column: SourceColumn, value: str) -> str:
    if column.kind == "number":
        return number_as_text(value)
    if column.kind == "datetime":
        return f"TO_CHAR({value}, '{column.date_format}')"
    return value


def _measures(source: Source, column: SourceColumn, name: str) -> list[tuple[str, str]]:
    """What is asked of a column, over the values `name`: fields of `ColumnTotals` and their SQL.

    `head` and `raw` are not among them: they show a single row as it is.
    """
    asked = [("non_null", f"COUNT(CASE WHEN {name} IS NOT NULL THEN 1 END)")]
    if column.name in source.table.lookups:
        parent = f"RTRIM({_as_text(column, name)})"
        asked.append(("parents", f"COUNT(CASE WHEN {parent} <> '{NULL}' THEN 1 END)"))
    if column.kind == "number":
        if column.is_amount:
            added = name if column.places is None else f"ROUND({name}, {column.places})"
            asked.append(("sum", number_as_text(f"SUM({added})")))
        return asked + [(f, number_as_text(f"{f.upper()}({name})")) for f in EXTREMES]
    if column.kind == "datetime":
        pattern, raw = f"'{column.date_format}'", name
        mapped = source.table.columns.get(column.name)
        if mapped is not None and mapped.out_of_range == "blank":
            first, last = (_literal(day) for day in _limits(source, column))
            name = f"CASE WHEN {raw} >= {first} AND {raw} <= {last} THEN {raw} END"
            asked[0] = ("non_null", f"COUNT({name})")
            asked.append(("raw", f"TO_CHAR(MIN({raw}), {pattern})"))
        return asked + [(f, f"TO_CHAR({f.upper()}({name}), {pattern})") for f in EXTREMES]
    if pa.types.is_large_binary(column.arrow):
        return [*asked, ("length", f"SUM(DBMS_LOB.GETLENGTH({name}))")]
    if pa.types.is_binary(column.arrow):
        asked.append(("length", f"SUM(UTL_RAW.LENGTH({name}))"))
        return asked + [(f, f"{f.upper()}(RAWTOHEX({name}))") for f in EXTREMES]
    asked.append(("length", f"SUM(LENGTH({name}))"))
    if pa.types.is_large_string(column.arrow):
        return [*asked, ("head", f"MIN(TO_CHAR(SUBSTR({name}, 1, {LOB_HEAD})))")]
    return asked + [(f, f"{f.upper()}({name})") for f in EXTREMES]


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
    parents: int = 0
    length: int = 0
    min: str | None = None
    max: str | None = None

    def add(self, found: dict[str, Any]) -> None:
        self.non_null += int(found["non_null"])
        self.parents += int(found.get("parents") or 0)
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
                parents=self.parents if "parents" in measured else None,
                length=self.length if "length" in measured else None,
            )


class _Tally:
    """Adds up the groups of `totals_sql`."""

    def __init__(
        self, source: Source, seed: str = "", stratum_of: Callable[[Row], int] | None = None
    ) -> None:
        self._source = source
        self._seed = seed
        self._stratum_of = stratum_of
        self._strata: dict[int | str, list[str]] = {}
        self._columns = _mapped(source)
        self._fields = [[name for name, _ in _measures(source, c, "x")] for c in self._columns]
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
        elif rows == 1:
            row = {
                column.name: values.get("head", values.get("raw", values.get("min")))
                for column, values in zip(self._columns, found, strict=True)
                if not pa.types.is_large_binary(column.arrow)
            }
            self._sample[key] = row
            stratum = day if self._stratum_of is None else self._stratum_of(row)
            self._strata.setdefault(stratum, []).append(key)

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
        chosen = self._chosen(sample_rows)
        return SourceTotals(
            table=self._source.table.name,
            scn=scn,
            rows=sum(self._rows.values()),
            ranges=[
                RangeTotals(day=day, rows=rows, columns=self._totals(self._days[day]))
                for day, rows in sorted(self._rows.items())
            ],
            total=self._totals(self._total),
            columns=list(self._source.described),
            sample_seed=self._seed,
            sample_limit=limit,
            sample={key: self._sample[key] for key in sorted(chosen)},
            duplicate_keys=sorted(self._duplicates),
            sql=sql,
            seconds=seconds,
            notes=list(notes),
        )

    def _chosen(self, sample_rows: int) -> list[str]:
        """Keys of all strata in turn, each stratum's in the order of their digests."""
        queues = [
            deque(sorted(set(keys) - self._duplicates, key=self._digest))
            for _, keys in sorted(self._strata.items())
        ]
        chosen: list[str] = []
        while len(chosen) < sample_rows and any(queues):
            turn = sorted((queue.popleft() for queue in queues if queue), key=self._digest)
            chosen += turn[: sample_rows - len(chosen)]
        return chosen

    def _digest(self, key: str) -> str:
        return hashlib.md5(f"{self._seed}{key}".encode(), usedforsecurity=False).hexdigest()

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
