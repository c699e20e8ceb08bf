"""What the user may do, and how a test takes it away or gives it while the server runs.

A privilege is one of these texts, whose names are upper-cased:

    CREATE SESSION            else ORA-01045 at the login
    SELECT owner.table        else ORA-00942, and the table is in no ALL_ view
    FLASHBACK owner.table     else ORA-01031 for AS OF SCN
    FLASHBACK ANY TABLE       FLASHBACK of every table that may be selected from
    INSERT owner.table        else ORA-01031; so for UPDATE and DELETE
    EXECUTE DBMS_FLASHBACK    else ORA-00904 for its functions
    SELECT V$DATABASE         else ORA-00942
    SELECT DBA_EXTENTS        else ORA-00942; so for DBA_SEGMENTS and DBA_OBJECTS
    SELECT_CATALOG_ROLE       SELECT of all four of these views

The user has them all unless told otherwise, but for FLASHBACK ANY TABLE, the DBA_ views, the role,
and what would change a table. What he owns he may always read and change, as in Oracle.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from kpcluigi.rehearsal.oracle.catalog import Table

CATALOGUE_VIEWS = ("V$DATABASE", "DBA_EXTENTS", "DBA_SEGMENTS", "DBA_OBJECTS")
_USUAL = ("CREATE SESSION", "EXECUTE DBMS_FLASHBACK", "SELECT V$DATABASE")
_CHANGES = ("INSERT", "UPDATE", "DELETE")
_UNUSUAL = ("FLASHBACK ANY TABLE", "SELECT_CATALOG_ROLE")
SYSTEM = ("CREATE SESSION", "FLASHBACK ANY TABLE")
"""Those of them that SESSION_PRIVS lists."""


@dataclass(frozen=True)
class Privileges:
    """What `user` holds at a moment."""

    user: str
    held: frozenset[str]

    def may_select(self, table: Table) -> bool:
        return table.owner == self.user or f"SELECT {table.owner}.{table.name}" in self.held

    def may_flash_back(self, table: Table) -> bool:
        return (
            table.owner == self.user
            or "FLASHBACK ANY TABLE" in self.held
            or f"FLASHBACK {table.owner}.{table.name}" in self.held
        )

    def may_change(self, verb: str, table: Table) -> bool:
        """Whether rows may be put in, changed or deleted: INSERT, UPDATE or DELETE."""
        return table.owner == self.user or f"{verb} {table.owner}.{table.name}" in self.held

    def may_read_view(self, name: str) -> bool:
        """Whether a view of the data dictionary may be read."""
        if name not in CATALOGUE_VIEWS:
            return True
        return "SELECT_CATALOG_ROLE" in self.held or f"SELECT {name}" in self.held

    def may_execute(self, package: str) -> bool:
        return f"EXECUTE {package}" in self.held


class Grants:
    """The user's privileges as they come and go. Safe for many threads."""

    def __init__(
        self,
        user: str,
        tables: Iterable[Table],
        granted: Iterable[str] = (),
        revoked: Iterable[str] = (),
    ) -> None:
        """Start with the usual privileges, and `granted`, but without `revoked`.

        Raises:
            ValueError: one of them is unknown, or is the owner's for ever.
        """
        self._lock = threading.Lock()
        others, own = (
            {
                f"{verb} {t.owner}.{t.name}"
                for t in tables
                if (t.owner == user) == mine
                for verb in ("SELECT", "FLASHBACK")
            }
            for mine in (False, True)
        )
        self._owned = own
        usual = others | set(_USUAL)
        changes = {f"{verb} {t.owner}.{t.name}" for t in tables for verb in _CHANGES}
        self._known = (
            usual | changes | set(_UNUSUAL) | {f"SELECT {view}" for view in CATALOGUE_VIEWS}
        )
        self.now = Privileges(user, frozenset(usual))
        for privilege in granted:
            self.grant(privilege)
        for privilege in revoked:
            self.revoke(privilege)
        self._first = self.now

    def grant(self, privilege: str) -> None:
        """Give the user `privilege`; harmless when it is held.

        Raises:
            ValueError: it is unknown.
        """
        with self._lock:
            name = self._named(privilege)
            self.now = Privileges(self.now.user, self.now.held | {name})

    def revoke(self, privilege: str) -> None:
        """Take `privilege` from the user; harmless when it is not held.

        Raises:
            ValueError: it is unknown, or of a table of the user's own.
        """
        with self._lock:
            name = self._named(privilege)
            if name in self._owned:
                raise ValueError(f"{name}: {self.now.user} owns the table and may always read it")
            self.now = Privileges(self.now.user, self.now.held - {name})

    def reset(self) -> None:
        """Back to what was held at the start."""
        with self._lock:
            self.now = self._first

    def _named(self, privilege: str) -> str:
        name = " ".join(privilege.upper().split())
        if name not in self._known and name not in self._owned:
            raise ValueError(f"unknown privilege {privilege!r}; known are {sorted(self._known)}")
        return name
