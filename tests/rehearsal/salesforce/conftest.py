"""Orgs to test against: one for the whole folder, and more for tests with settings of their own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from kpcluigi.rehearsal.salesforce import SalesforceStandIn
from tests.rehearsal.salesforce.standin_org import (
    CLIENT_ID,
    CLIENT_SECRET,
    OrgClient,
    build_database,
)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared database, to be copied."""
    path = tmp_path_factory.mktemp("salesforce") / "org.duckdb"
    build_database(path)
    return path


@pytest.fixture(scope="session")
def shared_org(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrgClient]:
    copy = tmp_path_factory.mktemp("shared") / "org.duckdb"
    shutil.copy(database, copy)
    with SalesforceStandIn(copy, client_id=CLIENT_ID, client_secret=CLIENT_SECRET) as standin:
        with closing(OrgClient(standin)) as client:
            yield client


@pytest.fixture
def org(shared_org: OrgClient) -> Iterator[OrgClient]:
    """The folder's org; records of other tests may be in it, faults are not."""
    shared_org.standin.reset()
    yield shared_org
    shared_org.standin.disarm()
    shared_org.session.headers["Authorization"] = f"Bearer {shared_org.token()}"


@pytest.fixture
def start_org(database: Path, tmp_path: Path) -> Iterator[Callable[..., OrgClient]]:
    """Start an org of its own with other settings; it has no records but the seeded ones."""
    with ExitStack() as stack:

        def start(**settings: Any) -> OrgClient:
            copy = tmp_path / "org.duckdb"
            shutil.copy(database, copy)
            standin = stack.enter_context(
                SalesforceStandIn(
                    copy, client_id=CLIENT_ID, client_secret=CLIENT_SECRET, **settings
                )
            )
            return stack.enter_context(closing(OrgClient(standin)))

        yield start
