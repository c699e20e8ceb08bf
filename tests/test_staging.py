"""Markers appear whole or not at all, and what is on disk is believed only when it can be read."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kpcluigi.errors import (
    ChunkChangedError,
    ChunkLockedError,
    CorruptMarkerError,
    StagingError,
    StaleRunError,
)
from kpcluigi.markers import (
    Chunk,
    ChunkManifest,
    LoadResult,
    Plan,
    RetryResult,
    RetrySource,
)
from kpcluigi.reextract import reextract
from kpcluigi.staging import (
    RunFolder,
    TableFolder,
    make_private,
    read_marker,
    reextract_command,
    refuse_stale,
    verify_chunk,
    write_marker,
)
from kpcluigi.tables import Table, load_tables

TABLE = "KPS_T_SALES_MD"


@pytest.fixture
def folder(tmp_path: Path) -> TableFolder:
    return RunFolder(tmp_path).table(TABLE)


@pytest.fixture(scope="module")
def table() -> Table:
    return load_tables(Path("tables.toml"))[TABLE]


def plan(fingerprint: str = "f", chunks: int = 3) -> Plan:
    return Plan(
        table=TABLE,
        owner="TMS",
        partition_column="CREATED_DATE",
        window="2024-01-01..2024-12-31",
        scn=7,
        snapshot_at=datetime(2025, 1, 1, tzinfo=UTC),
        fingerprint=fingerprint,
        strategy="key_range",
        key=["SALES_ID"],
        key_types=["number"],
        rows=10 * chunks,
        sql="SELECT",
        seconds=0.1,
        columns=[],
        notes=[],
        chunks=[Chunk(n=n, rows=10) for n in range(1, chunks + 1)],
    )


def manifest(sha256: str) -> ChunkManifest:
    return ChunkManifest(
        table=TABLE,
        n=1,
        scn=7,
        fingerprint="f",
        sql="SELECT",
        rows=10,
        rejected=0,
        fitted={},
        raw_bytes=100,
        file_bytes=50,
        sha256=sha256,
        header_bytes=10,
        cuts=[(1, 100)],
        seconds=0.1,
    )


def loaded(folder: TableFolder, n: int) -> None:
    write_marker(
        folder.load_result(n),
        LoadResult(
            table=TABLE,
            n=n,
            object="KPS_Sales__c",
            chunk_sha256="x",
            extracted=10,
            created=10,
            updated=0,
            failed=0,
            unprocessed=0,
            rejected=0,
            changed_to_fit=0,
            jobs=[],
            seconds=0.1,
        ),
    )


def test_a_marker_reads_back_as_it_was_written(folder: TableFolder) -> None:
    write_marker(folder.plan, plan())
    assert read_marker(folder.plan, Plan) == plan().model_copy(
        update={"written_at": (read_marker(folder.plan, Plan) or plan()).written_at}
    )
    assert [p.name for p in folder.path.iterdir()] == ["plan.json"]


def test_no_marker_is_none_and_a_torn_one_is_an_error(folder: TableFolder) -> None:
    assert read_marker(folder.plan, Plan) is None
    write_marker(folder.plan, plan())
    folder.plan.write_bytes(folder.plan.read_bytes()[:40])
    with pytest.raises(CorruptMarkerError, match=r"plan\.json is not a readable Plan marker"):
        read_marker(folder.plan, Plan)


def test_only_temporary_files_of_dead_processes_are_swept(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = tmp_path / "T" / f".plan.json.tmp-{ended.pid}"
    alive = tmp_path / "T" / f".plan.json.tmp-{os.getpid()}"
    dead.parent.mkdir()
    dead.touch()
    alive.touch()
    RunFolder(tmp_path).sweep()
    assert alive.exists()
    assert not dead.exists()


def test_a_changed_chunk_is_refused_with_the_command_that_mends_it(folder: TableFolder) -> None:
    file = folder.chunk_file(1)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"changed")
    with pytest.raises(
        ChunkChangedError, match="kpcluigi reextract --table KPS_T_SALES_MD --chunk 1"
    ):
        verify_chunk(folder, manifest("0" * 64))


@pytest.mark.parametrize(
    ("run", "options"),
    [
        ("full_2022-01-01_2024-12-31", ""),
        ("full_2023-01-01_2023-06-30", " --start-date 2023-01-01 --end-date 2023-06-30"),
        ("incremental_2022-01-01_20250601T114500Z", " --mode incremental"),
    ],
)
def test_the_command_that_mends_names_the_run_it_is_for(run: str, options: str) -> None:
    folder = RunFolder(Path("data") / "kpc" / run).table("T")
    assert (
        reextract_command(folder, "--loaded") == f"kpcluigi reextract --table T --loaded{options}"
    )


def test_two_processes_cannot_work_on_one_chunk(folder: TableFolder) -> None:
    code = (
        "import sys, pathlib; from kpcluigi.staging import TableFolder\n"
        f"with TableFolder(pathlib.Path({str(folder.path)!r})).chunk_lock(1):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ChunkLockedError, match=str(holder.pid)), folder.chunk_lock(1):
        pass
    with folder.chunk_lock(2):
        pass
    holder.kill()
    holder.communicate()
    with folder.chunk_lock(1):
        pass


def test_a_changed_mapping_stops_an_unfinished_table(folder: TableFolder) -> None:
    refuse_stale(folder, "f")
    write_marker(folder.plan, plan("f"))
    refuse_stale(folder, "f")
    with pytest.raises(StaleRunError, match="kpcluigi reextract --table KPS_T_SALES_MD"):
        refuse_stale(folder, "g")


def attempted(folder: TableFolder) -> None:
    """A finished attempt to send dead rows again."""
    write_marker(
        folder.retry_source(1),
        RetrySource(
            table="T",
            attempt=1,
            rows=1,
            invocation="",
            corrected="",
            raw_bytes=0,
            sha256="",
            header_bytes=0,
            cuts=[],
        ),
    )
    write_marker(
        folder.retry_result(1),
        RetryResult(
            table="T",
            attempt=1,
            rows=1,
            corrected="",
            created=1,
            updated=0,
            failed=0,
            unprocessed=0,
            jobs=[],
            seconds=0,
        ),
    )


class TestReextract:
    def stage(self, folder: TableFolder, *chunks: int) -> None:
        write_marker(folder.plan, plan())
        for n in chunks:
            folder.chunk_file(n).parent.mkdir(parents=True, exist_ok=True)
            folder.chunk_file(n).touch()
            write_marker(folder.chunk_manifest(n), manifest("0"))

    def test_with_nothing_loaded_the_plan_goes_too(self, folder: TableFolder, table: Table) -> None:
        self.stage(folder, 1, 2)
        removed = reextract(folder, table, "new")
        assert removed.plan
        assert not folder.plan.exists()
        assert not folder.chunk_file(1).exists()

    def test_loaded_chunks_are_kept_and_the_plan_takes_todays_mapping(
        self, folder: TableFolder, table: Table
    ) -> None:
        self.stage(folder, 1, 2)
        loaded(folder, 1)
        removed = reextract(folder, table, "new")
        assert removed.chunks == [2, 3]
        assert folder.chunk_file(1).exists()
        assert not folder.chunk_file(2).exists()
        refuse_stale(folder, "new")

    def test_one_chunk_alone(self, folder: TableFolder, table: Table) -> None:
        self.stage(folder, 1, 2)
        assert reextract(folder, table, "f", chunk=2).chunks == [2]
        assert folder.chunk_file(1).exists()
        assert folder.plan.exists()

    @pytest.mark.parametrize(("chunk", "reason"), [(1, "--chunk 1 --loaded"), (9, "chunks 1 to 3")])
    def test_what_cannot_be_redone_is_refused(
        self, folder: TableFolder, table: Table, chunk: int, reason: str
    ) -> None:
        self.stage(folder, 1)
        loaded(folder, 1)
        with pytest.raises(StagingError, match=reason):
            reextract(folder, table, "f", chunk=chunk)

    def test_one_chunk_cannot_take_another_mapping_alone(
        self, folder: TableFolder, table: Table
    ) -> None:
        self.stage(folder, 1, 2)
        with pytest.raises(StagingError, match="concerns every chunk"):
            reextract(folder, table, "new", chunk=1)
        assert folder.chunk_file(1).exists()

    @pytest.mark.parametrize("change", [{"key": ("STORE_CODE",)}, {"partition_column": "D"}])
    def test_other_boundaries_cannot_finish_a_half_loaded_table(
        self, folder: TableFolder, table: Table, change: dict[str, object]
    ) -> None:
        self.stage(folder, 1)
        loaded(folder, 1)
        other = table.model_copy(update=change)
        with pytest.raises(StagingError, match=r"kpcluigi reextract --table .* --loaded"):
            reextract(folder, other, "g")
        assert reextract(folder, other, "g", loaded=True).plan
        assert not folder.load_result(1).exists()

    def test_a_loaded_chunk_is_sent_again_when_asked_for(
        self, folder: TableFolder, table: Table
    ) -> None:
        self.stage(folder, 1, 2)
        loaded(folder, 1)
        folder.dead_letter(1).parent.mkdir()
        folder.dead_letter(1).touch()
        assert reextract(folder, table, "f", chunk=1, loaded=True).chunks == [1]
        assert not folder.load_result(1).exists()
        assert not folder.dead_letter(1).exists()
        assert folder.plan.exists()

    def test_a_table_whose_dead_rows_were_sent_on_their_own_starts_over_whole(
        self, folder: TableFolder, table: Table
    ) -> None:
        self.stage(folder, 1, 2)
        loaded(folder, 1)
        attempted(folder)
        folder.dead_letter(1).parent.mkdir()
        folder.dead_letter(1).touch()
        with pytest.raises(StagingError, match=r"start the table over with: kpcluigi .* --loaded"):
            reextract(folder, table, "f", chunk=1, loaded=True)
        assert folder.load_result(1).exists()
        assert reextract(folder, table, "f", loaded=True).plan
        assert not folder.retries.exists()
        assert not folder.dead_letters


def test_the_staging_root_is_for_its_owner_alone(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir(mode=0o755)
    make_private(root)
    assert root.stat().st_mode & 0o777 == 0o700
