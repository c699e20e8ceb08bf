"""Preflight: runs at every start, before anything moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import luigi
import oracledb

from kpcluigi import automation, preflight, settings
from kpcluigi.errors import ConfigurationError, OracleError, SalesforceError, StagingError
from kpcluigi.markers import Plan, PreflightResult, RunIdentity
from kpcluigi.oracle import Window, connect, retrying
from kpcluigi.orphans import WARN_AFTER, find_orphans, in_words
from kpcluigi.salesforce import Client
from kpcluigi.salesforce.tracker import missing_fields
from kpcluigi.staging import make_private, read_marker, write_marker
from kpcluigi.tasks.base import (
    ORACLE,
    RESOURCES,
    RunTask,
    org_folder,
    salesforce_client,
    select_tables,
    source_owner,
)
from kpcluigi.tasks.root import invocation, luigid_url, require_luigid, rpc


class Preflight(RunTask):
    """Both ends answer and fit the mapping, the disk suffices, luigid has luigi.cfg's limits.

    Its target holds only for one start of the command, hence the parameter.
    """

    invocation = luigi.Parameter(description="The start of the command that it is for.")

    resources = {ORACLE: 1}  # noqa: RUF012  # Luigi's own way to declare them
    priority = 100

    def complete(self) -> bool:
        result = read_marker(self._marker, PreflightResult)
        return result is not None and result.problem == ""

    @property
    def _marker(self) -> Path:
        return self.run_folder.preflight(self.invocation)

    def run(self) -> None:
        make_private(settings.staging_root())
        findings = preflight.Findings()
        problem = "interrupted"
        try:
            identity = self.check(findings, tell=self.progress().tell)
            self._bind_folder(identity)
            self._switch_automation_off(findings)
            problem = ""
        except Exception as error:
            problem = str(error)
            raise
        finally:
            write_marker(
                self._marker,
                PreflightResult(
                    invocation=self.invocation,
                    checks=findings.checks,
                    warnings=findings.warnings,
                    problem=problem,
                ),
            )

    def check(
        self,
        findings: preflight.Findings,
        *,
        tell: Callable[[str], None],
        interactive: bool = False,
    ) -> RunIdentity:
        """Make every check and write nothing. Returns the two ends that were found.

        Args:
            tell: receives a line before each wait.
            interactive: somebody waits for the answer: an end that does not answer is a problem
                at once, and luigid may be down.

        Raises:
            KpcluigiError: all problems that were found.
        """
        folder = self.run_folder.path
        try:
            preflight.check_limits(configured_limits(), limits_in_luigid(), findings)
        except ConfigurationError as error:
            found = findings.warnings if interactive else findings.problems
            found.append(str(error))
        database = org_id = ""
        statistics: dict[str, int] = {}
        try:
            retries = 0 if interactive else settings.oracle().retries
            database, statistics = self._check_oracle(findings, tell, retries)
        except (OracleError, ConfigurationError) as error:
            findings.problems.append(str(error))
        preflight.check_disk(
            next(path for path in (folder, *folder.parents) if path.exists()),
            floor=int(settings.staging().min_free_gb * 1e9),
            rows_ahead=self._rows_ahead(statistics),
            findings=findings,
        )
        url = settings.salesforce_login().url
        try:
            retries = 0 if interactive else settings.salesforce().retries
            with salesforce_client(tell, retries=retries) as client:
                preflight.check_salesforce(client, self.selected, findings)
                org_id = client.org_id
                automation.check_automation(client, settings.automation_rules(), findings)
                _warn_of_tracker(client, findings)
                _warn_of_orphans(client, findings)
        except SalesforceError as error:
            findings.problems.append(str(error))
        identity = RunIdentity(org_id=org_id, org_url=url, oracle_database=database)
        if database and org_id:
            self._check_identity(identity, findings)
        findings.raise_problems()
        return identity

    def _switch_automation_off(self, findings: preflight.Findings) -> None:
        """The last thing before rows move. The root process puts it back at its exit."""
        rules = settings.automation_rules()
        if not rules.active:
            return
        tell = self.progress().tell
        tell(f"switching automation off by {rules}")
        with salesforce_client(tell) as client:
            found = automation.switch_off(client, rules, org_folder(), invocation=self.invocation)
        findings.add(found)

    def _check_oracle(
        self, findings: preflight.Findings, tell: Callable[[str], None], retries: int
    ) -> tuple[str, dict[str, int]]:
        """Returns the database's name, and rows per table by its statistics."""
        login, rules = settings.oracle_login(), settings.oracle()
        owners = {name: source_owner(table) for name, table in self.selected.items()}
        windows = {name: self.window_of(table) for name, table in self.selected.items()}

        def check() -> tuple[str, dict[str, int], preflight.Findings]:
            found = preflight.Findings()
            with connect(
                dsn=login.dsn,
                user=login.user,
                password=login.password,
                module="kpcluigi",
                action="preflight",
                login_timeout=rules.login_timeout,
                call_timeout=rules.call_timeout,
                client_dir=rules.thick_client_dir,
            ) as connection:
                database = preflight.check_oracle(connection, self.selected, owners, windows, found)
                return database, preflight.rows_by_statistics(connection, owners), found

        try:
            database, statistics, found = retrying(
                check, retries=retries, delay=rules.retry_delay, tell=tell
            )
        except (oracledb.Error, TimeoutError) as error:
            raise OracleError(
                f"Oracle at {login.dsn} does not answer as it should: {error}; check "
                f"KPC_ORACLE_DSN and the network"
            ) from error
        findings.add(found)
        return database, statistics

    def _check_identity(self, now: RunIdentity, findings: preflight.Findings) -> None:
        """The folder of another org or database must not be gone on with."""
        path = self.run_folder.identity
        before = read_marker(path, RunIdentity)
        if before and (before.org_id, before.oracle_database) != (now.org_id, now.oracle_database):
            findings.problems.append(
                f"{self.run_folder.path} belongs to org {before.org_id} and database "
                f"{before.oracle_database}, but the settings lead to org {now.org_id} and database "
                f"{now.oracle_database}; correct the settings, or set another `root` under "
                f"[staging]. ({path} says so)"
            )

    def _bind_folder(self, identity: RunIdentity) -> None:
        if read_marker(self.run_folder.identity, RunIdentity) is None:
            write_marker(self.run_folder.identity, identity)

    def _rows_ahead(self, statistics: Mapping[str, int]) -> int:
        """Rows of the largest phase that are not staged yet: planned, or else by statistics."""
        phases: dict[int, int] = {}
        for name, table in self.selected.items():
            folder = self.run_folder.table(name)
            plan = read_marker(folder.plan, Plan)
            whole = isinstance(self.window_of(table), Window)
            ahead = statistics.get(name, 0) if whole else 0
            if plan is not None:
                staged = (folder.chunk_manifest, folder.load_result)
                ahead = sum(
                    plan.rows_of(chunk.n)
                    for chunk in plan.chunks
                    if not any(path(chunk.n).exists() for path in staged)
                )
            phases[table.phase] = phases.get(table.phase, 0) + ahead
        return max(phases.values(), default=0)


