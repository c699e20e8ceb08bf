"""Who may send the next job, told from the files that all processes share."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import luigi
import pytest

from kpcluigi import settings
from kpcluigi.errors import ConfigurationError, CorruptMarkerError
from kpcluigi.markers import JobOutcome, LoadJournal, LoadResult, Part
from kpcluigi.quota import GRACE, Admission, Ledger
from kpcluigi.salesforce.quota import Allocation, Use
from kpcluigi.staging import RunFolder, TableFolder, write_marker

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
FULL = "full_2022-01-01_2024-12-31"


def journal(n: int, *parts: Part, spent: tuple[JobOutcome, ...] = ()) -> LoadJournal:
    return LoadJournal(table="T", n=n, chunk_sha256="", parts=list(parts), spent_jobs=list(spent))


def result(n: int, *jobs: JobOutcome) -> LoadResult:
    return LoadResult(
        table="T",
        n=n,
        object="T__c",
        chunk_sha256="",
        extracted=0,
        created=0,
        updated=0,
        failed=0,
        unprocessed=0,
        rejected=0,
        changed_to_fit=0,
        jobs=list(jobs),
        seconds=0,
    )


def part(rows: int, **known: object) -> Part:
    return Part.model_validate({"rows": rows, "start": 0, "end": 1, **known})


def ended(job_id: str, batches: int, at: datetime = NOW) -> JobOutcome:
    return JobOutcome(
        id=job_id,
        state="JobComplete",
        rows=batches * 10_000,
        sent_at=at - HOUR,
        ended_at=at,
        batches=batches,
    )


@pytest.fixture
def org_folder(tmp_path: Path) -> Path:
    return tmp_path / "kpc--uat"


@pytest.fixture
def loads(org_folder: Path) -> TableFolder:
    return RunFolder(org_folder / FULL).table("T")


# ── The ledger ───────────────────────────────────────────────────────────────────────────────────


def test_every_job_of_every_run_is_found_once(org_folder: Path, loads: TableFolder) -> None:
    in_flight = part(25_000, job_id="750B", sent_at=NOW)
    claimed = part(30_000, sent_at=NOW)
    unsent = part(40_000)
    done = part(10_000, job_id="750A", sent_at=NOW - HOUR, outcome=ended("750A", 1))
    broken = JobOutcome(id="750X", state="Aborted", rows=25_000, sent_at=NOW, ended_at=NOW)
    write_marker(
        loads.load_journal(1), journal(1, done, in_flight, claimed, unsent, spent=(broken,))
    )
    write_marker(loads.load_result(2), result(2, ended("750C", 4), ended("750D", 5)))
    retried = loads.path / "retries" / "00001.json"
    write_marker(retried, result(2, ended("750E", 6)))
    other_run = RunFolder(org_folder / "incremental_2022-01-01_20260301T000000Z").table("T")
    write_marker(other_run.load_result(1), result(1, ended("750F", 7)))

    found = Ledger(org_folder).uses()
    assert sorted(use.batches for use in found) == [1, 3, 3, 4, 5, 6, 7]
    assert Use(25_000, 3, NOW, None) in found
    assert Use(30_000, 3, NOW, None) in found
    assert Use(70_000, 7, NOW - HOUR, NOW) in found


def test_a_job_that_journal_and_load_marker_name_is_one(
    org_folder: Path, loads: TableFolder
) -> None:
    write_marker(loads.load_journal(1), journal(1, part(20_000, job_id="750A", sent_at=NOW)))
    write_marker(loads.load_result(1), result(1, ended("750A", 2)))
    assert Ledger(org_folder).uses() == [Use(20_000, 2, NOW - HOUR, NOW)]


def test_markers_of_earlier_versions_count_from_when_they_were_written(
    org_folder: Path, loads: TableFolder
) -> None:
    before = datetime.now(UTC) - MINUTE
    old = JobOutcome(id="750A", state="JobComplete", rows=15_000)
    aborted = JobOutcome(id="750B", state="Aborted", rows=15_000)
    write_marker(loads.load_result(1), result(1, old, aborted))
    write_marker(loads.load_journal(2), journal(2, part(50_000, job_id="750C")))
    first, second = sorted(Ledger(org_folder).uses(), key=lambda use: use.batches)
    assert first.batches == 2
    assert first.ended_at is not None
    assert first.ended_at > before
    assert (second.batches, second.ended_at) == (5, None)
    assert second.begun_at > before


def test_what_changed_on_disk_is_read_anew(org_folder: Path, loads: TableFolder) -> None:
    ledger = Ledger(org_folder)
    assert ledger.uses() == []
    write_marker(loads.load_journal(1), journal(1, part(20_000)))
    assert ledger.uses() == []
    write_marker(loads.load_journal(1), journal(1, part(20_000, sent_at=NOW)))
    assert ledger.uses() == [Use(20_000, 2, NOW, None)]
    loads.load_journal(1).unlink()
    assert ledger.uses() == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"parts": [{"sent_at": "today"}]}'])
def test_a_file_that_cannot_be_read_is_named(
    org_folder: Path, loads: TableFolder, content: str
) -> None:
    write_marker(loads.load_journal(1), journal(1))
    loads.load_journal(1).write_text(content)
    with pytest.raises(CorruptMarkerError, match=r"00001\.journal\.json cannot be read"):
        Ledger(org_folder).uses()


def test_what_is_being_written_is_no_marker(org_folder: Path, loads: TableFolder) -> None:
    write_marker(loads.load_result(1), result(1, ended("750A", 2)))
    (loads.path / "loads" / ".00002.json.tmp-1").write_text("{")
    assert len(Ledger(org_folder).uses()) == 1


def test_no_job_is_missed_while_its_journal_becomes_a_load_marker(
    org_folder: Path, loads: TableFolder
) -> None:
    under_way = journal(1, part(20_000, job_id="750A", sent_at=NOW))
    done = result(1, ended("750A", 2))
    stop = threading.Event()

    def move_to_and_fro() -> None:
        while not stop.is_set():
            write_marker(loads.load_result(1), done)
            loads.load_journal(1).unlink()
            write_marker(loads.load_journal(1), under_way)
            loads.load_result(1).unlink()

    write_marker(loads.load_journal(1), under_way)
    mover = threading.Thread(target=move_to_and_fro)
    mover.start()
    try:
        ledger = Ledger(org_folder)
        found = [ledger.uses() for _ in range(300)]
    finally:
        stop.set()
        mover.join()
    assert {len(uses) for uses in found} == {1}
    assert {use.ended_at for uses in found for use in uses} == {None, NOW}


# ── The admission ────────────────────────────────────────────────────────────────────────────────


class Desk:
    """An org folder, an org that answers, a clock that only sleeping moves."""

    def __init__(self, org_folder: Path) -> None:
        self.org_folder = org_folder
        self.loads = RunFolder(org_folder / FULL).table("T")
        self.clock = NOW
        self.slept: list[float] = []
        self.said: list[str] = []
        self.asked: list[datetime] = []
        self.batches = self.batches_left = 100
        self.while_asleep: Callable[[], None] = lambda: None

    def admission(self) -> Admission:
        """As a process has that was just started."""
        return Admission(
            self.org_folder,
            ask_org=self.ask,
            reserve=0.03,
            recheck=600,
            now=lambda: self.clock,
            sleep=self.sleep,
        )

    def ask(self) -> Allocation:
        self.asked.append(self.clock)
        return Allocation(self.batches, self.batches_left, 1_000, 1_000, asked_at=self.clock)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock += timedelta(seconds=seconds)
        self.while_asleep()

    def claim(self, n: int, batches: int) -> Callable[[datetime], None]:
        """What a loader does: chunk n, one job."""

        def write(now: datetime) -> None:
            sent = part(batches * 10_000, job_id=f"750{n}", sent_at=now)
            write_marker(self.loads.load_journal(n), journal(n, sent))

        return write

    def admit(self, n: int, batches: int, admission: Admission | None = None) -> None:
        (admission or self.admission()).admit(
            batches * 10_000, self.claim(n, batches), self.said.append
        )

    def taken(self, n: int, batches: int, at: datetime) -> None:
        """Chunk n was loaded, up to that moment."""
        write_marker(self.loads.load_result(n), result(n, ended(f"750{n}", batches, at)))


class GaveUp(Exception):
    """One who would wait does something else instead."""


def give_up() -> None:
    raise GaveUp


@pytest.fixture
def desk(org_folder: Path) -> Desk:
    return Desk(org_folder)


def test_a_wait_ends_by_itself(desk: Desk) -> None:
    desk.taken(1, 90, NOW - 20 * HOUR)
    desk.admit(2, 50)
    assert desk.clock == NOW + 4 * HOUR
    assert max(desk.slept) <= 600
    assert set(desk.said) == {
        "waiting for the daily allocation: 90 of the org's 100 batches in 24 hours are taken by "
        "us, 3 % is kept for others; goes on at about 2026-03-01 16:00 UTC"
    }
    assert len(desk.said) >= 4 * 10, "said every few minutes"
    gaps = [later - earlier for earlier, later in zip(desk.asked, desk.asked[1:], strict=False)]
    assert min(gaps[1:]) >= MINUTE


def test_a_restart_sees_what_was_claimed(desk: Desk) -> None:
    desk.while_asleep = give_up
    desk.admit(1, 60)
    desk.admit(2, 37)
    with pytest.raises(GaveUp):
        desk.admit(3, 1)
    assert not desk.loads.load_journal(3).exists()


def test_a_job_that_ends_unsent_gives_back_what_it_claimed(desk: Desk) -> None:
    desk.admit(1, 90)

    def abort() -> None:
        broken = JobOutcome(
            id="7501", state="Aborted", rows=900_000, sent_at=NOW, ended_at=desk.clock
        )
        write_marker(desk.loads.load_journal(1), journal(1, part(900_000), spent=(broken,)))

    desk.while_asleep = abort
    desk.admit(2, 90)
    assert desk.clock <= NOW + 10 * MINUTE


def test_the_org_is_asked_at_every_start_and_then_once_a_minute(desk: Desk) -> None:
    admission = desk.admission()
    for n in range(1, 6):
        desk.admit(n, 1, admission)
        desk.clock += MINUTE / 4
    assert desk.asked == [NOW, NOW + MINUTE]
    desk.admit(6, 1)
    assert len(desk.asked) == 3


def test_what_others_take_is_waited_for(desk: Desk) -> None:
    desk.batches_left = 20

    def recover() -> None:
        if desk.clock >= NOW + HOUR:
            desk.batches_left = 100

    desk.while_asleep = recover
    desk.admit(1, 50)
    assert NOW + HOUR <= desk.clock <= NOW + HOUR + 10 * MINUTE
    assert "the org has 20 of 100 batches left" in desk.said[0]


def test_when_salesforce_says_exceeded_nobody_sends_for_a_while(desk: Desk) -> None:
    first, second = desk.admission(), desk.admission()
    desk.admit(1, 1, first)
    first.note_exceeded("ExceededQuota : ApiBatchItems Limit exceeded", desk.said.append)
    assert "ApiBatchItems Limit exceeded" in desk.said[-1]
    desk.admit(2, 1, second)
    assert desk.clock == NOW + 10 * MINUTE
    assert desk.asked == [NOW, NOW + 10 * MINUTE]


def test_a_small_job_does_not_keep_a_large_one_waiting(desk: Desk) -> None:
    desk.taken(1, 90, NOW - 22 * HOUR)
    late = Desk(desk.org_folder)
    late.while_asleep = give_up
    refused: list[datetime] = []

    def small_one_asks() -> None:
        late.clock = desk.clock
        try:
            late.admit(3, 5)
        except GaveUp:
            refused.append(desk.clock)

    desk.while_asleep = small_one_asks
    desk.admit(2, 50)
    assert len(refused) > 10, "7 batches were left, and 5 would have fitted"
    late.clock = desk.clock
    late.admit(3, 5)


def test_the_turn_of_one_who_comes_no_more_is_not_waited_for(desk: Desk) -> None:
    desk.taken(1, 90, NOW)
    desk.while_asleep = give_up
    with pytest.raises(GaveUp):
        desk.admit(2, 50)
    desk.while_asleep = lambda: None
    desk.admit(3, 5)
    assert desk.clock <= NOW + 20 * MINUTE + GRACE


def test_the_turn_of_one_who_died_is_free_at_once(desk: Desk) -> None:
    desk.taken(1, 90, NOW)
    desk.while_asleep = give_up
    with pytest.raises(GaveUp):
        desk.admit(2, 50)
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    shared = json.loads((desk.org_folder / ".quota.json").read_text())
    assert [waiting["rows"] for waiting in shared["waiting"]] == [500_000]
    shared["waiting"][0]["pid"] = dead.pid
    (desk.org_folder / ".quota.json").write_text(json.dumps(shared))
    desk.admit(3, 5)


def test_a_job_that_is_too_large_does_not_wait(desk: Desk) -> None:
    with pytest.raises(ConfigurationError, match="can never be sent"):
        desk.admit(1, 98)
    assert not desk.loads.load_journal(1).exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"allocation": 3}'])
def test_what_a_dying_process_left_of_the_shared_file_is_overlooked(
    desk: Desk, content: str
) -> None:
    desk.admit(1, 90)
    (desk.org_folder / ".quota.json").write_text(content)
    desk.while_asleep = give_up
    desk.admit(2, 7)
    with pytest.raises(GaveUp):
        desk.admit(3, 1)


@pytest.mark.parametrize(
    ("key", "value", "bound"),
    [
        ("quota_reserve", "0.95", "0.9 or less"),
        ("quota_reserve", "-0.1", "0 or more"),
        ("quota_recheck", "0", "1 or more"),
    ],
)
def test_settings_that_would_stop_or_flood_the_org_are_refused(
    key: str, value: str, bound: str
) -> None:
    config = luigi.configuration.get_config()
    before = config.get("salesforce", key)
    config.set("salesforce", key, value)
    try:
        with pytest.raises(ConfigurationError, match=rf"\[salesforce\] {key} = {value}.*: {bound}"):
            settings.validate()
    finally:
        config.set("salesforce", key, before)


CLAIMS = """
import os, sys, time
from datetime import UTC, datetime
from pathlib import Path
from kpcluigi.markers import LoadJournal, Part
from kpcluigi.quota import Admission
from kpcluigi.salesforce.quota import Allocation
from kpcluigi.staging import write_marker

