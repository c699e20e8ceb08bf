"""One rehearsal for all end-to-end tests; each test has a run folder of its own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kpcluigi.rehearsal.run import Rehearsal, Speed
from tests.end_to_end.migration import Migration

ROWS = 80_000
"""KPS_T_SALES_MD then has four chunks of 10,000 rows, KPS_T_SALES_M three."""


@pytest.fixture(scope="session")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    folder = tmp_path_factory.mktemp("rehearsal")
    speed = Speed(job_latency=0.2, poll_interval=0.2, retry_delay=0.2)
    with Rehearsal(folder, ROWS, speed=speed) as rehearsal:
        yield rehearsal


@pytest.fixture
def migration(rehearsal: Rehearsal, tmp_path: Path) -> Iterator[Migration]:
    for stand_in in (rehearsal.oracle, rehearsal.salesforce):
        stand_in.disarm()
        stand_in.reset()
    migration = Migration(rehearsal, tmp_path / "data")
    yield migration
    for process in migration.running:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    for stand_in in (rehearsal.oracle, rehearsal.salesforce):
        stand_in.disarm()
