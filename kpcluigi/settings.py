"""Settings: the sections of luigi.cfg as luigi.Config classes, and secrets from the environment.

What may stand in a file stands in luigi.cfg; passwords and client secrets are read from the
environment when a connection is opened, so that they reach no log, marker or Luigi parameter.
The addresses may come from either place; the environment wins.

    KPC_ORACLE_DSN  KPC_ORACLE_USER  KPC_ORACLE_PASSWORD
    KPC_SALESFORCE_URL  KPC_SALESFORCE_CLIENT_ID  KPC_SALESFORCE_CLIENT_SECRET
    KPC_POSTGRES_URL
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

import luigi
import sqlalchemy as sa

from kpcluigi.automation import AutomationRules, Probe
from kpcluigi.cleanup import CleanUp
from kpcluigi.errors import ConfigurationError
from kpcluigi.oracle.client import client_problems
from kpcluigi.oracle.hours import Hours, parse_hours
from kpcluigi.salesforce.tracker import TrackerRules, TrackerState


class migration(luigi.Config):
    """`[migration]`: what is migrated."""

    tables = luigi.Parameter(
        default="tables.toml", description="The file that maps every table; relative to here."
    )
    sample_rows = luigi.IntParameter(
        default=1000, description="Rows per table that are compared field by field with the org."
    )
    sample_seed = luigi.Parameter(default="", description="Another one draws another sample.")


class incremental(luigi.Config):
    """`[incremental]`: what a run of `--mode incremental` carries."""

    overlap_minutes = luigi.FloatParameter(
        default=60.0, description="Reaches back before the end of the last run, for late commits."
    )
    lag_minutes = luigi.FloatParameter(
        default=15.0, description="Ends before the present, for changes that are under way."
    )


class staging(luigi.Config):
    """`[staging]`: where the run's files lie."""

    root = luigi.Parameter(default="data", description="Folder of all runs; personal data.")
    min_free_gb = luigi.FloatParameter(
        default=5.0, description="Free space that extraction leaves; below it, it stops."
    )
    after_load = luigi.ChoiceParameter(
        choices=["keep", "archive", "delete"],
        default="keep",
        description="What becomes of a chunk's file once it is loaded.",
    )
    archive = luigi.Parameter(default="", description="Folder that loaded files are moved to.")


class oracle(luigi.Config):
    """`[oracle]`: the source."""

    dsn = luigi.Parameter(default="", description="host:port/service, or a TCPS descriptor.")
    user = luigi.Parameter(default="", description="A user who may only read.")
    schema = luigi.Parameter(default="", description="Owner of the tables; empty: the user.")
    extraction_hours = luigi.Parameter(
        default="", description="When tables may be read, 22:00-06:00 Asia/Bangkok; empty: always."
    )
    login_timeout = luigi.FloatParameter(default=60.0, description="Seconds to log in.")
    call_timeout = luigi.FloatParameter(default=1800.0, description="Seconds per round trip.")
    retries = luigi.IntParameter(default=3, description="Further tries after a passing error.")
    retry_delay = luigi.FloatParameter(
        default=60.0, description="Seconds before the first of them; it doubles each time."
    )
    thick_client_dir = luigi.Parameter(
        default="", description="Folder of an Oracle client, for thick mode; empty: thin mode."
    )


class salesforce(luigi.Config):
    """`[salesforce]`: the target org."""

    url = luigi.Parameter(default="", description="My Domain, https://….my.salesforce.com")
    api_version = luigi.Parameter(default="66.0", description="REST and Bulk API version.")
    timeout = luigi.FloatParameter(default=120.0, description="Seconds to wait for an answer.")
    poll_interval = luigi.FloatParameter(
        default=5.0, description="Seconds until a job is asked for again; grows by half."
    )
    poll_interval_max = luigi.FloatParameter(default=60.0, description="Where it stops growing.")
    job_timeout = luigi.FloatParameter(
        default=7200.0, description="Seconds after which a job is left to a later run."
    )
    max_file_size = luigi.IntParameter(
        default=100_000_000, description="Raw bytes of one job's CSV, header included."
    )
    upload_gzip = luigi.ChoiceParameter(
        choices=["auto", "never"],
        default="auto",
        description="auto: compressed, once one small job has shown that the org takes it.",
    )
    quota_reserve = luigi.FloatParameter(
        default=0.03, description="Share of the daily allocation left to the org's other users."
    )
    quota_recheck = luigi.FloatParameter(
        default=600.0, description="Seconds after which a load that waits for it looks again."
    )
    retries = luigi.IntParameter(default=3, description="Further tries after a passing error.")
    retry_delay = luigi.FloatParameter(
        default=60.0, description="Seconds before the first of them; it doubles each time."
    )


