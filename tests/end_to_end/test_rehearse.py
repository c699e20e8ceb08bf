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

from kpcluigi.cli import main
from kpcluigi.errors import ConfigurationError
from kpcluigi.rehearsal.run import COMMAND, LocalRun, Rehearsal
from kpcluigi.rehearsal.sample.own import refuse_unknown_tables
from kpcluigi.rehearsal.sample.schema import TABLES
from kpcluigi.tables import Table

SCRIPTS = Path(sys.executable).parent
KPCLUIGI = str(SCRIPTS / "kpcluigi")
BARE = {k: v for k, v in os.environ.items() if not k.startswith(("KPC_", "LUIGI_"))}


def run(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [KPCLUIGI, *arguments],
        cwd=folder,
        env=BARE,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def project(folder: Path, tables: str) -> Path:
    """A folder with a tables.toml of one's own."""
    (folder / "luigi.cfg").write_text(Path("luigi.cfg").read_text("utf-8"), "utf-8")
    (folder / "tables.toml").write_text(tables, "utf-8")
    return folder


def first_phase() -> str:
    """The project's tables.toml up to its second phase; all of it is moved by test_migrate_all."""
    text = Path("tables.toml").read_text("utf-8")
    return text[: text.index("# ── Phase 2")]


def test_somebody_elses_folder_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "precious").write_text("x")
    assert main(["rehearse", "--rows", "5000", "--dir", str(tmp_path)]) == 1
    assert "was not made by a rehearsal" in capsys.readouterr().err
    assert (tmp_path / "precious").read_text() == "x"


class Idle(LocalRun):
    """A folder, for which nothing is made and nothing started."""

    def _make_data(self) -> None:
        (self.folder / "data").mkdir()

    def _start(self) -> None:
        assert list((self.folder / "data").iterdir()) == []


def test_a_folder_of_an_earlier_rehearsal_is_made_anew(tmp_path: Path) -> None:
    with Idle(tmp_path / "r", 5_000):
        (tmp_path / "r" / "data" / "earlier").touch()
        with pytest.raises(ConfigurationError, match="Another rehearsal is at work"):
            Rehearsal(tmp_path / "r", 5_000).__enter__()
        assert (tmp_path / "r" / "data" / "earlier").exists()
    with Idle(tmp_path / "r", 5_000):
        assert not (tmp_path / "r" / "data" / "earlier").exists()


def test_it_ends_with_a_table_and_a_verdict(tmp_path: Path, tables: dict[str, Table]) -> None:
    """Of columns, too, that its sample data does not know: they are made up."""
    text = first_phase()
    start = text.index("[tables.KPS_R_POS_SUPPLIER]")
    mine = """[tables.KPS_R_POS_SUPPLIER]
phase = 1
object = "Real_Pos__c"
external_id = "Real_Key__c"
key = ["REAL_KEY"]
partition_column = "REAL_DAY"

[tables.KPS_R_POS_SUPPLIER.columns]
REAL_KEY = { field = "Real_Key__c", type = "text", length = 40 }
REAL_DAY = { field = "Real_Day__c", type = "datetime" }
REAL_NAME = { field = "Real_Name__c", type = "text", length = 12 }
REAL_PRICE = { field = "Real_Price__c", type = "decimal", scale = 3 }
REAL_FLAG = { field = "Real_Flag__c", type = "boolean" }
REAL_DATE = { field = "Real_Date__c", type = "date" }
REAL_STORE = { field = "Real_Store__c", type = "text", length = 10 }
POS_MODEL = { field = "POS_Model__c", type = "text", length = 60 }

[tables.KPS_R_POS_SUPPLIER.lookups]
REAL_STORE = "Store__r.Store_Code__c"

"""
    ended = run("rehearse", "--rows", "6000", folder=project(tmp_path, text[:start] + mine))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "$ luigi --module kpcluigi MigrateAll" in ended.stdout
    assert re.search(r"KPS_R_POS_SUPPLIER +12 +12 +12 +0 +12  PASS", ended.stdout)
    assert re.search(r"3 tables +36 +36 +36 +0 +36  all PASS", ended.stdout)
    assert re.search(r"36 rows in [\d.]+ s, [\d,]+ rows/s", ended.stdout)
    assert re.search(r"took [\d.]+ s of CPU; the largest of them held \d+ MB", ended.stdout)
    assert "PASS: every row of every table is in the org." in ended.stdout

    other = {**tables, "OTHER": tables["KPS_WEB_SALES"]}
    with pytest.raises(ConfigurationError, match="no table OTHER"):
        refuse_unknown_tables(other, TABLES)


def test_the_sales_targets_go_to_a_real_postgresql(tmp_path: Path) -> None:
    ended = run("rehearse", "--sales-target", "--rows", "5000", folder=project(tmp_path, ""))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("$ luigi --module kpcluigi SyncSalesTarget") == 2
    first, second = re.findall(r"mb\.sales_target equals .* 5,000 rows in 1 batches", ended.stdout)
    assert first == second
    assert "nothing to do: mb.sales_target" in ended.stdout
    assert "PASS: mb.sales_target equals APPS.KHS_CUSTOMERS_TRX_TARGETS" in ended.stdout


def test_postgresql_does_not_outlive_who_started_it() -> None:
    code = (
        "from kpcluigi.rehearsal.postgres import PostgresServer\n"
        "import os, signal\n"
        "server = PostgresServer()\n"
        "print(server.postmaster, server.socket, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    postmaster, socket = ended.stdout.split()
    deadline = time.monotonic() + 30
    while psutil.pid_exists(int(postmaster)) or Path(socket).parent.parent.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("rows", ["10", "many"])
def test_a_senseless_size_is_refused(rows: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["rehearse", "--rows", rows])
    assert ended.value.code == 2
    assert "--rows" in capsys.readouterr().err


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


@pytest.mark.long
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
    assert "Automation is on again: KPC_Automation__c" in migrated.stdout
    checked = by_hand("kpcluigi", "check")
    assert checked.returncode == 0, checked.stderr
    assert "Ready: luigi --module kpcluigi MigrateAll" in checked.stdout
    assert "A run switches automation off by KPC_Automation__c" in checked.stdout
    assert "warning  File tracker" not in checked.stdout
    status = by_hand("kpcluigi", "status")
    assert re.search(r"KPS_R_POS_SUPPLIER .* PASS", status.stdout)

    server.send_signal(signal.SIGINT)
    assert server.wait(20) == 0
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []
