"""One rehearsal for all end-to-end tests; each test has a run folder of its own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kpcluigi.rehearsal.run import Rehearsal, Speed
from tests.commands import Commands
from tests.end_to_end.migration import Migration

ROWS = 48_000
"""KPS_T_SALES_MD then has three chunks of up to 10,000 rows, KPS_T_SALES_M two."""


@pytest.fixture(scope="session")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    folder = tmp_path_factory.mktemp("rehearsal")
    speed = Speed(job_latency=0.2, poll_interval=0.2, retry_delay=0.2)
    with Rehearsal(folder, ROWS, speed=speed) as rehearsal:
        yield rehearsal


@pytest.fixture
def migration(rehearsal: Rehearsal, commands: Commands, tmp_path: Path) -> Iterator[Migration]:
    for stand_in in (rehearsal.oracle, rehearsal.salesforce):
        stand_in.disarm()
        stand_in.reset()
    migration = Migration(rehearsal, commands, tmp_path / "data")
    yield migration
    for process in migration.running:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    for stand_in in (rehearsal.oracle, rehearsal.salesforce):
        stand_in.disarm()
