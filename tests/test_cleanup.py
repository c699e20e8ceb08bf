"""A loaded chunk's file is kept, moved or deleted; its manifest stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpcluigi.cleanup import CleanUp
from kpcluigi.errors import DiskFullError
from kpcluigi.staging import RunFolder, TableFolder


@pytest.fixture
def folder(tmp_path: Path) -> TableFolder:
    folder = RunFolder(tmp_path / "data/kpc--uat/full_2022-01-01_2024-12-31").table("T")
    folder.chunk_file(1).parent.mkdir(parents=True)
    folder.chunk_file(1).write_bytes(b"rows")
    folder.chunk_manifest(1).write_text("{}")
    return folder


def test_it_is_kept_unless_told_otherwise(folder: TableFolder) -> None:
    CleanUp().after_load(folder, 1)
    assert folder.chunk_file(1).read_bytes() == b"rows"


def test_it_is_deleted_once(folder: TableFolder) -> None:
    CleanUp(delete=True).after_load(folder, 1)
    CleanUp(delete=True).after_load(folder, 1)
    assert not folder.chunk_file(1).exists()
    assert folder.chunk_manifest(1).exists()


def test_it_is_moved_to_where_its_run_has_a_place(folder: TableFolder, tmp_path: Path) -> None:
    rule = CleanUp(archive=tmp_path / "archive")
    rule.after_load(folder, 1)
    rule.after_load(folder, 1)
    assert not folder.chunk_file(1).exists()
    (moved,) = (path for path in (tmp_path / "archive").rglob("*") if path.is_file())
    run = "kpc--uat/full_2022-01-01_2024-12-31/T/00001.csv.gz"
    assert moved == tmp_path / "archive" / run
    assert moved.read_bytes() == b"rows"


def test_it_stays_where_the_archive_does_not_take_it(folder: TableFolder, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "kpc--uat").write_text("no folder")
    with pytest.raises(DiskFullError, match="it is loaded and stays where it is"):
        CleanUp(archive=archive).after_load(folder, 1)
    assert folder.chunk_file(1).read_bytes() == b"rows"
