"""Preflight: runs at every start, before anything moves."""

from __future__ import annotations

import luigi
import requests

from kpcluigi import preflight, settings
from kpcluigi.errors import ConfigurationError, StagingError
from kpcluigi.markers import Plan, PreflightResult, RunIdentity
from kpcluigi.oracle import connect, retrying
from kpcluigi.staging import read_marker, write_marker
from kpcluigi.tasks.base import ORACLE, RESOURCES, RunTask, salesforce_client, source_owner
from kpcluigi.tasks.root import invocation, luigid_url, rpc


class Preflight(RunTask):
    """Both ends answer and fit the mapping, the disk suffices, luigid has luigi.cfg's limits.

    Its target holds only for one start of the command, hence the parameter.
    """

    invocation = luigi.Parameter(description="The start of the command that it is for.")

    resources = {ORACLE: 1}  # noqa: RUF012  # Luigi's own way to declare them
    priority = 100

    def complete(self) -> bool:
        result = read_marker(self.run_folder.preflight, PreflightResult)
        return result is not None and result.invocation == self.invocation and result.problem == ""

    def run(self) -> None:
        findings = preflight.Findings()
        problem = "interrupted"
        try:
            self.check(findings)
            problem = ""
        except Exception as error:
            problem = str(error)
            raise
        finally:
            result = PreflightResult(
                invocation=self.invocation,
                checks=findings.checks,
                warnings=findings.warnings,
                problem=problem,
            )
            write_marker(self.run_folder.preflight, result)

    def check(self, findings: preflight.Findings) -> None:
        """Make every check. Raises `KpcluigiError` that names all problems found."""
        progress = self.progress()
        folder = self.run_folder
        folder.path.mkdir(parents=True, exist_ok=True)
        preflight.check_limits(configured_limits(), limits_in_luigid(), findings)
        preflight.check_disk(
            folder.path,
            floor=int(settings.staging().min_free_gb * 1e9),
            rows_ahead=self._rows_ahead(),
            findings=findings,
        )
        progress.tell("asking Oracle", 0.2)
        database = self._check_oracle(findings)
        progress.tell("asking Salesforce", 0.6)
        with salesforce_client(progress) as client:
            preflight.check_salesforce(client, self.selected, findings)
            self._check_identity(client.org_id, client.url, database)
        findings.raise_problems()

    def _check_oracle(self, findings: preflight.Findings) -> str:
        login, rules = settings.oracle_login(), settings.oracle()
        owners = {name: source_owner(table) for name, table in self.selected.items()}

        def check() -> tuple[str, preflight.Findings]:
            found = preflight.Findings()
            with connect(
                dsn=login.dsn,
                user=login.user,
                password=login.password,
                module="kpcluigi",
                action="preflight",
                call_timeout=rules.call_timeout,
            ) as connection:
                database = preflight.check_oracle(
                    connection, self.selected, owners, self.window, found
                )
            return database, found

        database, found = retrying(
            check, retries=rules.retries, delay=rules.retry_delay, tell=self.progress().tell
        )
        findings.add(found)
        return database

    def _check_identity(self, org_id: str, url: str, database: str) -> None:
        """The folder of another org or database must not be gone on with."""
        now = RunIdentity(org_id=org_id, org_url=url, oracle_database=database)
        path = self.run_folder.identity
        before = read_marker(path, RunIdentity)
        if before is None:
            write_marker(path, now)
        elif (before.org_id, before.oracle_database) != (now.org_id, now.oracle_database):
            raise StagingError(
                f"{self.run_folder.path} belongs to org {before.org_id} and database "
                f"{before.oracle_database}, but the settings lead to org {now.org_id} and database "
                f"{now.oracle_database}; correct the settings, or set another `root` under "
                f"[staging]"
            )

    def _rows_ahead(self) -> int:
        """Planned rows of the largest phase that have no chunk file yet; 0 before any plan."""
        phases: dict[int, int] = {}
        for name, table in self.selected.items():
            folder = self.run_folder.table(name)
            plan = read_marker(folder.plan, Plan)
            for chunk in plan.chunks if plan else ():
                done = (
                    folder.chunk_manifest(chunk.n).exists() or folder.load_result(chunk.n).exists()
                )
                if not done:
                    phases[table.phase] = phases.get(table.phase, 0) + chunk.rows
        return max(phases.values(), default=0)


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
    try:
        listed = rpc(url, "resource_list")
    except requests.RequestException as error:
        raise ConfigurationError(f"luigid at {url} does not answer: {error}") from error
    return {resource["name"]: int(resource["num_total"]) for resource in listed}
