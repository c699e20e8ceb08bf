"""Automation off and on: what was there is put back exactly, wherever it was interrupted."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kpcluigi.automation import (
    AutomationRules,
    Probe,
    RunLock,
    check_automation,
    restore,
    restore_alone,
    state_file,
    switch_off,
    warning_while_off,
)
from kpcluigi.errors import CorruptMarkerError, PreflightError, SalesforceError, StagingError
from kpcluigi.markers import AutomationBefore
from kpcluigi.preflight import Findings
from kpcluigi.rehearsal.salesforce import SalesforceStandIn
from kpcluigi.salesforce import (
    Client,
    count,
    create_record,
    delete_record,
    limits,
    query,
    upsert_record,
)
from kpcluigi.staging import read_marker, write_marker
from kpcluigi.tasks.automation import Alarm

SETTING, FIELD, PERMISSION_SET = "KPC_Automation__c", "Bypass_All__c", "KPC_Data_Load"
ERROR = "FIELD_CUSTOM_VALIDATION_EXCEPTION:No sales of tomorrow:Note__c --"
PROBE = Probe("Thing__c", "External_ID__c", "PROBE", {"Note__c": "tomorrow"})
SETTING_ALONE = AutomationRules(custom_setting=SETTING, fields=(FIELD,))
ASSIGNMENT_ALONE = AutomationRules(permission_set=PERMISSION_SET)
BOTH = replace(SETTING_ALONE, permission_set=PERMISSION_SET)
EACH = pytest.mark.parametrize(
    "rules", [SETTING_ALONE, ASSIGNMENT_ALONE, BOTH], ids=["setting", "assignment", "both"]
)
State = tuple[bool | None, bool]
"""The user's own checkbox, None without a record; and whether the permission set is assigned."""


@pytest.fixture(autouse=True)
def clean(org: SalesforceStandIn, client: Client) -> Iterator[None]:
    """Before and after each test the org has what a new one has."""
    yield
    org.disarm()
    org.automate(object="Thing__c", remove=True)
    bring_to(client, (None, False))


def state(client: Client) -> State:
    where = f"SetupOwnerId = '{client.user_id}'"
    record = next(query(client, f"SELECT {FIELD} FROM {SETTING} WHERE {where}"), None)
    where = f"AssigneeId = '{client.user_id}'"
    assigned = list(query(client, f"SELECT Id FROM PermissionSetAssignment WHERE {where}"))
    return (None if record is None else record[FIELD], bool(assigned))


def bring_to(client: Client, wanted: State) -> None:
    """Delete what there is, and make what is wanted, past the code under test."""
    for sobject in (SETTING, "PermissionSetAssignment"):
        for record in list(query(client, f"SELECT Id FROM {sobject}")):
            delete_record(client, sobject, record["Id"])
    value, assigned = wanted
    if value is not None:
        create_record(client, SETTING, {"SetupOwnerId": client.user_id, FIELD: value})
    if assigned:
        (found,) = query(client, f"SELECT Id FROM PermissionSet WHERE Name = '{PERMISSION_SET}'")
        values = {"AssigneeId": client.user_id, "PermissionSetId": found["Id"]}
        create_record(client, "PermissionSetAssignment", values)


def automate(org: SalesforceStandIn, rules: AutomationRules) -> None:
    """The org rejects every row of Thing__c unless what the rules name is set."""
    setting = f"{SETTING}.{FIELD}" if rules.custom_setting else ""
    org.automate(
        object="Thing__c", error=ERROR, setting=setting, permission_set=rules.permission_set
    )


def changes(org: SalesforceStandIn) -> int:
    return sum(1 for e in org.log() if e["method"] in ("POST", "PATCH", "DELETE", "PUT")) - sum(
        1 for e in org.log() if "oauth2" in e["path"]
    )