class automation(luigi.Config):
    """`[automation]`: what switches triggers, flows and validation off while a run lasts."""

    custom_setting = luigi.Parameter(
        default="", description="A hierarchy custom setting, by its API name; empty: none."
    )
    custom_setting_fields = luigi.Parameter(
        default="", description="Its checkboxes to set for the user who loads, comma-separated."
    )
    permission_set = luigi.Parameter(
        default="", description="A permission set to assign to that user; empty: none."
    )
    probe_object = luigi.Parameter(
        default="", description="Object of a record that shows whether it is off; empty: none."
    )
    probe_external_id = luigi.Parameter(default="", description="Its external id field.")
    probe_record = luigi.Parameter(
        default="", description="The record, as JSON: one that the automation would refuse."
    )


class tracker(luigi.Config):
    """`[tracker]`: the record per file that tells the business about it."""

    object = luigi.Parameter(
        default="TMS_Daily_Sales_File__c", description="Object of the records; empty: none is told."
    )
    external_id = luigi.Parameter(
        default="TMS_External_File_Ref__c", description="Field of the file's reference."
    )
    status_field = luigi.Parameter(
        default="TMS_Status__c", description="Field of the status; empty: not sent."
    )
    object_field = luigi.Parameter(
        default="TMS_Object__c", description="Field of the object that the rows go to."
    )
    rows_field = luigi.Parameter(default="TMS_Rows__c", description="Field of the file's rows.")
    failed_field = luigi.Parameter(
        default="TMS_Rows_Failed__c", description="Field of the rows that did not arrive."
    )
    jobs_field = luigi.Parameter(
        default="TMS_Job_Ids__c", description="Field of the ids of its Bulk jobs."
    )
    message_field = luigi.Parameter(
        default="TMS_Message__c", description="Field of the reason where it is not well."
    )
    status_started = luigi.Parameter(default="Pending", description="The file's load begins.")
    status_uploading = luigi.Parameter(default="Uploading", description="It is being sent.")
    status_in_progress = luigi.Parameter(
        default="InProgress", description="Salesforce is at work on it."
    )
    status_completed = luigi.Parameter(default="Completed", description="Every row arrived.")
    status_with_errors = luigi.Parameter(
        default="CompletedWithErrors", description="Some rows did not arrive."
    )
    status_failed = luigi.Parameter(default="Failed", description="The load of the file failed.")


class sales_target(luigi.Config):
    """`[sales_target]`: the daily copy of the sales targets into PostgreSQL."""

    source_owner = luigi.Parameter(default="APPS", description="Owner of the table in Oracle.")
    source_table = luigi.Parameter(
        default="KHS_CUSTOMERS_TRX_TARGETS", description="Its name; a synonym or view will do."
    )
    target_schema = luigi.Parameter(default="mb", description="Schema in PostgreSQL.")
    target_table = luigi.Parameter(
        default="sales_target", description="Table there; made where it is missing."
    )
    batch_rows = luigi.IntParameter(default=10_000, description="Rows read and sent at a time.")
    lock_timeout = luigi.FloatParameter(
        default=600.0, description="Seconds to wait for another run, and for locks on the table."
    )
    retries = luigi.IntParameter(default=1, description="Further tries after a passing error.")
    retry_delay = luigi.FloatParameter(
        default=300.0, description="Seconds before the first of them; it doubles each time."
    )


def validate() -> None:
    """Raises `ConfigurationError` naming every value of luigi.cfg that cannot be used."""
    faults: list[str] = []
    for section in _SECTIONS:
        try:
            values = section()
        except ValueError as error:
            faults.append(f"[{section.__name__}]: {error} {error.__cause__ or ''}".rstrip())
            continue
        for name, least in _LEAST.get(section.__name__, {}).items():
            if getattr(values, name) < least:
                faults.append(
                    f"[{section.__name__}] {name} = {getattr(values, name)}: {least} or more"
                )
        for name, most in _MOST.get(section.__name__, {}).items():
            if getattr(values, name) > most:
                faults.append(
                    f"[{section.__name__}] {name} = {getattr(values, name)}: {most} or less"
                )
        if isinstance(values, oracle):
            faults += _client_faults(values.thick_client_dir)
        if isinstance(values, sales_target):
            faults += _name_faults(values)
    try:
        parse_hours(oracle().extraction_hours)
    except ValueError as error:
        faults.append(f"[oracle] extraction_hours = {error}")
    if staging().after_load == "archive" and not staging().archive:
        faults.append("[staging] archive is empty, but after_load = archive needs a folder")
    for rules in (automation_rules, tracker_rules):
        try:
            rules()
        except ConfigurationError as error:
            faults.append(str(error))
    if faults:
        listed = "".join(f"\n  - {fault}" for fault in faults)
        raise ConfigurationError(f"luigi.cfg has values that cannot be used:{listed}")


