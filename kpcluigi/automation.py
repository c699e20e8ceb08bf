"""Automation of the org off for the load, and on again: a custom setting, a permission set.

No header of Bulk API 2.0 keeps triggers, flows and validation from running; an org offers a way
around them to those for whom a checkbox of a hierarchy custom setting is set, or who are assigned a
permission set. What was there before is on disk before the first change is made
(`data/ORG/automation.json`), and is put back from there: by the run, by a later one, or by
`kpcluigi restore`. Every step may be repeated, and may be the last before the process dies.

| the process dies …                | the org has         | the file | a later restore        |
|-----------------------------------|---------------------|----------|------------------------|
| before the file is written        | what it had         | none     | finds nothing to do    |
| between the changes, or while off | some or all of them | there    | puts back what differs |
| while it is put back              | some of them        | there    | puts back the rest     |
| before the file is removed        | what it had         | there    | removes it             |
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from kpcluigi.errors import CorruptMarkerError, PreflightError, SalesforceError, StagingError
from kpcluigi.markers import AutomationBefore, ProbeRecord
from kpcluigi.preflight import Findings
from kpcluigi.salesforce import (
    Client,
    create_record,
    delete_record,
    describe,
    query,
    update_record,
    upsert_record,
)
from kpcluigi.staging import read_marker, write_marker

COMMAND = "kpcluigi restore"
LOCK_SECONDS = 60.0
"""How long a process waits for another that is switching automation off or on."""


@dataclass(frozen=True)
class Probe:
    """A record that the org's automation would refuse, to see that it is off.

    Attributes:
        field: its external id field.
        key: its external id, which no row of the migration has.
        values: its other fields.
    """

    object: str
    field: str
    key: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class AutomationRules:
    """What switches automation off for the user who loads; see `[automation]` in luigi.cfg.

    Attributes:
        custom_setting: a hierarchy custom setting; empty: none.
        fields: its checkboxes that are set.
        permission_set: one that is assigned; empty: none.
    """

    custom_setting: str = ""
    fields: tuple[str, ...] = ()
    permission_set: str = ""
    probe: Probe | None = None

    @property
    def active(self) -> bool:
        return bool(self.custom_setting or self.permission_set)

    def __str__(self) -> str:
        parts = []
        if self.custom_setting:
            parts.append(f"{self.custom_setting} ({', '.join(self.fields)})")
        if self.permission_set:
            parts.append(f"permission set {self.permission_set}")
        return " and ".join(parts)


def state_file(org: Path) -> Path:
    """What was there before automation was switched off, while it is off.

    Args:
        org: the folder of the org's runs.
    """
    return org / "automation.json"


class RunLock:
    """Held by every run into the org while it lasts; the last one to leave restores.

    A process that dies leaves it, however it dies.
    """

    def __init__(self, org: Path) -> None:
        """Enter; waits while another process is restoring.

        Raises:
            StagingError: it does not end.
        """
        org.mkdir(parents=True, exist_ok=True)
        self._file = (org / ".automation.lock").open("a")
        if not _locked_within(self._file, fcntl.LOCK_SH, LOCK_SECONDS):
            self._file.close()
            raise StagingError(
                f"Another process is putting automation back ({state_file(org)}) and does not "
                f"end; run the same command again"
            )

    def leave(self) -> bool:
        """Leave; True for the last, who keeps new runs from beginning until `close`.

        Of several that leave at once the last one is told so: who cannot have the lock for itself
        has lost its share of it.
        """
        return _locked(self._file, fcntl.LOCK_EX)

    def close(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)  # forked processes have the file open too
        self._file.close()


def switch_off(
    client: Client, rules: AutomationRules, org: Path, *, invocation: str = ""
) -> Findings:
    """Record what is there, switch automation off for this user, and see that it is off.

    May be called again and again, and by several runs at once: what the first one recorded stays.

    Args:
        org: the folder of the org's runs.
        invocation: the start of the command, for the record.

    Raises:
        PreflightError: it is still on, in the org's words; what was changed here is put back.
    """
    with _changing(org):
        before = read_marker(state_file(org), AutomationBefore)
        recorded_here = before is None
        if before is None:
            before = _look(client, rules, invocation)
            write_marker(state_file(org), before)
        else:
            _refuse_others(before, client, rules, org)
        try:
            _bring_to(client, before, dict.fromkeys(before.fields, True), assigned=True)
            if rules.probe is not None:
                before = _send_probe(client, rules.probe, before, org)
        except SalesforceError as error:
            reason = (
                f"Automation could not be switched off ({rules}): {error}. Nothing was loaded. "
                f"See the settings under [automation] in luigi.cfg, and what this user may do"
            )
            if recorded_here:
                reason += _put_back_after(client, before, org)
            raise PreflightError(reason) from error
        except PreflightError as error:
            if not recorded_here:
                raise
            raise PreflightError(f"{error}{_put_back_after(client, before, org)}") from None
    return _told(rules, before)


def restore(client: Client, org: Path) -> list[str]:
    """Put back exactly what was recorded, see that it is so, and forget the record.

    Returns:
        What was put back, in words; empty where nothing was recorded.

    Raises:
        SalesforceError: the org refused, or does not answer; the record stays.
        StagingError: the record is another org's.
    """
    with _changing(org):
        before = read_marker(state_file(org), AutomationBefore)
        return [] if before is None else _put_back(client, before, org)


def restore_alone(client: Client, org: Path) -> list[str]:
    """`restore`, but not under the feet of a run into the org.

    Raises:
        StagingError: such a run is under way.
    """
    with no_run_under_way(org):
        return restore(client, org)


@contextmanager
def no_run_under_way(org: Path) -> Iterator[None]:
    """No run into the org begins while the block lasts.

    Raises:
        StagingError: one is under way.
    """
    lock = RunLock(org)
    try:
        if not lock.leave():
            raise StagingError(
                "A run into this org is under way: it needs automation off, and puts it back when "
                "it ends, and the jobs that it creates. Run this command again after it"
            )
        yield
    finally:
        lock.close()


def warning_while_off(org: Path, reason: str = "") -> str:
    """The sentence that says that automation is off, and how to put it back; empty while it is on.

    Args:
        reason: why the last try to put it back did not do so.
    """
    path = state_file(org)
    try:
        before = read_marker(path, AutomationBefore)
    except CorruptMarkerError as error:
        return f"AUTOMATION MAY BE OFF: {error}"
    if before is None:
        return ""
    because = f" {reason.rstrip('.')}." if reason else ""
    return (
        f"AUTOMATION IS OFF for user {before.user_id} of org {before.org_id} since "
        f"{before.written_at:%Y-%m-%d %H:%M} UTC: {before.switches}.{because} A run that is under "
        f"way puts it back when it ends; otherwise: {COMMAND}"
    )


def check_automation(client: Client, rules: AutomationRules, findings: Findings) -> None:
    """Say what a run would switch off, and whether the org has it. Changes nothing."""
    if not rules.active:
        return
    if rules.custom_setting:
        _check_setting(client, rules, findings)
    if rules.permission_set and not _permission_set_id(client, rules.permission_set):
        findings.problems.append(
            f"[automation] permission_set = {rules.permission_set}: the org has none of that API "
            f"name, or this user may not see it"
        )
    if rules.probe is not None:
        probe = rules.probe
        fields = _fields_of(client, probe.object)
        unknown = [name for name in (probe.field, *probe.values) if name not in (fields or {})]
        if fields is None:
            findings.problems.append(
                f"[automation] probe_object = {probe.object}: not in the org, or hidden"
            )
        elif unknown:
            findings.problems.append(
                f"[automation] probe_record: {probe.object} has no {', '.join(unknown)}"
            )
        elif not fields[probe.field].get("externalId"):
            findings.problems.append(
                f"[automation] probe_external_id = {probe.field}: not an external id of "
                f"{probe.object}"
            )
    findings.checks.append(f"A run switches automation off by {rules}, and on again at its end")


def _check_setting(client: Client, rules: AutomationRules, findings: Findings) -> None:
    fields = _fields_of(client, rules.custom_setting)
    if fields is None or "SetupOwnerId" not in fields:
        what = "not in the org, or hidden" if fields is None else "no hierarchy custom setting"
        findings.problems.append(f"[automation] custom_setting = {rules.custom_setting}: {what}")
        return
    for name in rules.fields:
        field = fields.get(name)
        if field is None or field["type"] != "boolean":
            findings.problems.append(
                f"[automation] custom_setting_fields: {rules.custom_setting} has no checkbox {name}"
            )
        elif not (field.get("createable") and field.get("updateable")):
            findings.problems.append(
                f"[automation] custom_setting_fields: this user may not write "
                f"{rules.custom_setting}.{name}"
            )
    others = [
        name
        for name, field in fields.items()
        if field["type"] == "boolean" and field.get("createable") and name not in rules.fields
    ]
    if others and not findings.problems and _setting_of(client, rules.custom_setting, ()) is None:
        findings.warnings.append(
            f"{rules.custom_setting}: this user has no record of its own; the one that a run makes "
            f"has {', '.join(others)} unset, whatever profile and org say"
        )


def _look(client: Client, rules: AutomationRules, invocation: str) -> AutomationBefore:
    """What is there now."""
    record = None
    if rules.custom_setting:
        record = _setting_of(client, rules.custom_setting, rules.fields)
    permission_set_id = ""
    if rules.permission_set:
        permission_set_id = _permission_set_id(client, rules.permission_set)
        if not permission_set_id:
            raise PreflightError(
                f"Automation is on: the org has no permission set {rules.permission_set}, or this "
                f"user may not see it; see `permission_set` under [automation] in luigi.cfg"
            )
    assignment = permission_set_id and _assignments(client, client.user_id, permission_set_id)
    return AutomationBefore(
        org_id=client.org_id,
        user_id=client.user_id,
        invocation=invocation,
        custom_setting=rules.custom_setting,
        fields=list(rules.fields),
        values=None if record is None else {name: bool(record[name]) for name in rules.fields},
        permission_set=rules.permission_set,
        permission_set_id=permission_set_id,
        assigned=bool(assignment),
    )


def _refuse_others(
    before: AutomationBefore, client: Client, rules: AutomationRules, org: Path
) -> None:
    """What another user, org or setting left off must be put back before more is switched off."""
    now = (client.org_id, client.user_id, rules.custom_setting, list(rules.fields))
    then = (before.org_id, before.user_id, before.custom_setting, before.fields)
    if (*then, before.permission_set) != (*now, rules.permission_set):
        raise PreflightError(
            f"Automation was switched off on {before.written_at:%Y-%m-%d %H:%M} UTC for user "
            f"{before.user_id} of org {before.org_id} by {before.switches}, which is not what the "
            f"settings say now ({rules}, user {client.user_id}, org {client.org_id}); "
            f"{state_file(org)} says so. When no other run is under way: {COMMAND}, then run the "
            f"same command again"
        )


def _bring_to(
    client: Client, before: AutomationBefore, wanted: Mapping[str, bool] | None, *, assigned: bool
) -> list[str]:
    """Bring the org to this state, anew after passing errors, and read it back.

    Args:
        wanted: the checkboxes of this user's record; None: no record.

    Returns:
        What was changed, in words.
    """
    done: list[str] = []
    for attempt in range(1, client.retries + 2):
        try:
            done += _set(client, before, wanted, assigned=assigned)
        except SalesforceError as error:
            # A creation is never sent twice: look first whether it took effect
            if not error.passing or attempt > client.retries:
                raise
            client.pause(attempt, str(error))
        else:
            break
    _refuse_unproven(client, before, wanted, assigned=assigned)
    return done


def _set(
    client: Client, before: AutomationBefore, wanted: Mapping[str, bool] | None, *, assigned: bool
) -> list[str]:
    """Change what differs, and no more."""
    done: list[str] = []
    if before.custom_setting:
        name = before.custom_setting
        record = _setting_of(client, name, before.fields, owner=before.user_id)
        values = dict(wanted or {})
        if record is None and wanted is not None:
            create_record(client, name, {"SetupOwnerId": before.user_id, **values})
            done.append(f"{name}: a record with {_shown(values)}")
        elif record is not None and wanted is None:
            delete_record(client, name, record["Id"])
            done.append(f"{name}: the record is deleted, as there was none")
        elif record is not None and any(bool(record[k]) != v for k, v in values.items()):
            update_record(client, name, record["Id"], values)
            done.append(f"{name}: {_shown(values)}")
    if before.permission_set:
        found = _assignments(client, before.user_id, before.permission_set_id)
        if assigned and not found:
            values_of = {
                "AssigneeId": before.user_id,
                "PermissionSetId": before.permission_set_id,
            }
            create_record(client, "PermissionSetAssignment", values_of)
            done.append(f"permission set {before.permission_set}: assigned")
        elif found and not assigned:
            for assignment in found:
                delete_record(client, "PermissionSetAssignment", assignment)
            done.append(f"permission set {before.permission_set}: no longer assigned")
    return done


def _refuse_unproven(
    client: Client, before: AutomationBefore, wanted: Mapping[str, bool] | None, *, assigned: bool
) -> None:
    """Read back. Raises `SalesforceError` where the org does not have what was set."""
    differs: list[str] = []
    if before.custom_setting:
        record = _setting_of(client, before.custom_setting, before.fields, owner=before.user_id)
        found = None if record is None else {name: bool(record[name]) for name in before.fields}
        if found != (None if wanted is None else dict(wanted)):
            differs.append(f"{before.custom_setting} has {_shown(found)}, not {_shown(wanted)}")
    found_assigned = before.permission_set and bool(
        _assignments(client, before.user_id, before.permission_set_id)
    )
    if before.permission_set and found_assigned != assigned:
        state = "is not" if assigned else "is still"
        differs.append(f"permission set {before.permission_set} {state} assigned")
    if differs:
        raise SalesforceError(f"the org did not keep what was set: {'; '.join(differs)}")


def _send_probe(
    client: Client, probe: Probe, before: AutomationBefore, org: Path
) -> AutomationBefore:
    """Upsert the record that automation would refuse, and delete it again.

    Raises:
        PreflightError: it is refused, or is no record of ours.
    """
    record = ProbeRecord(object=probe.object, field=probe.field, key=probe.key)
    if before.probe != record:
        if before.probe is not None:
            _remove_probe(client, before.probe)
        if _probe_exists(client, record):
            raise PreflightError(
                f"[automation] probe_record: {probe.object} has a record whose {probe.field} is "
                f"{probe.key} already; it would be overwritten and deleted. Choose a value that no "
                f"record has"
            )
        before = before.model_copy(update={"probe": record})
        write_marker(state_file(org), before)  # what a killed run leaves is known to be ours
    try:
        upsert_record(client, probe.object, probe.field, probe.key, probe.values)
    except SalesforceError as error:
        if error.passing or error.status == 401:
            raise
        raise PreflightError(
            f"Automation is still on although {before.switches} says off: {probe.object} refuses "
            f"the probe record: {error}"
        ) from error
    _remove_probe(client, record)
    before = before.model_copy(update={"probe": None})
    write_marker(state_file(org), before)
    return before


def _probe_exists(client: Client, record: ProbeRecord) -> bool:
    where = f"{record.field} = {_literal(record.key)}"
    return any(True for _ in query(client, f"SELECT Id FROM {record.object} WHERE {where}"))


def _remove_probe(client: Client, record: ProbeRecord) -> None:
    path = f"/sobjects/{record.object}/{record.field}/{quote(record.key, safe='')}"
    client.call("DELETE", path, accept=(404,))


def _put_back(client: Client, before: AutomationBefore, org: Path) -> list[str]:
    if client.org_id != before.org_id:
        raise StagingError(
            f"{state_file(org)} is of org {before.org_id}, but the settings lead to org "
            f"{client.org_id}: correct the settings and run: {COMMAND}"
        )
    done = _bring_to(client, before, before.values, assigned=before.assigned)
    if before.probe is not None:
        _remove_probe(client, before.probe)
    state_file(org).unlink(missing_ok=True)
    return done or [f"{before.switches}: as before already"]


def _put_back_after(client: Client, before: AutomationBefore, org: Path) -> str:
    """After a failure to switch off; says how it ended."""
    try:
        before = read_marker(state_file(org), AutomationBefore) or before
        _put_back(client, before, org)
    except (SalesforceError, StagingError) as error:
        return f". What was changed could not be put back yet ({error}): {COMMAND}"
    return ". What was changed is put back"


def _told(rules: AutomationRules, before: AutomationBefore) -> Findings:
    findings = Findings()
    proof = "read back" if rules.probe is None else f"a probe record of {rules.probe.object} passed"
    findings.checks.append(f"Automation is off by {rules} ({proof}); it is put back at the end")
    if before.was_off:
        findings.warnings.append(
            f"Automation was off already before the run began ({before.switches}): it is left off "
            f"at its end. Where it should be on, put it on in the org"
        )
    return findings


def _setting_of(
    client: Client, name: str, fields: Iterable[str], *, owner: str = ""
) -> dict[str, Any] | None:
    """A user's own record of a hierarchy custom setting."""
    columns = ", ".join(("Id", *fields))
    soql = f"SELECT {columns} FROM {name} WHERE SetupOwnerId = '{owner or client.user_id}'"
    return next(query(client, soql), None)


