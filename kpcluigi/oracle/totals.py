"""What Oracle says of a whole table and window: the side of the source in a reconciliation."""

from __future__ import annotations

import time

import oracledb

from kpcluigi.markers import SourceTotals
from kpcluigi.oracle.source import Source, Window


def totals_sql(source: Source, scn: int | None) -> str:
    """The statement of `read_totals`."""
    return f"SELECT COUNT(*) {source.from_clause(scn)} WHERE {source.in_window}"


def read_totals(
    connection: oracledb.Connection, source: Source, window: Window, *, scn: int | None
) -> SourceTotals:
    """Count the window's rows at the SCN that the chunks were read at."""
    started = time.monotonic()
    sql = totals_sql(source, scn)
    with connection.cursor() as cursor:
        cursor.execute(sql, window.binds)
        (rows,) = cursor.fetchone()
    return SourceTotals(
        table=source.table.name,
        scn=scn,
        rows=rows,
        sql=sql,
        seconds=round(time.monotonic() - started, 3),
    )
