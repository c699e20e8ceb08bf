"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import duckdb
import hypothesis
import pytest

from kpcluigi.rehearsal.salesforce import SalesforceStandIn
from kpcluigi.rehearsal.salesforce.schema import Field, SObject, create_object
from kpcluigi.rehearsal.sample.org import AUTOMATION_SETTING, FILE_TRACKER
from kpcluigi.salesforce import Client, ClientCredentials
from kpcluigi.tables import Table, load_tables
from tests.commands import Commands

# Of hundreds of processes each would compile the package, where Python is told not to keep that
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
hypothesis.settings.register_profile("busy machines", deadline=None)
hypothesis.settings.load_profile("busy machines")

CLIENT_ID, CLIENT_SECRET = "test-client", "test-secret"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def tables() -> dict[str, Table]:
    """The project's own tables.toml."""
    return load_tables(Path("tables.toml"))


@pytest.fixture(scope="session")
def commands() -> Iterator[Commands]:
    """Where tests start `luigi` and `kpcluigi`."""
    with Commands() as commands:
        yield commands


@pytest.fixture(scope="session")
def org_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SalesforceStandIn]:
    """An org with Thing__c (External_ID__c, and Note__c of 20 characters), a file tracker and
    a setting that keeps automation off."""
    database = tmp_path_factory.mktemp("org") / "org.duckdb"
    thing = SObject(
        name="Thing__c",
        key_prefix="a0T",
        fields=(
            Field("External_ID__c", "string", length=20, external_id=True, unique=True),
            Field("Note__c", "string", length=20),
        ),
    )
    with duckdb.connect(str(database)) as connection:
        for sobject in (thing, FILE_TRACKER, AUTOMATION_SETTING):
            create_object(connection, sobject)
    with SalesforceStandIn(
        database, client_id=CLIENT_ID, client_secret=CLIENT_SECRET, latency=0.05
    ) as org:
        yield org


@pytest.fixture
def org(org_process: SalesforceStandIn) -> Iterator[SalesforceStandIn]:
    """The org with no fault armed and its counters at zero; its rows stay."""
    org_process.disarm()
    org_process.reset()
    yield org_process
    org_process.disarm()


@pytest.fixture
def client(org: SalesforceStandIn) -> Iterator[Client]:
    """A client that does not wait long between its tries."""
    with Client(
        org.url,
        credentials=ClientCredentials(CLIENT_ID, CLIENT_SECRET),
        retries=3,
        retry_delay=0.01,
        timeout=10,
    ) as client:
        yield client