def _permission_set_id(client: Client, name: str) -> str:
    found = query(client, f"SELECT Id FROM PermissionSet WHERE Name = {_literal(name)}")
    return next((str(record["Id"]) for record in found), "")


def _assignments(client: Client, user_id: str, permission_set_id: str) -> list[str]:
    where = f"AssigneeId = '{user_id}' AND PermissionSetId = '{permission_set_id}'"
    found = query(client, f"SELECT Id FROM PermissionSetAssignment WHERE {where}")
    return [str(record["Id"]) for record in found]


def _fields_of(client: Client, sobject: str) -> dict[str, dict[str, Any]] | None:
    try:
        return describe(client, sobject)
    except SalesforceError as error:
        if error.status != 404:
            raise
        return None


def _literal(text: str) -> str:
    """A text in SOQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _shown(values: Mapping[str, bool] | None) -> str:
    if values is None:
        return "no record"
    return ", ".join(f"{name} = {str(value).lower()}" for name, value in values.items())


@contextmanager
def _changing(org: Path) -> Iterator[None]:
    """One process at a time changes the org and the record.

    Raises:
        StagingError: another one does not end.
    """
    org.mkdir(parents=True, exist_ok=True)
    with (org / ".automation.change.lock").open("a") as lock:
        if not _locked_within(lock, fcntl.LOCK_EX, LOCK_SECONDS):
            raise StagingError(
                f"Another process is switching automation in {org} and does not end; run the same "
                f"command again"
            )
        yield


def _locked_within(file: IO[str], kind: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not _locked(file, kind):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _locked(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
