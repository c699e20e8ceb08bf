"""Settings that libraries are given as plain values: what they become, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import luigi
import pytest

from kpcluigi import settings
from kpcluigi.automation import AutomationRules, Probe
from kpcluigi.errors import ConfigurationError

Write = Callable[[str, dict[str, str]], None]


@pytest.fixture
def write() -> Iterator[Write]:
    """Put values into a section of luigi.cfg; they are gone after the test."""
    config = luigi.configuration.get_config()
    before: dict[str, dict[str, str]] = {}

    def put(section: str, values: dict[str, str]) -> None:
        before[section] = dict(config.items(section)) if config.has_section(section) else {}
        for name, value in values.items():
            config.set(section, name, value)

    yield put
    for section, values in before.items():
        config.remove_section(section)
        for name, value in values.items():
            config.set(section, name, value)


def test_nothing_is_switched_off_unless_named() -> None:
    assert not settings.automation_rules().active


def test_automation(write: Write) -> None:
    write(
        "automation",
        {
            "custom_setting": "KPC_Automation__c",
            "custom_setting_fields": "Bypass_All__c, Bypass_Flows__c",
            "permission_set": "KPC_Data_Load",
            "probe_object": "KPS_Sales__c",
            "probe_external_id": "External_ID__c",
            "probe_record": '{"External_ID__c": "PROBE", "Quantity__c": -1}',
        },
    )
    assert settings.automation_rules() == AutomationRules(
        custom_setting="KPC_Automation__c",
        fields=("Bypass_All__c", "Bypass_Flows__c"),
        permission_set="KPC_Data_Load",
        probe=Probe("KPS_Sales__c", "External_ID__c", "PROBE", {"Quantity__c": -1}),
    )


PROBE = {"probe_object": "T__c", "probe_external_id": "E__c"}


@pytest.mark.parametrize(
    ("section", "values", "fault"),
    [
        ("automation", {"custom_setting": "S__c"}, "go together"),
        ("automation", {"custom_setting_fields": "F__c"}, "go together"),
        ("automation", {"permission_set": "A' OR Name != '"}, "is no API name"),
        ("automation", PROBE, "probe_record go together"),
        ("automation", {**PROBE, "probe_record": "{"}, "probe_record is no JSON"),
        ("automation", {**PROBE, "probe_record": '{"N__c": 1}'}, "with E__c in it"),
        ("oracle", {"thick_client_dir": "/nowhere"}, "/nowhere is no folder"),
        ("sales_target", {"source_owner": "APPS; DROP"}, "'APPS; DROP' is no name of a table"),
        ("sales_target", {"batch_rows": "0"}, "batch_rows = 0: 1 or more"),
        ("tracker", {"external_id": ""}, "external_id names the field"),
        ("tracker", {"rows_field": "Rows c"}, "rows_field: 'Rows c' is no API name"),
    ],
)
def test_what_cannot_be_is_refused(
    write: Write, section: str, values: dict[str, str], fault: str
) -> None:
    write(section, values)
    with pytest.raises(ConfigurationError, match="values that cannot be used") as refused:
        settings.validate()
    assert fault in str(refused.value)


def test_the_file_tracker_can_be_switched_off_and_fields_left_out(write: Write) -> None:
    write("tracker", {"object": "", "message_field": ""})
    rules = settings.tracker_rules()
    assert rules.object == ""
    assert rules.fields["message"] == ""
    assert rules.statuses["with_errors"] == "CompletedWithErrors"
