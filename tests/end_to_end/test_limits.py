"""luigid enforces the limits of luigi.cfg, measured where it counts: at both ends."""

from __future__ import annotations

from pathlib import Path

from kpcluigi.rehearsal.run import Rehearsal, Speed
from tests.end_to_end.migration import Migration

TABLE = "KPS_T_SALES_MD"


def test_no_more_than_ten_sessions_and_fifteen_jobs(tmp_path: Path) -> None:
    speed = Speed(job_latency=8, poll_interval=0.5, retry_delay=0.2)
    with Rehearsal(tmp_path / "rehearsal", 420_000, speed=speed) as rehearsal:
        migration = Migration(rehearsal, tmp_path / "data", tables=TABLE)
        rehearsal.oracle.arm(
            on="execute", match="^SELECT t.*ORDER BY t.SALES_ID$", delay=3, times=-1
        )
        assert migration.run(timeout=240).code == 0, migration.output[-3000:]
        assert len(migration.marker(TABLE, "plan.json")["chunks"]) >= 18
        assert rehearsal.oracle.stats()["peak_sessions"] == 10
        assert rehearsal.salesforce.stats()["peak_open_jobs"] == 15
