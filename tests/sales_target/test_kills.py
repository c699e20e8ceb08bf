"""kill -9 at any moment: the old rows or the new, nothing left behind, and a rerun completes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import repeat

import polars as pl
import pytest

from kpcluigi.sales_target import COLUMNS
from kpcluigi.sales_target.content import Tally
from kpcluigi.sales_target.target import replacing
from tests.sales_target.copying import OLD, PLAIN, ROWS, TARGET, Copying

Runner = subprocess.Popen[str]


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.sales_target.killed"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        yield process
    process.wait(20)


def copy(runner: Runner, copying: Copying, *, kill_at: int | None = None) -> list[str]:
    """Copy once, and kill it when it has said so many lines. Returns what it said."""
    assert runner.stdin is not None
    assert runner.stdout is not None
    task = {"dsn": copying.relayed_dsn, "url": copying.relayed_url, "batch_rows": 150}
    runner.stdin.write(json.dumps(task) + "\n")
    runner.stdin.flush()
    said: list[str] = []
    pid = 0
    for line in runner.stdout:
        if line.startswith("started"):
            pid = int(line.split()[1])
            said = said or []
        else:
            said.append(line.rstrip())
        if kill_at is not None and pid and len(said) >= kill_at:
            os.kill(pid, signal.SIGKILL)
            kill_at = None
        if line.startswith("ended"):
            return said
    raise AssertionError("the runner ended")


def test_killed_at_any_moment(runner: Runner, copying: Copying) -> None:
    rng = random.Random(int(os.environ.get("KPCLUIGI_TEST_SEED", "20261121")))
    whole = copy(runner, copying)
    assert whole[-1].startswith("ended 0")
    commit = len(whole) - 1
    assert whole[commit - 1] == "runs COMMIT"
    times = int(os.environ.get("KPCLUIGI_TEST_KILLS", "4"))
    killed = 0
    for moment in (commit, *(rng.randint(1, commit) for _ in range(times - 1))):
        copying.put_old_rows(OLD)
        old = copying.seen()
        said = copy(runner, copying, kill_at=moment)
        killed += said[-1].startswith("ended -9")
        copying.wait_until_free()
        seen = copying.seen()
        assert seen == old or seen[0] == ROWS, (moment, said[-2])
        copying.sync(PLAIN)
        assert copying.seen()[0] == ROWS
    assert killed >= times - 1


def test_memory_does_not_grow_with_the_table(copying: Copying) -> None:
    """Forty times the rows, sent through the same pipe, held by neither side of it here."""
    batch = pl.DataFrame({name: [str(i * 7919) for i in range(2_000)] for name in COLUMNS})

    def resident() -> int:
        with open("/proc/self/statm") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def grown(batches: int) -> int:
        before = resident()
        most = before
        tally = Tally()

        def lines() -> Iterator[bytes]:
            nonlocal most
            for one in repeat(batch, batches):
                yield tally.add(one)
                most = max(most, resident())

        nothing = lambda line: None  # noqa: E731
        with replacing(copying.engine, TARGET, show=nothing, tell=nothing) as replacement:
            replacement.stage(lines())
        return most - before

    grown(2)  # what is loaded and allocated once
    sent = grown(80) - grown(2)
    assert copying.to_postgres.sent > 5_000_000
    assert sent < 4_000_000, f"{sent:,} bytes more for 156,000 more rows"
