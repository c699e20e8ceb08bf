"""`kpcluigi rehearse` as a newcomer uses it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kpcluigi.errors import ConfigurationError
from kpcluigi.rehearsal.run import COMMAND, Rehearsal, refuse_unknown_columns
from kpcluigi.tables import Table

SCRIPTS = Path(sys.executable).parent
KPCLUIGI = str(SCRIPTS / "kpcluigi")
BARE = {k: v for k, v in os.environ.items() if not k.startswith(("KPC_", "LUIGI_"))}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [KPCLUIGI, *arguments], env=BARE, capture_output=True, text=True, timeout=120, check=False
    )


def test_it_ends_with_a_table_and_a_verdict(tmp_path: Path) -> None:
    ended = run("rehearse", "--rows", "6000", "--dir", str(tmp_path / "r"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "$ luigi --module kpcluigi MigrateAll" in ended.stdout
    assert re.search(r"16 tables +6,000 +6,000 +6,000 +0 +6,000  all PASS", ended.stdout)
    assert re.search(r"6,000 rows in [\d.]+ s, [\d,]+ rows/s", ended.stdout)
    assert "PASS: every row of every table is in the org." in ended.stdout


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    ended = run("rehearse", "--rows", "5000", "--dir", str(tmp_path))
    assert ended.returncode == 1
    assert "was not made by a rehearsal" in ended.stderr
    assert (tmp_path / "precious").read_text() == "x"


def test_a_folder_of_an_earlier_rehearsal_is_made_anew(tmp_path: Path) -> None:
    with Rehearsal(tmp_path / "r", 5_000):
        (tmp_path / "r" / "data").mkdir()
        with pytest.raises(ConfigurationError, match="Another rehearsal is at work"):
            Rehearsal(tmp_path / "r", 5_000).__enter__()
    with Rehearsal(tmp_path / "r", 5_000):
        assert not (tmp_path / "r" / "data").exists()


def test_a_mapping_that_the_sample_data_does_not_have_is_said(tables: dict[str, Table]) -> None:
    table = tables["KPS_WEB_SALES"]
    columns = {**table.columns, "REAL_COLUMN": table.columns[table.partition_column]}
    changed = {**tables, table.name: table.model_copy(update={"columns": columns})}
    refuse_unknown_columns(tables)
    with pytest.raises(ConfigurationError, match=r"KPS_WEB_SALES\.REAL_COLUMN"):
        refuse_unknown_columns(changed)


@pytest.mark.parametrize("rows", ["10", "many"])
def test_a_senseless_size_is_refused(rows: str) -> None:
    ended = run("rehearse", "--rows", rows)
    assert ended.returncode == 2
    assert "--rows" in ended.stderr


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A running `kpcluigi rehearse --serve` and what it printed."""
    log = tmp_path / "serve.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [KPCLUIGI, "rehearse", "--rows", "5000", "--dir", str(tmp_path / "r"), "--serve"],
            env=BARE,
            stdout=out,
            stderr=out,
        )
    deadline = time.monotonic() + 60
    while "Ctrl-C ends all" not in log.read_text() and time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        time.sleep(0.1)
    yield server, log.read_text()
    server.kill()
    server.wait()


def test_served_it_is_run_by_hand_and_ctrl_c_stops_all(
    served: tuple[subprocess.Popen[bytes], str],
) -> None:
    server, printed = served
    children = psutil.Process(server.pid).children(recursive=True)
    assert len(children) == 3, "Oracle, Salesforce, luigid"
    exported = dict(
        shlex.split(line)[1].split("=", 1)
        for line in printed.splitlines()
        if line.startswith("export ")
    )
    assert len(exported) == 7

    def by_hand(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env={**BARE, **exported, "PATH": f"{SCRIPTS}:{BARE['PATH']}"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    migrated = by_hand(*COMMAND, "--tables", "KPS_R_POS_SUPPLIER")
    assert migrated.returncode == 0, migrated.stderr[-2000:]
    assert "all PASS" in migrated.stdout
    checked = by_hand("kpcluigi", "check")
    assert checked.returncode == 0, checked.stderr
    assert "Ready: luigi --module kpcluigi MigrateAll" in checked.stdout
    status = by_hand("kpcluigi", "status")
    assert re.search(r"KPS_R_POS_SUPPLIER .* PASS", status.stdout)

    server.send_signal(signal.SIGINT)
    assert server.wait(20) == 0
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []
