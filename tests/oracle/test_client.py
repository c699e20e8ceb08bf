"""Thick mode: what is missing is named before anything starts; the driver is asked for real."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kpcluigi.oracle.client import client_problems


@pytest.fixture
def client(tmp_path: Path) -> Path:
    """A folder that looks like an Instant Client's."""
    folder = tmp_path / "instantclient"
    folder.mkdir()
    for name in ("libclntsh.so.23.1", "libocci.so.23.1"):
        (folder / name).touch()
    return folder


def problems(folder: Path, **environment: str) -> list[str]:
    return client_problems(folder, environment, loader_configuration=folder.parent / "ld.so.conf.d")


def test_a_whole_client(client: Path) -> None:
    assert problems(client, LD_LIBRARY_PATH=f"/usr/lib:{client}") == []
    assert problems(client, LD_LIBRARY_PATH=str(client), ORACLE_HOME=str(client)) == []


def test_a_client_that_the_system_knows(client: Path) -> None:
    configuration = client.parent / "ld.so.conf.d"
    configuration.mkdir()
    (configuration / "oracle.conf").write_text(f"# Oracle\n{client}\n")
    assert problems(client) == []


@pytest.mark.parametrize("library", ["libclntsh.so", "libocci.so"])
def test_a_library_that_is_missing(client: Path, library: str) -> None:
    (client / f"{library}.23.1").unlink()
    (problem,) = problems(client, LD_LIBRARY_PATH=str(client))
    assert problem.startswith(f"{library} is not there")


def test_what_is_wrong_is_named_all_at_once(client: Path) -> None:
    (client / "libocci.so.23.1").unlink()
    found = problems(client, LD_LIBRARY_PATH="/usr/lib", ORACLE_HOME="/opt/other")
    assert [text.split(" is ")[0].split(" does ")[0] for text in found] == [
        "libocci.so",
        "LD_LIBRARY_PATH",
        "ORACLE_HOME",
    ]
    assert f"export LD_LIBRARY_PATH={client}" in found[1]
    assert "unset it" in found[2]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path / "nowhere")
    assert "is no folder" in problem


def test_a_client_that_cannot_be_loaded(client: Path) -> None:
    """A process of its own: what the driver loads, or fails to load, holds for a whole process."""
    code = (
        "import sys\n"
        "from kpcluigi.errors import ConfigurationError\n"
        "from kpcluigi.oracle import connect\n"
        "try:\n"
        "    with connect(dsn='127.0.0.1:9/X', user='u', password='p', module='m',\n"
        "                 client_dir=sys.argv[1]):\n"
        "        pass\n"
        "except ConfigurationError as error:\n"
        "    print(error)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(client)], capture_output=True, text=True, check=True
    )
    assert "the Oracle client cannot be loaded: DPI-1047" in ended.stdout
