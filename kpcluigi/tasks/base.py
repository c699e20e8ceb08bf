"""What the tasks of a run share: its parameters, its folder, and the record of a failure."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import luigi

from kpcluigi import incremental, settings
from kpcluigi.errors import ConfigurationError, KpcluigiError
from kpcluigi.markers import Failure, IncrementScope, Plan
from kpcluigi.oracle import DEFAULT_WINDOW, AnyWindow, Window
from kpcluigi.salesforce import Client, ClientCredentials, Tracker
from kpcluigi.staging import RunFolder, TableFolder, read_marker, write_marker
from kpcluigi.tables import Table, load_tables
from kpcluigi.tasks.progress import Progress
from kpcluigi.tasks.root import invocation

ORACLE = "oracle"
SALESFORCE = "salesforce"
SALESFORCE_QUERY = "salesforce_query"
RESOURCES = (ORACLE, SALESFORCE, SALESFORCE_QUERY)
"""What the tasks claim of `[resources]`; a table's own limit is `extract_<table>` there."""


FULL = "full"
INCREMENTAL = "incremental"


class RunTask(luigi.Task):
    """A task of one run: an org, a mode, a window, a selection of tables."""

    start_date = luigi.DateParameter(
        default=DEFAULT_WINDOW.start, description="First day of the window."
    )
    end_date = luigi.DateParameter(
        default=DEFAULT_WINDOW.end, description="Last day of the window; it is included."
    )
    mode = luigi.ChoiceParameter(
        choices=[FULL, INCREMENTAL],
        default=FULL,
        description="full: the window. incremental: what changed since each table's last good run.",
    )
    until = luigi.Parameter(
        default="", description="The increment, named by its end; MigrateAll chooses it."
    )
    tables = luigi.Parameter(
        default="",
        significant=False,
        description="Comma-separated tables of tables.toml; empty: all of them.",
    )

    @property
    def run_folder(self) -> RunFolder:
        if self.mode == INCREMENTAL:
            return incremental.increment_folder(org_folder(), self.start_date, self.until)
        return full_folder(Window(self.start_date, self.end_date))

    @property
    def selected(self) -> dict[str, Table]:
        """The tables of this run, in the order of their phases."""
        tables = select_tables(self.tables)
        if self.mode == FULL:
            return tables
        carried = self._scope.since
        return {name: table for name, table in tables.items() if name in carried}

    @property
    def rows_in_words(self) -> str:
        """Which rows the run moves, for people."""
        if self.mode == FULL:
            return str(Window(self.start_date, self.end_date))
        return str(self._scope)

    def window_of(self, table: Table) -> AnyWindow:
        """The rows of a table that this run moves."""
        if self.mode == FULL:
            return Window(self.start_date, self.end_date)
        return incremental.window_of(self._scope, table)

    @property
    def _scope(self) -> IncrementScope:
        return _read_scope(self.run_folder)

    @property
    def run_parameters(self) -> dict[str, Any]:
        """What every task of the run is told, whatever else it is told."""
        return {
            "start_date": self.start_date,
            "end_date": self.end_date,
            "mode": self.mode,
            "until": self.until,
            "tables": self.tables,
        }

    def progress(self) -> Progress:
        return Progress(self)


