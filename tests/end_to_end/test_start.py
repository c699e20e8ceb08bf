"""What is missing is said in one sentence, within seconds, without a traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kpcluigi.rehearsal.run import COMMAND
from tests.commands import Commands

SETTINGS = {
    "KPC_ORACLE_DSN": "127.0.0.1:9/KPC",
    "KPC_ORACLE_USER": "KPC_READER",
    "KPC_ORACLE_PASSWORD": "x",
    "KPC_SALESFORCE_URL": "http://127.0.0.1:9",
    "KPC_SALESFORCE_CLIENT_ID": "x",
    "KPC_SALESFORCE_CLIENT_SECRET": "x",
}
BARE = {k: v for k, v in os.environ.items() if not k.startswith(("KPC_", "LUIGI_"))}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the project's two files; luigid is looked for where nobody listens."""
    for name in ("luigi.cfg", "tables.toml"):
        shutil.copy(name, tmp_path / name)
    cfg = tmp_path / "luigi.cfg"
    # Luigi's lock on the command line must not see the other tests'
    core = f"scheduler_port = 9\nlock_pid_dir = {tmp_path / 'locks'}"
    cfg.write_text(cfg.read_text().replace("scheduler_port = 8082", core))
    return tmp_path


Start = Callable[..., str]


@pytest.fixture
def start(commands: Commands) -> Start:
    """Run the command; return what it said, after checks that hold for every refusal."""

    def start(folder: Path, settings: dict[str, str], *arguments: str) -> str:
        command = [*COMMAND, *arguments]
        environment = {**BARE, **settings}
        return refusal(
            lambda: commands.run(command, environment=environment, folder=folder, timeout=60)
        )

    return start


def refusal(run: Callable[[], subprocess.CompletedProcess[str]]) -> str:
    began = time.monotonic()
    ended = run()
    assert ended.returncode == 1
    assert time.monotonic() - began < 15
    assert "Traceback" not in ended.stderr
    said = [line for line in ended.stderr.splitlines() if line.startswith("kpcluigi: ")]
    assert len(said) == 1, ended.stderr
    return ended.stderr[ended.stderr.index("kpcluigi: ") :]


def test_no_settings_at_all(project: Path) -> None:
    """The script itself is run, as a newcomer types it."""
    said = refusal(
        lambda: subprocess.run(
            COMMAND,
            cwd=project,
            env=BARE,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    )
    assert "set KPC_ORACLE_DSN, KPC_ORACLE_USER, KPC_ORACLE_PASSWORD" in said
    assert "kpcluigi rehearse" in said


def test_no_salesforce_settings(start: Start, project: Path) -> None:
    oracle_only = {k: v for k, v in SETTINGS.items() if "ORACLE" in k}
    said = start(project, oracle_only)
    assert "set KPC_SALESFORCE_URL, KPC_SALESFORCE_CLIENT_ID" in said


def test_no_luigi_cfg(start: Start, tmp_path: Path) -> None:
    said = start(tmp_path, SETTINGS)
    assert "No luigi.cfg in" in said
    assert "export LUIGI_CONFIG_PATH" in said


def test_no_tables_toml(start: Start, project: Path) -> None:
    (project / "tables.toml").unlink()
    assert "tables.toml is missing" in start(project, SETTINGS)


def test_luigid_is_not_running(start: Start, project: Path) -> None:
    said = start(project, SETTINGS)
    assert "luigid does not answer at http://127.0.0.1:9" in said
    assert "luigid --address 127.0.0.1 --port 9" in said


def test_the_check_names_both_ends_and_how_to_start_luigid(project: Path) -> None:
    began = time.monotonic()
    ended = subprocess.run(
        [str(Path(sys.executable).parent / "kpcluigi"), "check"],
        cwd=project,
        env={**BARE, **SETTINGS},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert time.monotonic() - began < 15
    assert "Oracle at 127.0.0.1:9/KPC does not answer" in ended.stderr
    assert "http://127.0.0.1:9 does not answer" in ended.stderr
    assert "luigid --address 127.0.0.1 --port 9" in ended.stdout
    assert "Traceback" not in ended.stderr
    assert not (project / "data").exists(), "it moves and writes nothing"


def test_an_unknown_table(start: Start, project: Path) -> None:
    said = start(project, SETTINGS, "--tables", "KPS_NOBODY")
    assert "KPS_NOBODY: not in tables.toml" in said


def test_a_window_that_ends_before_it_begins(start: Start, project: Path) -> None:
    said = start(project, SETTINGS, "--start-date", "2024-01-01", "--end-date", "2023-01-01")
    assert "ends on 2023-01-01, before 2024-01-01" in said


def test_senseless_settings(start: Start, project: Path) -> None:
    cfg = project / "luigi.cfg"
    text = cfg.read_text("utf-8").replace("retries = 3", "retries = three")
    cfg.write_text(text.replace("poll_interval = 5", "poll_interval = -1"), "utf-8")
    said = start(project, SETTINGS)
    assert "[oracle]" in said
    assert "'three'" in said


def test_a_luigi_cfg_that_hides_failures(start: Start, project: Path) -> None:
    cfg = project / "luigi.cfg"
    cfg.write_text(cfg.read_text("utf-8").replace("task_failed = 30\n", ""), "utf-8")
    assert "luigi.cfg lacks [retcode] task_failed" in start(project, SETTINGS)


def test_every_mistake_of_tables_toml_at_once(start: Start, project: Path) -> None:
    tables = project / "tables.toml"
    text = tables.read_text("utf-8")
    text = text.replace("chunk_size = 500_000", "chunk_size = 12_345", 1)
    text = text.replace('key = ["SALES_ID"]', 'key = ["SALE_ID"]')
    text = text.replace('field = "Net_Amount__c"', 'field = "Tax_Amount__c"')
    text = text.replace('SALES_ID = { field = "External_ID__c"', 'SALES_ID = { field = "Ext__c"')
    text = text.replace("parallel_degree = 8", "paralel_degree = 8", 1)
    text = text.replace(
        'PAYMENT_TYPE = { field = "Payment_Type__c", type = "text"',
        'PAYMENT_TYPE = { field = "Payment_Type__c", type = "txt"',
    )
    tables.write_text(text, "utf-8")
    said = start(project, SETTINGS)
    for expected in (
        "12345 is not a multiple of 10,000",
        "SALE_ID is not among the columns",
        "both map to Tax_Amount__c",
        "no column maps to External_ID__c",
        "paralel_degree: unknown key",
        "unknown type 'txt'",
    ):
        assert expected in said, said
    assert not (project / "data").exists()