_SECTIONS = (
    migration,
    incremental,
    staging,
    oracle,
    salesforce,
    automation,
    tracker,
    sales_target,
)

_LEAST: dict[str, dict[str, float]] = {
    "migration": {"sample_rows": 0},
    "incremental": {"overlap_minutes": 0, "lag_minutes": 0},
    "staging": {"min_free_gb": 0},
    "oracle": {"login_timeout": 1, "call_timeout": 1, "retries": 0, "retry_delay": 0},
    "salesforce": {
        "timeout": 1,
        "poll_interval": 0.05,
        "poll_interval_max": 0.05,
        "job_timeout": 1,
        "max_file_size": 1_000_000,
        "quota_reserve": 0,
        "quota_recheck": 1,
        "retries": 0,
        "retry_delay": 0,
    },
    "sales_target": {"batch_rows": 1, "lock_timeout": 1, "retries": 0, "retry_delay": 0},
}
_MOST: dict[str, dict[str, float]] = {"salesforce": {"quota_reserve": 0.9}}


@dataclass(frozen=True)
class OracleLogin:
    """Where and as whom to log in to Oracle."""

    dsn: str
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class SalesforceLogin:
    """Where and as which client to log in to Salesforce."""

    url: str
    client_id: str
    client_secret: str = field(repr=False)


def oracle_login() -> OracleLogin:
    """Raises `ConfigurationError` naming every value that is missing."""
    section = oracle()
    values = {
        "KPC_ORACLE_DSN": os.environ.get("KPC_ORACLE_DSN") or section.dsn,
        "KPC_ORACLE_USER": os.environ.get("KPC_ORACLE_USER") or section.user,
        "KPC_ORACLE_PASSWORD": os.environ.get("KPC_ORACLE_PASSWORD", ""),
    }
    _refuse_gaps("Oracle", values)
    return OracleLogin(*values.values())


def salesforce_login() -> SalesforceLogin:
    """Raises `ConfigurationError` naming every value that is missing."""
    section = salesforce()
    values = {
        "KPC_SALESFORCE_URL": os.environ.get("KPC_SALESFORCE_URL") or section.url,
        "KPC_SALESFORCE_CLIENT_ID": os.environ.get("KPC_SALESFORCE_CLIENT_ID", ""),
        "KPC_SALESFORCE_CLIENT_SECRET": os.environ.get("KPC_SALESFORCE_CLIENT_SECRET", ""),
    }
    _refuse_gaps("Salesforce", values)
    return SalesforceLogin(_org_url(), *list(values.values())[1:])


def postgres_url() -> sa.URL:
    """Where the sales targets go, from KPC_POSTGRES_URL; it prints with its password hidden.

    Raises:
        ConfigurationError: it is missing, or is no URL of PostgreSQL; the text does not show it.
    """
    given = os.environ.get("KPC_POSTGRES_URL", "")
    _refuse_gaps("PostgreSQL", {"KPC_POSTGRES_URL": given}, chapter=SALES_TARGET_CHAPTER)
    expected = "postgresql+psycopg://USER:PASSWORD@HOST:5432/DATABASE?sslmode=verify-full"
    try:
        url = sa.make_url(given)
    except (sa.exc.ArgumentError, ValueError):
        raise ConfigurationError(f"KPC_POSTGRES_URL is no URL; expected {expected}") from None
    if url.drivername not in ("postgresql+psycopg", "postgresql") or not url.database:
        raise ConfigurationError(
            f"KPC_POSTGRES_URL is no URL of a PostgreSQL database; expected {expected}"
        )
    return url.set(drivername="postgresql+psycopg")


SALES_TARGET_CHAPTER = "Every night: the sales targets"
"""Of the README."""


def _client_faults(folder: str) -> list[str]:
    """What stands in the way of thick mode, where it is asked for."""
    problems = client_problems(Path(folder), os.environ) if folder else []
    return [f"[oracle] thick_client_dir = {folder}: {problem}" for problem in problems]


def _name_faults(section: sales_target) -> list[str]:
    """Settings that stand in SQL as they are, and cannot."""
    names = ("source_owner", "source_table", "target_schema", "target_table")
    return [
        f"[sales_target] {name}: {getattr(section, name)!r} is no name of a table or its owner"
        for name in names
        if not re.fullmatch(r"[^\W\d][\w$#]*", getattr(section, name), re.ASCII)
    ]


