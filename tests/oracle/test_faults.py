"""Oracle and the network fail in every known way at every moment: a right chunk, or a clear error.

Each fault is put on the wire while the very task extracts a chunk; whatever comes of it, no wrong
file may lie in the folder, and the same command must succeed once the cause is gone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import luigi
import pytest

from kpcluigi.errors import OracleError
from kpcluigi.files import gzip_reader
from kpcluigi.markers import ChunkManifest
from kpcluigi.rehearsal.oracle import OracleStandIn
from kpcluigi.rehearsal.oracle.catalog import Column, Table, create_table
from kpcluigi.staging import read_marker
from kpcluigi.tasks.extract import ExtractChunk
from kpcluigi.tasks.plan import PlanChunks

USER, PASSWORD = "TMS", "test-password"
ROWS = 400
CHUNK = r"^SELECT t\.ID.*SALES AS OF SCN"
MOMENTS = ("login", "execute", "fetch")
PASSING: tuple[dict[str, Any], ...] = (
    {"drop": True},
    {"delay": 2.0},
    *({"ora": number} for number in (3113, 3135, 12541, 12514, 1033, 60, 4031, 1652, 8103)),
)
"""A later try gets past these. The delay outlasts the call time-out: DPY-4024."""
LASTING = (942, 1031, 1017)

TABLES = """
[tables.SALES]
phase = 1
object = "Sales__c"
external_id = "Ext__c"
key = ["ID"]
partition_column = "CREATED_DATE"
fetch_size = 50
source_zone = "Asia/Bangkok"
[tables.SALES.columns]
ID = { field = "Ext__c", type = "text", length = 20 }
NAME = { field = "Name__c", type = "text", length = 40 }
CREATED_DATE = { field = "Created__c", type = "datetime" }
"""


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OracleStandIn]:
    database = tmp_path_factory.mktemp("oracle") / "oracle.duckdb"
    with duckdb.connect(str(database)) as con:
        create_table(
            con,
            Table(
                USER,
                "SALES",
                (
                    Column("ID", "NUMBER(10)", nullable=False),
                    Column("NAME", "VARCHAR2(40 CHAR)"),
                    Column("CREATED_DATE", "DATE"),
                ),
                ("ID",),
            ),
        )
        con.execute(
            f"""INSERT INTO "{USER}"."SALES" (ID, NAME, CREATED_DATE)
            SELECT i, 'ร้าน ' || i, TIMESTAMP '2024-06-01 12:00:00' FROM range({ROWS}) r(i)"""
        )
    with OracleStandIn(database, user=USER, password=PASSWORD) as oracle:
        yield oracle


@pytest.fixture
def here(
    oracle: OracleStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OracleStandIn]:
    """The settings of a project that reads this server, without a wait between two tries."""
    (tmp_path / "tables.toml").write_text(TABLES, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KPC_ORACLE_DSN", oracle.dsn)
    monkeypatch.setenv("KPC_ORACLE_USER", USER)
    monkeypatch.setenv("KPC_ORACLE_PASSWORD", PASSWORD)
    monkeypatch.setenv("KPC_SALESFORCE_URL", "http://127.0.0.1")
    config = luigi.configuration.get_config()
    for key, value in (("retry_delay", "0"), ("call_timeout", "1"), ("login_timeout", "1")):
        config.set("oracle", key, value)
    config.set("staging", "min_free_gb", "0")
    oracle.disarm()
    oracle.reset()
    yield oracle
    oracle.disarm()
    oracle.reset()
    for section in ("oracle", "staging"):
        config.remove_section(section)


def extraction() -> ExtractChunk:
    window = {"start_date": date(2024, 1, 1), "end_date": date(2024, 12, 31), "table": "SALES"}
    plan = PlanChunks(**window)
    if not plan.complete():
        plan.run()
    return ExtractChunk(n=1, **window)


def is_right(task: ExtractChunk) -> bool:
    """Whether the chunk is there, or that it is not: anything between fails the test."""
    file = task.folder.chunk_file(1)
    files = {path.name for path in file.parent.glob("*")} if file.parent.exists() else set()
    if not task.complete():
        assert files == set(), "a failed chunk leaves nothing"
        return False
    assert files == {"00001.csv.gz", "00001.json"}
    with gzip_reader(file) as stream:
        assert hashlib.sha256(stream.read()).hexdigest() == expected()
    return True


def expected() -> str:
    lines = [f"{i},ร้าน {i},2024-06-01T05:00:00.000Z\n" for i in range(ROWS)]
    return hashlib.sha256("".join(["Ext__c,Name__c,Created__c\n", *lines]).encode()).hexdigest()


def arm(oracle: OracleStandIn, moment: str, fault: dict[str, Any], times: int = 1) -> None:
    match = {"match": CHUNK} if moment != "login" else {}
    nth = {"nth": 3} if moment == "fetch" else {}
    oracle.arm(on=moment, times=times, **match, **nth, **fault)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("fault", PASSING, ids=str)
def test_what_passes_is_tried_again(
    here: OracleStandIn, moment: str, fault: dict[str, Any]
) -> None:
    task = extraction()
    arm(here, moment, fault)
    task.run()
    assert is_right(task)
    assert here.stats()["faults"] == 1


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("number", LASTING)
def test_what_lasts_is_said_at_once_and_mended_by_the_same_command(
    here: OracleStandIn, moment: str, number: int
) -> None:
    task = extraction()
    arm(here, moment, {"ora": number}, times=-1)
    with pytest.raises(OracleError, match=f"ORA-{number:05d}") as failed:
        task.run()
    assert here.stats()["faults"] == 1, "it is not tried again"
    assert "run the same command again" in str(failed.value)
    assert not is_right(task)
    here.disarm()
    task.run()
    assert is_right(task)


@pytest.mark.parametrize("moment", MOMENTS)
def test_tries_are_bounded(here: OracleStandIn, moment: str) -> None:
    task = extraction()
    oracle_fault = {"drop": True}
    arm(here, moment, oracle_fault, times=-1)
    with pytest.raises(OracleError, match="run the same command again"):
        task.run()
    assert here.stats()["faults"] >= 4
    assert not is_right(task)
    here.disarm()
    task.run()
    assert is_right(task)


@pytest.mark.parametrize("moment", ["execute", "fetch"])
def test_a_lost_snapshot_costs_the_chunk_its_scn_and_nothing_else(
    here: OracleStandIn, moment: str
) -> None:
    task = extraction()
    arm(here, moment, {"ora": 1555})
    task.run()
    assert is_right(task)
    (chunk,) = task.plan().chunks
    assert chunk.reread is not None
    assert chunk.reread.scn != task.plan().scn


def test_a_lost_snapshot_at_the_login_is_no_reason_to_take_another(here: OracleStandIn) -> None:
    task = extraction()
    arm(here, "login", {"ora": 1555})
    with pytest.raises(OracleError, match="refused the login"):
        task.run()
    assert not is_right(task)


@pytest.mark.parametrize("moment", ["execute", "fetch"])
@pytest.mark.parametrize("number", [1555, 1652])
def test_what_a_parallel_query_server_says_is_heard(
    here: OracleStandIn, moment: str, number: int
) -> None:
    """Its own number stands behind that of the session that it serves."""
    task = extraction()
    said = f"error signaled in parallel query server P003\nORA-{number:05d}: as it says"
    arm(here, moment, {"ora": 12801, "message": said})
    task.run()
    assert is_right(task)
    assert (task.plan().chunks[0].reread is not None) == (number == 1555)


@pytest.mark.parametrize("moment", ["execute", "fetch"])
def test_bytes_that_are_no_utf_8_are_counted_and_named(here: OracleStandIn, moment: str) -> None:
    """What was sent shows where the bad byte was; the manifest says how many and whose."""
    task = extraction()
    arm(here, moment, {"garble": True, "column": "NAME"})
    task.run()
    assert here.stats()["faults"] == 1
    manifest = read_marker(task.folder.chunk_manifest(1), ChunkManifest)
    assert manifest is not None
    assert manifest.rows == ROWS
    assert manifest.fitted["NAME"].invalid_utf8 == 1
    (key,) = manifest.fitted["NAME"].sample_keys
    with gzip_reader(task.folder.chunk_file(1)) as stream:
        lines = stream.read().decode().splitlines()
    (bad,) = (line for line in lines if "\ufffd" in line)
    assert bad.startswith(f"{key},")


def test_a_key_that_is_no_utf_8_stops_the_plan(here: OracleStandIn) -> None:
    window = {"start_date": date(2024, 1, 1), "end_date": date(2024, 12, 31), "table": "SALES"}
    plan = PlanChunks(**window)
    here.arm(on="execute", match="^SELECT.*RANK", garble=True, times=-1)
    with pytest.raises(OracleError, match=r"utf-8.*run the same command again"):
        plan.run()
    assert not plan.complete()


def test_undo_that_is_really_gone(here: OracleStandIn) -> None:
    task = extraction()
    here.forget_undo()
    task.run()
    assert is_right(task)
    assert task.plan().chunks[0].reread is not None