@pytest.mark.parametrize(
    ("rules", "before"),
    [
        (SETTING_ALONE, (False, True)),
        (ASSIGNMENT_ALONE, (True, False)),
        *((BOTH, (value, True)) for value in (None, False, True)),
        (BOTH, (None, False)),
    ],
)
def test_what_was_there_is_put_back(
    client: Client, tmp_path: Path, rules: AutomationRules, before: State
) -> None:
    bring_to(client, before)
    found = switch_off(client, rules, tmp_path, invocation="start")
    off = state(client)
    assert off[0] is True or not rules.custom_setting
    assert off[1] or not rules.permission_set
    assert "Automation is off" in found.checks[0]
    marker = read_marker(state_file(tmp_path), AutomationBefore)
    assert marker is not None
    assert (marker.org_id, marker.user_id) == (client.org_id, client.user_id)
    assert bool(found.warnings) == marker.was_off
    assert state(client) == off

    assert restore(client, tmp_path)
    assert state(client) == before
    assert not state_file(tmp_path).exists()
    assert restore(client, tmp_path) == []


@EACH
def test_the_org_lets_the_rows_pass_in_between(
    org: SalesforceStandIn, client: Client, tmp_path: Path, rules: AutomationRules
) -> None:
    automate(org, rules)

    def send() -> None:
        upsert_record(client, "Thing__c", "External_ID__c", "row", {"Note__c": "tomorrow"})

    with pytest.raises(SalesforceError, match="No sales of tomorrow"):
        send()
    switch_off(client, rules, tmp_path)
    send()
    restore(client, tmp_path)
    with pytest.raises(SalesforceError, match="No sales of tomorrow"):
        send()


def test_switching_off_again_changes_nothing_and_keeps_what_was_recorded(
    org: SalesforceStandIn, client: Client, tmp_path: Path
) -> None:
    switch_off(client, BOTH, tmp_path, invocation="first")
    recorded = state_file(tmp_path).read_bytes()
    before = changes(org)
    found = switch_off(client, BOTH, tmp_path, invocation="second")
    assert changes(org) == before
    assert state_file(tmp_path).read_bytes() == recorded
    assert found.warnings == [], "it was this tool that switched it off"
    restore(client, tmp_path)
    assert state(client) == (None, False)


def test_the_state_before_is_on_disk_before_anything_is_changed(
    org: SalesforceStandIn, client: Client, tmp_path: Path
) -> None:
    org.arm(on="record", times=-1, status=500)
    with pytest.raises(PreflightError, match="could not be switched off"):
        switch_off(client, BOTH, tmp_path)
    org.disarm()
    assert state(client) == (None, False)
    assert not state_file(tmp_path).exists(), "nothing was changed, and that was seen"


CHANGING = {
    5: f"PATCH {SETTING}",
    7: "POST PermissionSetAssignment",
    11: "PATCH Thing__c",
    12: "DELETE Thing__c",
    14: f"PATCH {SETTING}",
    16: "DELETE PermissionSetAssignment",
}
"""Which requests of switching off, and on again, change the org; the others look at it."""


