"""The moment that a table is read as of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import oracledb

from kpcluigi.oracle.source import Source

_SCN_SOURCES = (
    ("dbms_flashback.get_system_change_number", "dual"),
    ("current_scn", "v$database"),
)
_NOW = "SYS_EXTRACT_UTC(SYSTIMESTAMP)"
NOT_GRANTED = frozenset({904, 942, 990, 1031, 1720, 6550})
"""ORA- numbers of a name that is not there, or not for this user."""


@dataclass(frozen=True)
class Snapshot:
    """An SCN and its time.

    Attributes:
        scn: None where this user may not read the table as of an SCN.
        at: the database's own clock, in UTC.
    """

    scn: int | None
    at: datetime


def take_snapshot(connection: oracledb.Connection, source: Source) -> Snapshot:
    """The present SCN, if this user may ask for it and read this table as of it."""
    for expression, view in _SCN_SOURCES:
        with connection.cursor() as cursor:
            try:
                cursor.execute(f"SELECT {expression}, {_NOW} FROM {view}")
                scn, at = cursor.fetchone()
                cursor.execute(f"SELECT 1 {source.from_clause(int(scn))} WHERE ROWNUM = 1")
            except oracledb.DatabaseError as error:
                if getattr(error.args[0], "code", 0) not in NOT_GRANTED:
                    raise
            else:
                return Snapshot(int(scn), at.replace(tzinfo=UTC))
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_NOW} FROM dual")
        (at,) = cursor.fetchone()
    return Snapshot(None, at.replace(tzinfo=UTC))
