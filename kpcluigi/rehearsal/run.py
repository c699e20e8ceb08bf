"""What a rehearsal runs on: both ends, luigid, sample data and a configuration for them.

DIR/
  oracle.duckdb  org.duckdb      what the stand-ins serve (the second for a migration only)
  luigi.cfg  tables.toml         the project's own, with local addresses and smaller chunks
  luigi.log  luigid.log          what the two commands print
  data/                          the run, as it would lie in the project's data/
"""

from __future__ import annotations

import configparser
import fcntl
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar, Protocol, Self

from kpcluigi import report
from kpcluigi.errors import ConfigurationError, KpcluigiError
from kpcluigi.oracle import DEFAULT_WINDOW
from kpcluigi.rehearsal.oracle import OracleStandIn
from kpcluigi.rehearsal.postgres import PostgresServer
from kpcluigi.rehearsal.salesforce import SalesforceStandIn
from kpcluigi.rehearsal.salesforce.automations import BYPASS_PERMISSION_SET
from kpcluigi.rehearsal.sample.data import write_oracle
from kpcluigi.rehearsal.sample.org import AUTOMATION_SETTING, write_org
from kpcluigi.rehearsal.sample.own import refuse_unknown_tables
from kpcluigi.rehearsal.sample.schema import TABLES
from kpcluigi.rehearsal.sample.targets import write_targets
from kpcluigi.staging import RunFolder
from kpcluigi.tables import Table, load_tables
from kpcluigi.tasks.process import die_with_parent

COMMAND = ["luigi", "--module", "kpcluigi", "MigrateAll"]
SALES_TARGET_COMMAND = ["luigi", "--module", "kpcluigi", "SyncSalesTarget"]
SMALL_CHUNK = 10_000
CHUNKS = 40
"""What a rehearsal is cut into, about, once it is too large for small chunks."""
ORACLE_USER = "KPC_READER"
OWNER = "TMS"
_OURS = ".kpcluigi-rehearsal"
_SCRIPTS = Path(sys.executable).parent


@dataclass(frozen=True)
class Speed:
    """How patient the two ends and the client are; a rehearsal should not take days."""

    job_latency: float = 0.3
    poll_interval: float = 0.3
    retry_delay: float = 1.0


class Stoppable(Protocol):
    """A server that was started."""

    def stop(self) -> None: ...