class TableTask(RunTask):
    """A task of one table; a failure leaves `failed/STAGE.json` until the task succeeds."""

    table = luigi.Parameter(description="Name of the table in tables.toml.")

    stage = ""
    """The task's name among the table's failures."""

    @property
    def mapping(self) -> Table:
        return table_named(self.table)

    @property
    def folder(self) -> TableFolder:
        return self.run_folder.table(self.table)

    @property
    def window(self) -> AnyWindow:
        return self.window_of(self.mapping)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.mapping, self.window)

    @property
    def table_parameters(self) -> dict[str, Any]:
        return {**self.run_parameters, "table": self.table}

    @property
    def chunk_number(self) -> int | None:
        """The chunk that the task is about, where it is about one."""
        return None

    def plan(self) -> Plan:
        """The table's plan. Raises `KpcluigiError` when it is gone."""
        plan = read_marker(self.folder.plan, Plan)
        if plan is None:
            raise KpcluigiError(f"{self.folder.plan} is gone; run the same command again")
        return plan

    def on_failure(self, exception: BaseException) -> Any:
        """Leave the reason where the last lines, the report and `kpcluigi status` find it."""
        failure = Failure(
            table=self.table,
            stage=self.stage,
            n=self.chunk_number,
            invocation=invocation(),
            error=type(exception).__name__,
            message=str(exception) or type(exception).__name__,
        )
        write_marker(self.folder.failure(self.stage, self.chunk_number), failure)
        return super().on_failure(exception)

    def on_success(self) -> Any:
        self.folder.failure(self.stage, self.chunk_number).unlink(missing_ok=True)
        return super().on_success()


def org_folder() -> Path:
    """data/ORG: all runs into one org."""
    return settings.staging_root() / settings.org_name()


def full_folder(window: Window) -> RunFolder:
    """data/ORG/full_START_END."""
    return RunFolder(org_folder() / f"full_{window.start}_{window.end}")


def fingerprint(table: Table, window: AnyWindow) -> str:
    """Of all that changes the bytes of this table's chunks."""
    return table.fingerprint(str(window), window.condition(table), source_owner(table))


def source_owner(table: Table) -> str:
    """The Oracle schema of a table: its own, the setting's, or the user's."""
    return (table.owner or settings.oracle().schema or settings.oracle_login().user).upper()


def table_named(name: str) -> Table:
    """Raises `ConfigurationError` where tables.toml does not know the name."""
    return select_tables(name)[name]


def select_tables(names: str) -> dict[str, Table]:
    """The named tables of tables.toml, or all of them, in the order of their phases."""
    path = settings.tables_path()
    every = _tables(path, path.stat().st_mtime_ns if path.exists() else 0)
    wanted = [name.strip().upper() for name in names.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in every]:
        raise ConfigurationError(
            f"{', '.join(unknown)}: not in {path}; it has {', '.join(sorted(every))}"
        )
    return {name: table for name, table in every.items() if not wanted or name in wanted}


@lru_cache(maxsize=4)
def _read_scope(folder: RunFolder) -> IncrementScope:
    """Read once: it is written when the increment begins and never changed."""
    return incremental.read_scope(folder)


@lru_cache(maxsize=4)
def _tables(path: Path, changed: int) -> dict[str, Table]:
    return load_tables(path)


def salesforce_client(tell: Callable[[str], None], *, retries: int | None = None) -> Client:
    """A client of the configured org. Open it in the process that uses it.

    Args:
        tell: receives a line before each wait.
        retries: instead of the setting's.
    """
    login, rules = settings.salesforce_login(), settings.salesforce()
    return Client(
        login.url,
        credentials=ClientCredentials(login.client_id, login.client_secret),
        api_version=rules.api_version,
        timeout=rules.timeout,
        retries=rules.retries if retries is None else retries,
        retry_delay=rules.retry_delay,
        tell=tell,
    )


_TRACKER_SECONDS = 5.0


def file_tracker(tell: Callable[[str], None]) -> Tracker:
    """The file tracker of the settings, with a client of its own that is not patient.

    Args:
        tell: receives one line when it does not work.
    """
    rules = settings.tracker_rules()
    if not rules.object:
        return Tracker(None, rules, tell)
    login, org = settings.salesforce_login(), settings.salesforce()
    client = Client(
        login.url,
        credentials=ClientCredentials(login.client_id, login.client_secret),
        api_version=org.api_version,
        timeout=min(org.timeout, _TRACKER_SECONDS),
        connect_timeout=_TRACKER_SECONDS,
        retries=0,
    )
    return Tracker(client, rules, tell)
