"""One loaded table for all tests of reconciliation; each puts back what it changed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.reconciling.bed import Bed, loaded

ROWS = 200_000


@pytest.fixture(scope="session")
def loaded_table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with loaded(tmp_path_factory.mktemp("reconciling"), ROWS) as bed:
        yield bed


@pytest.fixture
def bed(loaded_table: Bed) -> Iterator[Bed]:
    loaded_table.org.disarm()
    loaded_table.org.reset()
    loaded_table.files_gone.clear()
    shutil.rmtree(loaded_table.folder.differences, ignore_errors=True)
    yield loaded_table
    loaded_table.org.disarm()