org = Path(sys.argv[1])

class Full(Exception): pass

def refuse(seconds): raise Full

def ask(): return Allocation(100, 100, 1000, 1000, datetime.now(UTC))

def claim(now):
    time.sleep(0.005)
    path = org / "full_a_b" / "T" / "loads" / f"{os.getpid()}-{n}.journal.json"
    part = Part(rows=50_000, start=0, end=1, sent_at=now)
    write_marker(path, LoadJournal(table="T", n=n, chunk_sha256="", parts=[part]))

root = os.getpid()
for _ in range(2):
    if os.fork() == 0:
        break
admission = Admission(org, ask_org=ask, reserve=0.03, recheck=600, sleep=refuse)
try:
    for n in range(100):
        admission.admit(50_000, claim, lambda line: None)
except Full:
    pass
if os.getpid() == root:
    assert [os.wait()[1] for _ in range(2)] == [0, 0]
"""


def test_processes_at_once_never_claim_more_than_there_is(org_folder: Path) -> None:
    command = [sys.executable, "-c", CLAIMS, str(org_folder)]
    subprocess.run(command, check=True, timeout=60)
    assert len(Ledger(org_folder).uses()) == 19, "jobs of 5 batches, of 97"
    claims = (org_folder / "full_a_b" / "T" / "loads").iterdir()
    assert len({path.name.partition("-")[0] for path in claims}) > 1, "they ran at once"