@pytest.mark.parametrize("has_effect", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("nth", [*CHANGING, 17])
def test_a_process_may_die_at_any_request(
    org: SalesforceStandIn, client: Client, tmp_path: Path, nth: int, has_effect: bool
) -> None:
    """From the nth request on nothing is answered: what is left is what a killed process leaves."""
    before: State = (False, False)
    bring_to(client, before)
    rules = replace(BOTH, probe=PROBE)
    client.retries = 0
    since = len(org.log())
    org.arm(on="any", nth=nth, times=-1, reset=True, processed=has_effect)
    try:
        switch_off(client, rules, tmp_path)
        restore(client, tmp_path)
    except (SalesforceError, PreflightError):
        org.disarm()
        if state(client) != before:
            assert state_file(tmp_path).exists()
    else:
        org.disarm()
    hit = org.log(since)[nth - 1]
    if nth in CHANGING:
        assert f"{hit['method']} {hit['path'].split('/')[5]}" == CHANGING[nth]
    restore(client, tmp_path)
    assert state(client) == before
    assert count(client, "Thing__c", where="External_ID__c = 'PROBE'") == 0


@pytest.mark.parametrize("fault", [{"status": 503}, {"reset": True, "processed": True}])
def test_passing_errors_are_got_past(
    org: SalesforceStandIn, client: Client, tmp_path: Path, fault: dict[str, Any]
) -> None:
    """A creation whose answer is lost is looked for, and not made twice."""
    org.arm(on="record", nth=1, **fault)
    org.arm(on="record", nth=3, **fault)
    switch_off(client, BOTH, tmp_path)
    assert state(client) == (True, True)
    org.arm(on="record", nth=1, **fault)
    restore(client, tmp_path)
    assert state(client) == (None, False)


def test_a_probe_shows_that_it_is_off_and_leaves_nothing(
    org: SalesforceStandIn, client: Client, tmp_path: Path
) -> None:
    automate(org, SETTING_ALONE)
    found = switch_off(client, replace(SETTING_ALONE, probe=PROBE), tmp_path)
    assert "a probe record of Thing__c passed" in found.checks[0]
    assert count(client, "Thing__c", where="External_ID__c = 'PROBE'") == 0


def test_a_probe_that_is_refused_restores_and_says_the_orgs_words(
    org: SalesforceStandIn, client: Client, tmp_path: Path
) -> None:
    automate(org, ASSIGNMENT_ALONE)  # the rule looks at something else than what the settings name
    with pytest.raises(PreflightError, match=r"still on .*No sales of tomorrow.*is put back"):
        switch_off(client, replace(SETTING_ALONE, probe=PROBE), tmp_path)
    assert state(client) == (None, False)
    assert not state_file(tmp_path).exists()


def test_a_refused_probe_does_not_switch_on_under_another_run(
    org: SalesforceStandIn, client: Client, tmp_path: Path
) -> None:
    switch_off(client, SETTING_ALONE, tmp_path)
    automate(org, ASSIGNMENT_ALONE)
    with pytest.raises(PreflightError, match="still on"):
        switch_off(client, replace(SETTING_ALONE, probe=PROBE), tmp_path)
    assert state(client) == (True, False)
    restore(client, tmp_path)


def test_a_record_that_somebody_has_is_no_probe(client: Client, tmp_path: Path) -> None:
    upsert_record(client, "Thing__c", "External_ID__c", "somebody's", {"Note__c": "kept"})
    with pytest.raises(PreflightError, match="has a record whose External_ID__c is somebody's"):
        switch_off(client, replace(BOTH, probe=replace(PROBE, key="somebody's")), tmp_path)
    where = r"External_ID__c = 'somebody\'s'"
    (record,) = query(client, f"SELECT Note__c FROM Thing__c WHERE {where}")
    assert record["Note__c"] == "kept"
    assert state(client) == (None, False)


def test_other_settings_wait_until_it_is_put_back(client: Client, tmp_path: Path) -> None:
    switch_off(client, SETTING_ALONE, tmp_path)
    with pytest.raises(PreflightError, match="not what the settings say now"):
        switch_off(client, ASSIGNMENT_ALONE, tmp_path)
    restore(client, tmp_path)
    switch_off(client, ASSIGNMENT_ALONE, tmp_path)
    assert state(client) == (None, True)
    restore(client, tmp_path)


def test_another_org_is_not_restored_by_this_ones_record(client: Client, tmp_path: Path) -> None:
    switch_off(client, BOTH, tmp_path)
    before = read_marker(state_file(tmp_path), AutomationBefore)
    assert before is not None
    other = before.model_copy(update={"org_id": "00D000000000099EAA"})
    write_marker(state_file(tmp_path), other)
    with pytest.raises(StagingError, match="is of org 00D000000000099EAA"):
        restore(client, tmp_path)
    assert state(client) == (True, True)


def test_a_record_that_cannot_be_read_is_named_and_kept(client: Client, tmp_path: Path) -> None:
    state_file(tmp_path).write_text("{", "utf-8")
    for work in (lambda: restore(client, tmp_path), lambda: switch_off(client, BOTH, tmp_path)):
        with pytest.raises(CorruptMarkerError, match=r"put that right by hand"):
            work()
    assert state_file(tmp_path).exists()
    assert "MAY BE OFF" in warning_while_off(tmp_path)
    assert state(client) == (None, False)


def test_the_warning_names_user_switches_and_command(client: Client, tmp_path: Path) -> None:
    assert warning_while_off(tmp_path) == ""
    switch_off(client, BOTH, tmp_path)
    said = warning_while_off(tmp_path, "It could not be put back: no answer.")
    for part in ("AUTOMATION IS OFF", client.user_id, SETTING, PERMISSION_SET, "kpcluigi restore"):
        assert part in said
    assert "no answer. A run" in said
    restore(client, tmp_path)


def hold(org: Path, entered: Any, leave: Any, last: Any) -> None:
    lock = RunLock(org)
    entered.set()
    leave.wait(30)
    last.put(lock.leave())


def test_of_two_runs_the_last_one_restores(client: Client, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    entered, leave, last = context.Event(), context.Event(), context.Queue()
    other = context.Process(target=hold, args=(tmp_path, entered, leave, last))
    other.start()
    try:
        assert entered.wait(30)
        mine = RunLock(tmp_path)
        with pytest.raises(StagingError, match="A run into this org is under way"):
            restore_alone(client, tmp_path)
        assert not mine.leave()
        mine.close()
        leave.set()
        assert last.get(timeout=30)
    finally:
        leave.set()
        other.join(30)


def test_a_run_that_is_killed_leaves_too(client: Client, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    entered, leave, last = context.Event(), context.Event(), context.Queue()
    other = context.Process(target=hold, args=(tmp_path, entered, leave, last))
    other.start()
    assert entered.wait(30)
    switch_off(client, BOTH, tmp_path)
    other.kill()
    other.join(30)
    assert restore_alone(client, tmp_path)
    assert state(client) == (None, False)


def test_a_run_waits_for_one_that_is_restoring(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    entered, leave, last = context.Event(), context.Event(), context.Queue()
    restoring = RunLock(tmp_path)
    assert restoring.leave()
    other = context.Process(target=hold, args=(tmp_path, entered, leave, last))
    other.start()
    try:
        assert not entered.wait(0.3)
        restoring.close()
        assert entered.wait(30)
    finally:
        leave.set()
        other.join(30)


def test_a_check_says_what_would_be_switched_off_and_changes_nothing(
    org: SalesforceStandIn, client: Client
) -> None:
    findings = Findings()
    check_automation(client, replace(BOTH, probe=PROBE), findings)
    assert findings.problems == []
    assert findings.checks == [
        f"A run switches automation off by {SETTING} ({FIELD}) and permission set "
        f"{PERMISSION_SET}, and on again at its end"
    ]
    assert changes(org) == 0
    unset = Findings()
    check_automation(client, AutomationRules(), unset)
    assert unset == Findings()


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        (replace(BOTH, custom_setting="No_Such__c"), "No_Such__c: not in the org"),
        (replace(BOTH, custom_setting="Thing__c"), "Thing__c: no hierarchy custom setting"),
        (replace(BOTH, fields=("SetupOwnerId",)), "has no checkbox SetupOwnerId"),
        (replace(BOTH, permission_set="Nobody"), "permission_set = Nobody"),
        (replace(BOTH, probe=replace(PROBE, object="No_Such__c")), "No_Such__c: not in the org"),
        (replace(BOTH, probe=replace(PROBE, values={"X__c": 1})), "Thing__c has no X__c"),
        (replace(BOTH, probe=replace(PROBE, field="Note__c")), "Note__c: not an external id"),
    ],
)
def test_a_check_names_what_the_org_lacks(
    client: Client, rules: AutomationRules, problem: str
) -> None:
    findings = Findings()
    check_automation(client, rules, findings)
    (found,) = findings.problems
    assert problem in found
    with pytest.raises(PreflightError, match="nothing was started"):
        findings.raise_problems()


def test_an_exit_is_held_up_no_longer_than_its_time(org: SalesforceStandIn, client: Client) -> None:
    org.arm(on="limits", times=-1, delay=30)
    began = time.monotonic()
    with pytest.raises((SalesforceError, TimeoutError)):
        with Alarm(0.3):
            limits(client)
    assert time.monotonic() - began < 8
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_missing_permission_set_changes_nothing(client: Client, tmp_path: Path) -> None:
    with pytest.raises(PreflightError, match="has no permission set Nobody"):
        switch_off(client, replace(BOTH, permission_set="Nobody"), tmp_path)
    assert state(client) == (None, False)
    assert not state_file(tmp_path).exists()
