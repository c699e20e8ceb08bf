"""The org of the loader's tests, and the items of one test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from kpcluigi.rehearsal.salesforce import SalesforceStandIn
from kpcluigi.salesforce import Client, ClientCredentials
from kpcluigi.staging import RunFolder
from tests.conftest import CLIENT_ID, CLIENT_SECRET
from tests.loading.staged import Items, make_org


@pytest.fixture(scope="session")
def item_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("items") / "org.duckdb"
    make_org(path)
    return path


@pytest.fixture(scope="session")
def item_org(item_database: Path) -> Iterator[SalesforceStandIn]:
    with SalesforceStandIn(item_database, client_id=CLIENT_ID, client_secret=CLIENT_SECRET) as org:
        yield org


@pytest.fixture
def items(
    item_org: SalesforceStandIn,
    item_database: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Items]:
    """No fault is armed, the counters are at zero, and no row of this test is in the org."""
    item_org.disarm()
    item_org.reset()
    prefix = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    with Client(
        item_org.url,
        credentials=ClientCredentials(CLIENT_ID, CLIENT_SECRET),
        retries=3,
        retry_delay=0.01,
        timeout=10,
    ) as client:
        yield Items(item_org, client, item_database, RunFolder(tmp_path / "org" / "run"), prefix)
    item_org.disarm()