class LocalRun:
    """A luigi command and all that it needs, running on 127.0.0.1. Use it as a context manager.

    What differs from command to command is for subclasses to say: the data, the end that rows go
    to, and settings.

    Attributes:
        command: what a user would type.
        oracle: the source; tests drive it by its control port.
        settings: what is to be exported for the command.
        environment: what `luigi` and `luigid` are started with.
    """

    command: ClassVar[list[str]]
    oracle: OracleStandIn

    def __init__(
        self,
        folder: Path,
        rows: int,
        *,
        speed: Speed = Speed(),
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Say what is to be rehearsed; entering the context makes and starts it.

        Args:
            folder: made anew; refused where it is not an earlier rehearsal's.
            rows: sample rows, about.
            tell: receives a line before what takes long.
        """
        self.folder = folder.resolve()
        self.rows = rows
        self.speed = speed
        self.luigid: subprocess.Popen[bytes] | None = None
        self._tell = tell
        self._started: list[Stoppable] = []

    @property
    def visualiser(self) -> str:
        return f"http://127.0.0.1:{self.luigid_port}"

    def __enter__(self) -> Self:
        """Make data and configuration, start the servers and luigid.

        Raises:
            ConfigurationError: luigi.cfg or tables.toml is not here or does not fit the sample
                data, or the folder is somebody else's.
        """
        self._check_project()
        self._lock = _claim(self.folder)
        try:
            self._make_data()
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _check_project(self) -> None:
        """Raises `ConfigurationError` unless this is the project's folder."""
        for name in ("luigi.cfg", "tables.toml"):
            if not Path(name).is_file():
                raise ConfigurationError(
                    f"No {name} in {Path.cwd()}: run `kpcluigi rehearse` in the project's folder"
                )

    def _make_data(self) -> None:
        """Make `oracle.duckdb`, and what else is served."""
        raise NotImplementedError

    def _start_target(self) -> dict[str, str]:
        """Start the end that rows go to; what is to be exported for it."""
        raise NotImplementedError

    def _own_cfg(self) -> dict[str, dict[str, object]]:
        """What differs from the project's luigi.cfg for this command."""
        return {}

    def _start(self) -> None:
        password = secrets.token_urlsafe(12)
        self.oracle = OracleStandIn(
            self.folder / "oracle.duckdb", user=ORACLE_USER, password=password
        )
        self._started.append(self.oracle)
        self.luigid_port = _free_port()
        self.settings = {
            "LUIGI_CONFIG_PATH": str(self.folder / "luigi.cfg"),
            "KPC_ORACLE_DSN": self.oracle.dsn,
            "KPC_ORACLE_USER": ORACLE_USER,
            "KPC_ORACLE_PASSWORD": password,
            **self._start_target(),
        }
        self._write_cfg()
        self.environment = {
            **os.environ,
            **self.settings,
            "PATH": f"{_SCRIPTS}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        self.start_luigid()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.luigid is not None:
            self.luigid.kill()
            self.luigid.wait()
        for server in reversed(self._started):
            server.stop()
        self._lock.close()

    def start_luigid(self) -> None:
        """Start luigid, or start it again, and wait until it answers."""
        with (self.folder / "luigid.log").open("ab") as log:
            self.luigid = subprocess.Popen(
                ["luigid", "--address", "127.0.0.1", "--port", str(self.luigid_port)],
                env=self.environment,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
                start_new_session=True,
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.luigid.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.luigid_port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise KpcluigiError(f"luigid did not start; see {self.folder / 'luigid.log'}")

    def start(self, *arguments: str, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start the command as a user would, with further `arguments`."""
        return subprocess.Popen(
            [*self.command, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent,
        )

    def _write_cfg(self) -> None:
        """The project's luigi.cfg, with what differs here."""
        parser = configparser.ConfigParser(interpolation=None)
        parser.read("luigi.cfg", encoding="utf-8")
        here: dict[str, dict[str, object]] = {
            "staging": {"root": self.folder / "data", "min_free_gb": 0.5},
            "oracle": {"schema": OWNER, "retry_delay": self.speed.retry_delay},
            "core": {
                "scheduler_host": "127.0.0.1",
                "scheduler_port": self.luigid_port,
                # Luigi's own lock knows only the command line, which all rehearsals share
                "lock_pid_dir": self.folder / "locks",
            },
            "scheduler": {"state_path": self.folder / "luigid-state.pickle"},
            **self._own_cfg(),
        }
        for section, values in here.items():
            for name, value in values.items():
                parser.set(section, name, str(value))
        with (self.folder / "luigi.cfg").open("w", encoding="utf-8") as file:
            file.write("# Made from the project's luigi.cfg by `kpcluigi rehearse`.\n")
            parser.write(file)


class Rehearsal(LocalRun):
    """Everything a migration needs.

    Attributes:
        salesforce: the stand-in; tests drive it by its control port.
        tables: those of tables.toml, as the run has them.
        rows_in_window: what each of them has to carry.
    """

    command = COMMAND
    salesforce: SalesforceStandIn

    @property
    def run_folder(self) -> RunFolder:
        name = f"full_{DEFAULT_WINDOW.start}_{DEFAULT_WINDOW.end}"
        return RunFolder(self.folder / "data" / "127.0.0.1" / name)

    def summary(self) -> report.RunSummary:
        """The run as its markers tell it."""
        return report.summarise(self.run_folder, list(self.tables.values()), str(DEFAULT_WINDOW))

    def _check_project(self) -> None:
        super()._check_project()
        refuse_unknown_tables(load_tables(Path("tables.toml")), TABLES)

    def _make_data(self) -> None:
        self._tell(f"making sample data for about {self.rows:,} rows in {self.folder}")
        _write_tables(Path("tables.toml"), self.folder / "tables.toml", self.rows)
        self.tables: dict[str, Table] = load_tables(self.folder / "tables.toml")
        made = write_oracle(self.folder / "oracle.duckdb", self.rows, tables=self.tables)
        self.rows_in_window = {name: made[name] for name in self.tables}
        write_org(self.folder / "org.duckdb", self.tables)

    def _start_target(self) -> dict[str, str]:
        client_secret = secrets.token_urlsafe(24)
        self.salesforce = SalesforceStandIn(
            self.folder / "org.duckdb",
            client_id="kpcluigi-rehearsal",
            client_secret=client_secret,
            latency=self.speed.job_latency,
        )
        self._started.append(self.salesforce)
        return {
            "KPC_SALESFORCE_URL": self.salesforce.url,
            "KPC_SALESFORCE_CLIENT_ID": "kpcluigi-rehearsal",
            "KPC_SALESFORCE_CLIENT_SECRET": client_secret,
        }

    def _own_cfg(self) -> dict[str, dict[str, object]]:
        return {
            "migration": {"tables": self.folder / "tables.toml"},
            "salesforce": {
                "poll_interval": self.speed.poll_interval,
                "retry_delay": self.speed.retry_delay,
            },
            "automation": {
                "custom_setting": AUTOMATION_SETTING.name,
                "custom_setting_fields": "Bypass_All__c",
                "permission_set": BYPASS_PERMISSION_SET,
            },
        }


class SalesTargetRehearsal(LocalRun):
    """Everything SyncSalesTarget needs. No Salesforce.

    Attributes:
        postgres: a real server.
    """

    command = SALES_TARGET_COMMAND
    postgres: PostgresServer

    def _make_data(self) -> None:
        self._tell(f"making {self.rows:,} sales targets in {self.folder}")
        write_targets(self.folder / "oracle.duckdb", self.rows)

    def _start_target(self) -> dict[str, str]:
        self.postgres = PostgresServer()
        self._started.append(self.postgres)
        return {"KPC_POSTGRES_URL": self.postgres.url}

    def _own_cfg(self) -> dict[str, dict[str, object]]:
        return {"sales_target": {"retry_delay": self.speed.retry_delay}}


def _claim(folder: Path) -> IO[str]:
    """Empty the folder if an earlier rehearsal made it, and hold it until this process ends."""
    ours = folder / _OURS
    try:
        if folder.exists() and any(folder.iterdir()) and not ours.exists():
            raise ConfigurationError(
                f"{folder} is not empty and was not made by a rehearsal; name another with --dir"
            )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = ours.open("a")
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be used: {error}; see --dir") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ConfigurationError(
            f"Another rehearsal is at work in {folder}; name another folder with --dir"
        ) from None
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path != ours:
            path.unlink()
    return lock


def _write_tables(source: Path, target: Path, rows: int) -> None:
    """The project's tables.toml with small chunks, so that there is something to watch."""
    text = source.read_text(encoding="utf-8")
    size = max(SMALL_CHUNK, rows // CHUNKS // SMALL_CHUNK * SMALL_CHUNK)
    small = re.sub(r"(?m)^(chunk_size\s*=\s*)[\d_]+", rf"\g<1>{size}", text)
    target.write_text(small, encoding="utf-8")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
