"""The `luigi` command of a test, and what can be seen of it from outside."""

from __future__ import annotations

import configparser
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import oracledb
import psutil

from kpcluigi.rehearsal.run import COMMAND, Rehearsal
from kpcluigi.salesforce import Client, ClientCredentials, count, query
from kpcluigi.tasks.root import rpc
from tests.commands import Command, Commands

PLAIN = {
    "tracker": {"object": ""},
    "automation": {"custom_setting": "", "custom_setting_fields": "", "permission_set": ""},
    "migration": {"sample_rows": "50"},
}
"""Settings of a plain run. Luigi takes an empty value from a file only, not from an option."""
CHANGES = ("INSERT", "UPDATE", "DELETE")


@dataclass
class Finished:
    """How a luigi command ended."""

    code: int
    output: str
    seconds: float


@dataclass
class Migration:
    """The `luigi` command of one test, against the shared rehearsal, in a run folder of its own."""

    rehearsal: Rehearsal
    commands: Commands
    root: Path
    tables: str = ""
    running: list[Command | subprocess.Popen[bytes]] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    """Environment variables, instead of the rehearsal's."""
    plain: bool = True
    """Without file tracker and automation, and with a small sample: they cost each run time."""
    typed: bool = False
    """The script `luigi` is started, as a user does; else its process is forked."""

    @property
    def folder(self) -> Path:
        (run,) = self.folders()
        return run

    def folders(self, pattern: str = "*") -> list[Path]:
        """The folders of its runs, oldest first."""
        return sorted(p for p in (self.root / "127.0.0.1").glob(pattern) if p.is_dir())

    def start(self, *arguments: str, task: str = "MigrateAll") -> Command | subprocess.Popen[bytes]:
        command = [
            *COMMAND[:-1],
            task,
            *(["--tables", self.tables] if self.tables else []),
            "--staging-root",
            str(self.root),
            *arguments,
        ]
        environment = {**self.rehearsal.environment, **self.settings}
        if self.plain:
            environment["LUIGI_CONFIG_PATH"] = str(plain_cfg(self.rehearsal))
        process: Command | subprocess.Popen[bytes]
        with (self.root.parent / "luigi.log").open("ab") as log:
            if self.typed:
                process = subprocess.Popen(
                    command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            else:
                output = log.fileno()
                process = self.commands.start(
                    command, environment=environment, stdout=output, stderr=output
                )
        self.running.append(process)
        return process

    def run(self, *arguments: str, task: str = "MigrateAll", timeout: float = 120) -> Finished:
        began = time.monotonic()
        before = len(self.output)
        code = self.start(*arguments, task=task).wait(timeout)
        return Finished(code, self.output[before:], time.monotonic() - began)

    @property
    def output(self) -> str:
        path = self.root.parent / "luigi.log"
        return path.read_text("utf-8", errors="replace") if path.exists() else ""

    def marker(self, *path: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.folder.joinpath(*path).read_text("utf-8"))
        return content

    def verdicts(self) -> dict[str, str]:
        return {
            path.parent.name: json.loads(path.read_text("utf-8"))["verdict"]
            for path in self.folder.glob("*/reconciled.json")
        }

    def wait_for(self, what: str, condition: Callable[[], Any], timeout: float = 60) -> Any:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if found := condition():
                return found
            time.sleep(0.02)
        raise AssertionError(f"{what} did not happen within {timeout} s\n{self.output[-3000:]}")

    def child_running(self, task: str, n: int | None = None) -> int | None:
        """Process id of a child that runs this task (of chunk n) now, from the worker's own log."""
        chunk = "" if n is None else rf".*\bn={n}\)"
        pids = re.findall(rf"\[pid (\d+)\] Worker .* running   {task}\({chunk}", self.output)
        alive = [int(pid) for pid in pids if psutil.pid_exists(int(pid))]
        return alive[-1] if alive else None

    def status_message(self, task: str) -> str:
        """What the visualiser shows of the only running task of that name; empty while nothing."""
        url = self.rehearsal.visualiser
        running = rpc(url, "task_list", status="RUNNING", upstream_status="", search=task)
        (task_id,) = [name for name in running if name.startswith(task)] or [""]
        found = rpc(url, "get_task_status_message", task_id=task_id)
        return found["statusMessage"] or ""

    def in_org(self, sobject: str, where: str) -> int:
        """Rows of the org, counted past the command under test."""
        with self.client() as client:
            return count(client, sobject, where=where)

    def records(self, soql: str) -> list[dict[str, Any]]:
        """Records of the org, read past the command under test."""
        with self.client() as client:
            return list(query(client, soql))

    def delete(self, sobject: str, field: str, key: str) -> None:
        """A record is deleted in the org, past the command under test."""
        with self.client() as client:
            client.call("DELETE", f"/sobjects/{sobject}/{field}/{key}")

    def client(self) -> Client:
        """A client of the org, past the command under test."""
        settings = self.rehearsal.settings
        credentials = ClientCredentials(
            settings["KPC_SALESFORCE_CLIENT_ID"], settings["KPC_SALESFORCE_CLIENT_SECRET"]
        )
        return Client(settings["KPC_SALESFORCE_URL"], credentials=credentials)

    @contextmanager
    def source(self) -> Iterator[oracledb.Cursor]:
        """A session of somebody else's in Oracle; what it does is committed at the end."""
        settings = self.rehearsal.settings
        for table in self.tables.split(","):
            self.rehearsal.oracle.grant(*(f"{verb} TMS.{table}" for verb in CHANGES))
        with oracledb.connect(
            dsn=settings["KPC_ORACLE_DSN"],
            user=settings["KPC_ORACLE_USER"],
            password=settings["KPC_ORACLE_PASSWORD"],
        ) as connection:
            with connection.cursor() as cursor:
                yield cursor
            connection.commit()

    def extractions(self, since: int) -> list[str]:
        """The actions under which chunks were read from Oracle since that log entry."""
        return sorted(
            {
                entry["action"]
                for entry in self.rehearsal.oracle.log(since)
                if (entry["action"] or "").startswith("extract ")
            }
        )


def plain_cfg(rehearsal: Rehearsal) -> Path:
    """The rehearsal's luigi.cfg with the settings of a plain run; made where it is missing."""
    path = rehearsal.folder / "plain.cfg"
    if not path.exists():
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(rehearsal.folder / "luigi.cfg", encoding="utf-8")
        for section, values in PLAIN.items():
            for name, value in values.items():
                parser.set(section, name, value)
        with path.open("w", encoding="utf-8") as file:
            parser.write(file)
    return path


def pids_of(process: Command | subprocess.Popen[bytes]) -> list[int]:
    """The process and all its descendants."""
    parent = psutil.Process(process.pid)
    return [parent.pid, *(child.pid for child in parent.children(recursive=True))]


def all_gone(pids: list[int]) -> bool:
    return not any(
        psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        for pid in pids
    )


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