def _org_url() -> str:
    """The org's address: https, or http to this very machine. Raises `ConfigurationError`."""
    url = (os.environ.get("KPC_SALESFORCE_URL") or salesforce().url).rstrip("/")
    parts = urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    if url and not (parts.hostname and (parts.scheme == "https" or local)):
        raise ConfigurationError(
            f"KPC_SALESFORCE_URL is {url!r}; expected https://NAME.my.salesforce.com"
        )
    return url


def _refuse_gaps(
    end: str, values: dict[str, str], chapter: str = "Connect your Oracle and your org"
) -> None:
    if gaps := [name for name, value in values.items() if not value]:
        raise ConfigurationError(
            f"{end} is not configured: set {', '.join(gaps)} in the environment "
            f'(README, "{chapter}"), '
            f"or see all of it work first with: kpcluigi rehearse"
        )


def org_name() -> str:
    """The org's My Domain name, such as `kpc--uat`: it names the folder of its runs."""
    host = urlsplit(_org_url()).hostname
    if host is None:
        raise ConfigurationError(
            "Salesforce is not configured: set KPC_SALESFORCE_URL in the environment, or `url` "
            "under [salesforce] in luigi.cfg; it names the folder of the run"
        )
    try:
        return str(ip_address(host)).replace(":", "_")
    except ValueError:
        return host.split(".")[0]


def extraction_hours() -> Hours | None:
    """When tables may be read; None: at any time."""
    return parse_hours(oracle().extraction_hours)


def automation_rules() -> AutomationRules:
    """What switches automation off. Raises `ConfigurationError`."""
    section = automation()
    names = section.custom_setting_fields.split(",")
    fields = tuple(_name("automation", "custom_setting_fields", name) for name in names if name)
    if bool(section.custom_setting) != bool(fields):
        raise ConfigurationError(
            "[automation] custom_setting and custom_setting_fields go together: a custom setting "
            "and its checkboxes"
        )
    return AutomationRules(
        custom_setting=_name("automation", "custom_setting", section.custom_setting),
        fields=fields,
        permission_set=_name("automation", "permission_set", section.permission_set),
        probe=_probe(section),
    )


def _probe(section: automation) -> Probe | None:
    given = (section.probe_object, section.probe_external_id, section.probe_record)
    if not any(given):
        return None
    if not all(given):
        raise ConfigurationError(
            "[automation] probe_object, probe_external_id and probe_record go together"
        )
    sobject = _name("automation", "probe_object", section.probe_object)
    field_name = _name("automation", "probe_external_id", section.probe_external_id)
    try:
        record = json.loads(section.probe_record)
    except ValueError as error:
        raise ConfigurationError(f"[automation] probe_record is no JSON: {error}") from None
    if not isinstance(record, dict) or not record.get(field_name):
        raise ConfigurationError(
            f"[automation] probe_record is to be a JSON object with {field_name} in it: a value "
            f"that no row has"
        )
    key = str(record.pop(field_name))
    return Probe(sobject, field_name, key, record)


def tracker_rules() -> TrackerRules:
    """Which record is told about each file. Raises `ConfigurationError`."""
    section = tracker()
    sobject = _name("tracker", "object", section.object)
    external_id = _name("tracker", "external_id", section.external_id)
    if sobject and not external_id:
        raise ConfigurationError("[tracker] external_id names the field of the file's reference")
    fields = {
        what: _name("tracker", f"{what}_field", getattr(section, f"{what}_field"))
        for what in ("status", "object", "rows", "failed", "jobs", "message")
    }
    statuses = {state: getattr(section, f"status_{state}") for state in get_args(TrackerState)}
    return TrackerRules(sobject, external_id, fields, statuses)


def _name(section: str, setting: str, text: str) -> str:
    """An API name, or nothing. Raises `ConfigurationError` where it cannot be one."""
    name = text.strip()
    if not re.fullmatch(r"\w*", name, re.ASCII):
        raise ConfigurationError(f"[{section}] {setting}: {name!r} is no API name")
    return name


def tables_path() -> Path:
    """Where tables.toml lies."""
    return Path(migration().tables)


def clean_up() -> CleanUp:
    """What becomes of a chunk's file once it is loaded."""
    rules = staging()
    archive = Path(rules.archive) if rules.after_load == "archive" else None
    return CleanUp(delete=rules.after_load == "delete", archive=archive)


def staging_root() -> Path:
    """The folder of all runs."""
    return Path(staging().root)