def _warn_of_tracker(client: Client, findings: preflight.Findings) -> None:
    try:
        missing = missing_fields(client, settings.tracker_rules())
    except SalesforceError as error:
        missing = [str(error)]
    if missing:
        findings.warnings.append(
            f"File tracker (it fails no load): {'; '.join(missing)}. Put it right in the org or "
            f"under [tracker]; an empty `object` switches it off"
        )


def _warn_of_orphans(client: Client, findings: preflight.Findings) -> None:
    objects = {table.object for table in select_tables("").values()}
    try:
        orphans = find_orphans(
            client, org_folder(), objects, older_than=WARN_AFTER, now=datetime.now(UTC)
        )
    except (SalesforceError, StagingError) as error:
        findings.warnings.append(f"Orphan jobs: {error}")
        return
    if orphans:
        findings.warnings.append(in_words(orphans))


def this_preflight(task: RunTask) -> Preflight:
    """The preflight of this start of the command, for a task's requires()."""
    return Preflight(invocation=invocation(), **task.run_parameters)


def configured_limits() -> dict[str, int]:
    """`[resources]` of luigi.cfg. Raises `ConfigurationError` where one of ours is missing."""
    section = luigi.configuration.get_config().getintdict("resources")
    limits = {str(name): int(amount) for name, amount in section.items()}
    if missing := [name for name in RESOURCES if name not in limits]:
        raise ConfigurationError(
            f"luigi.cfg has no limit for {', '.join(missing)}: add it under [resources], "
            f"otherwise Luigi runs such tasks one at a time"
        )
    return limits


def limits_in_luigid() -> dict[str, int] | None:
    """What luigid enforces; None with a local scheduler.

    Raises:
        ConfigurationError: luigid does not answer.
    """
    url = luigid_url()
    if url is None:
        return None
    require_luigid(url)
    listed = rpc(url, "resource_list")
    return {resource["name"]: int(resource["num_total"]) for resource in listed}
