"""kill -9 at each point of a load: the same command does the one right thing, and finishes it."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.loading.process import finish, kill, kill_when, start, wait_for
from tests.loading.staged import Items

Reached = Callable[[], object]


def lost(items: Items, kind: str) -> Reached:
    """The answer to a request of this kind was lost, and the process waits to ask again."""
    return lambda: [e for e in items.org.log() if e["kind"] == kind and not e["status"]]


def before_create(items: Items) -> Reached:
    items.org.arm(on="create", reset=True)
    return lost(items, "create")


def after_create(items: Items) -> Reached:
    """The id of the job is not saved."""
    items.org.arm(on="create", reset=True, processed=True)
    return lost(items, "create")


def after_put(items: Items) -> Reached:
    """Salesforce has the data, which the journal does not know."""
    items.org.arm(on="upload", reset=True, processed=True)
    items.org.arm(on="info", reset=True)
    return lost(items, "info")


def before_close(items: Items) -> Reached:
    items.org.arm(on="close", reset=True)
    return lost(items, "close")


def after_close(items: Items) -> Reached:
    items.org.arm(on="close", reset=True, processed=True)
    return lost(items, "close")


def polling(items: Items) -> Reached:
    items.org.arm(on="job", job_state="InProgress")
    return lambda: [e for e in items.org.log() if e["kind"] == "info"][2:]


def results(items: Items) -> Reached:
    items.org.arm(on="results", nth=2, reset=True)
    return lost(items, "results")


POINTS: dict[str, tuple[Callable[[Items], Reached], int, int, int]] = {
    # point: jobs that the run after it creates, uploads and closes
    "before create": (before_create, 2, 2, 2),
    "after create, id unsaved": (after_create, 2, 2, 2),
    "after PUT": (after_put, 2, 2, 2),
    "after PUT, before close": (before_close, 1, 1, 2),
    "after close": (after_close, 1, 1, 1),
    "while polling": (polling, 1, 1, 1),
    "during results": (results, 1, 1, 1),
}


@pytest.mark.parametrize("point", POINTS)
def test_the_rerun_does_the_one_right_thing(items: Items, point: str) -> None:
    arm, *expected = POINTS[point]
    items.stage(items.rows(0, 20), per_job=10)
    reached = arm(items)
    kill_when(items.command(stalls=True), reached)
    items.org.disarm()
    before = len(items.org.log())
    assert finish(items.command()) == 0
    calls = [e["kind"] for e in items.org.log(before)]
    assert [calls.count(kind) for kind in ("create", "upload", "close")] == expected
    assert calls.count("results") == (5 if point == "during results" else 6)
    items.require_sound()


def test_a_kill_in_the_middle_of_the_upload_costs_that_job(items: Items) -> None:
    rows = [items.row(i, Note__c="x" * 131_000) for i in range(60)]
    items.stage(rows)
    items.org.arm(on="upload", delay=1.0)
    kill_when(items.command(stalls=True), lambda: arriving(items.org.port) > 100_000)
    before = len(items.org.log())
    assert finish(items.command()) == 0
    calls = [e["kind"] for e in items.org.log(before) if e["status"]]
    assert [calls.count(kind) for kind in ("abort", "create", "close")] == [1, 1, 1]
    items.require_sound()


def arriving(port: int) -> int:
    """Bytes that wait to be read by the server at this port of 127.0.0.1."""
    here = f"0100007F:{port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(line[4].partition(":")[2], 16) for line in lines if line[1] == here)


def test_a_kill_before_the_marker_sends_nothing_again(items: Items) -> None:
    items.stage([*items.rows(0, 10), items.row(10, Short__c="far too long for this field")])
    process = start(items.command())
    assert process.pid is not None
    stall(items.folder.load_result(1), process.pid)
    wait_for(items.folder.dead_letter(1).exists)
    kill(process)
    before = len(items.org.log())
    assert finish(items.command()) == 0
    assert {e["kind"] for e in items.org.log(before)} <= {"token"}
    items.require_sound()


def test_rows_given_up_by_a_run_that_was_killed_are_not_dead(items: Items) -> None:
    """The tries of a row are counted anew by the next run, which may bring it in."""
    items.stage(items.rows(0, 4))
    items.org.arm(on="row", match="3$", times=2, row_error="UNABLE_TO_LOCK_ROW:locked:--")
    items.org.arm(on="job", nth=2, job_state="InProgress", after_batches=1)
    process = start(items.command(retries=1))
    assert process.pid is not None
    wait_for(lambda: items.org.stats()["rows"] == 5)
    stall(items.folder.load_journal(1), process.pid)
    items.org.disarm()
    wait_for((items.folder.again(1) / "0001.dead.csv.gz").exists)
    kill(process)
    assert finish(items.command(retries=1)) == 0
    assert items.dead() == {}
    items.require_sound()


def stall(path: Path, pid: int) -> None:
    """The process stands still where it begins to write this file: its temporary is a pipe that
    nobody reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path.with_name(f".{path.name}.tmp-{pid}"))


def test_thirty_kills_at_any_moment(items: Items) -> None:
    items.stage(items.rows(0, 320), per_job=8)
    items.org.arm(on="job", latency=0.15, times=-1)  # long enough for all of them
    items.org.arm(on="row", match="5$", share=0.1, row_error="UNABLE_TO_LOCK_ROW:locked:--")
    moments = random.Random(30)
    command = items.command()
    for _ in range(30):
        process = start(command)
        time.sleep(moments.uniform(0.02, 0.25))
        kill(process)
    assert finish(command) == 0
    items.require_sound()
