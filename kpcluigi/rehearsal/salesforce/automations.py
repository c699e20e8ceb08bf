"""Automation of the org: what stands for its triggers, flows and validation rules.

An automation belongs to one object. It rejects rows with an error of its choice, makes every batch
slower, or both, when records are created or updated, by Bulk or by REST. Deletes pass it.

As orgs do it, an automation may look at one of two switches before it acts, or at both:

    setting          "Object__c.Field__c", a checkbox of a hierarchy custom setting: the record of
                     the user decides, else that of the user's profile, else that of the org
    permission_set   the name of a permission set: assigned to the user, it lets the rows pass
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass

import duckdb

from kpcluigi.rehearsal.salesforce.schema import ORGANIZATION_ID, USER_ID, SObject, literal, quoted

BYPASS_SETTING = "KPC_Automation__c.Bypass_All__c"
BYPASS_PERMISSION_SET = "KPC_Data_Load"


@dataclass(frozen=True)
class Automation:
    """One object's automation."""

    object: str
    error: str = ""
    """The sf__Error of rows it rejects; "" rejects none."""
    match: str = ""
    """Rejects only rows in whose external id (or Id) this regular expression is found."""
    seconds_per_batch: float = 0.0
    setting: str = BYPASS_SETTING
    permission_set: str = BYPASS_PERMISSION_SET


class Automations:
    """Every automation of the org. Every method may be called from any thread."""

    def __init__(self, objects: dict[str, SObject]) -> None:
        self._objects = objects
        self._by_object: dict[str, Automation] = {}
        self._lock = threading.Lock()
        self._rejected = 0

    def put(self, automation: Automation) -> None:
        """Give the object this automation instead of the one it has.

        Raises:
            ValueError: a part of it does not exist or cannot be.
        """
        if automation.object not in self._objects:
            raise ValueError(f"no object {automation.object!r}")
        if automation.error and not re.fullmatch(r"[A-Z_]+:.+:.*--", automation.error):
            raise ValueError(f"error={automation.error!r} is not CODE:message:FIELDS --")
        if not (automation.error or automation.seconds_per_batch > 0):
            raise ValueError("an automation without error and seconds_per_batch has no effect")
        try:
            re.compile(automation.match)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        if automation.setting:
            self._setting(automation.setting)
        with self._lock:
            self._by_object[automation.object] = automation

    def remove(self, name: str) -> None:
        with self._lock:
            self._by_object.pop(name, None)

    def has(self, name: str) -> bool:
        with self._lock:
            return name in self._by_object

    def acting(self, con: duckdb.DuckDBPyConnection, name: str) -> Automation | None:
        """The object's automation, unless it is bypassed."""
        with self._lock:
            found = self._by_object.get(name)
        return None if found is None or self._is_bypassed(con, found) else found

    def is_bypassed(self, con: duckdb.DuckDBPyConnection) -> bool:
        """Whether any automation is bypassed; without one, whether one that looks at
        `BYPASS_SETTING` and `BYPASS_PERMISSION_SET` would be."""
        with self._lock:
            present = list(self._by_object.values())
        if not present:
            name = BYPASS_SETTING if BYPASS_SETTING.split(".")[0] in self._objects else ""
            present = [Automation("", setting=name)]
        return any(self._is_bypassed(con, automation) for automation in present)

    def reject(self, con: duckdb.DuckDBPyConnection, automation: Automation) -> None:
        """Put the automation's error on those rows of `batch` that no rule forbids."""
        if not automation.error:
            return
        rows = con.execute("SELECT r, coalesce(match, '') FROM batch WHERE error IS NULL")
        pattern = re.compile(automation.match)
        hit = [row for row, external_id in rows.fetchall() if pattern.search(external_id)]
        if hit:
            con.execute(
                "UPDATE batch SET error = ? WHERE r IN (SELECT unnest(?))", [automation.error, hit]
            )
        with self._lock:
            self._rejected += len(hit)

    @property
    def rejected(self) -> int:
        """Rows that automation rejected since the start or the last reset."""
        with self._lock:
            return self._rejected

    def reset(self) -> None:
        """Count from zero; the automations stay."""
        with self._lock:
            self._rejected = 0

    def _is_bypassed(self, con: duckdb.DuckDBPyConnection, automation: Automation) -> bool:
        if automation.setting and self._is_switched_on(con, automation.setting):
            return True
        if not automation.permission_set:
            return False
        assigned = con.execute(
            'SELECT 1 FROM "PermissionSetAssignment" a JOIN "PermissionSet" p '
            "ON p.Id = a.PermissionSetId WHERE a.AssigneeId = ? AND lower(p.Name) = lower(?)",
            [USER_ID, automation.permission_set],
        ).fetchone()
        return assigned is not None

    def _is_switched_on(self, con: duckdb.DuckDBPyConnection, setting: str) -> bool:
        sobject, field = self._setting(setting)
        row = con.execute(
            f"SELECT {quoted(field)} FROM {sobject.table} s WHERE s.SetupOwnerId IN "
            f'({literal(USER_ID)}, (SELECT ProfileId FROM "User" WHERE Id = {literal(USER_ID)}), '
            f"{literal(ORGANIZATION_ID)}) "
            "ORDER BY CASE substr(s.SetupOwnerId, 1, 3) WHEN '005' THEN 1 WHEN '00e' THEN 2 ELSE 3 "
            "END LIMIT 1"
        ).fetchone()
        return bool(row and row[0])

    def _setting(self, setting: str) -> tuple[SObject, str]:
        name, _, field_name = setting.partition(".")
        sobject = self._objects.get(name)
        field = sobject.field(field_name) if sobject else None
        if sobject is None or not sobject.custom_setting or field is None:
            raise ValueError(f"setting={setting!r} is no field of a hierarchy custom setting")
        if field.type != "boolean":
            raise ValueError(f"setting={setting!r} is no checkbox")
        return sobject, field.name
