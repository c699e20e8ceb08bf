"""luigid enforces the limits of luigi.cfg, measured where it counts: at both ends."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from kpcluigi.rehearsal.run import Rehearsal, Speed
from kpcluigi.tasks.root import rpc
from tests.commands import Commands
from tests.end_to_end.migration import Migration, all_gone, pids_of

ROWS = 23_000
"""The largest table then has two chunks, the other 15 have one each."""
HELD = 120.0
"""Seconds that a job takes; the test is done with it long before."""


def side_by_side(rehearsal: Rehearsal) -> Path:
    """A tables.toml of which no table waits for another."""
    text = (rehearsal.folder / "tables.toml").read_text("utf-8")
    text = re.sub(r"(?m)^\[tables\.\w+\.lookups\]\n(?:\w+ = .*\n)+", "", text)
    path = rehearsal.folder / "side_by_side.toml"
    path.write_text(re.sub(r"(?m)^phase = .*", "phase = 1", text), "utf-8")
    return path


@pytest.mark.long
def test_no_more_than_ten_sessions_and_fifteen_jobs(commands: Commands, tmp_path: Path) -> None:
    """17 chunks of 16 tables are there to be extracted and sent, and none of them makes room."""
    speed = Speed(job_latency=HELD, poll_interval=0.5, retry_delay=0.2)
    with Rehearsal(tmp_path / "rehearsal", ROWS, speed=speed) as rehearsal:
        migration = Migration(rehearsal, commands, tmp_path / "data")
        rehearsal.oracle.arm(on="execute", match="^SELECT.*RANK", delay=5, times=-1)
        running = migration.start("--migration-tables", str(side_by_side(rehearsal)))

        def waiting() -> int:
            tasks = rpc(
                rehearsal.visualiser,
                "task_list",
                status="PENDING",
                upstream_status="",
                search="BulkUpload",
            )
            return sum(name.startswith("BulkUpload") for name in tasks)

        migration.wait_for(
            "a chunk file of every table",
            lambda: len(list(migration.root.glob("*/*/*/chunks/*.json"))) == 17,
            timeout=120,
        )
        migration.wait_for(
            "15 open jobs", lambda: rehearsal.salesforce.stats()["peak_open_jobs"] >= 15
        )
        migration.wait_for("two that have to wait", lambda: waiting() == 2)
        plans = [
            json.loads(path.read_text("utf-8")) for path in migration.folder.glob("*/plan.json")
        ]
        assert (len(plans), sum(len(plan["chunks"]) for plan in plans)) == (16, 17)
        assert rehearsal.oracle.stats()["peak_sessions"] == 10
        assert rehearsal.salesforce.stats()["peak_open_jobs"] == 15
        pids = pids_of(running)
        running.terminate()
        running.wait(30)
        migration.wait_for("the end of all children", lambda: all_gone(pids))
