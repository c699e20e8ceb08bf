"""MigrateAll: the root task, and what its process does at the start and at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import date
from functools import lru_cache

import luigi

from kpcluigi import incremental, report, settings
from kpcluigi.audit import AuditEnd, append, reported_hash
from kpcluigi.errors import AuditError, DiskFullError, StagingError
from kpcluigi.markers import Marker
from kpcluigi.staging import RunFolder, make_private, refuse_stale, write_marker
from kpcluigi.tasks.automation import hold_automation
from kpcluigi.tasks.base import INCREMENTAL, RunTask, fingerprint, org_folder, select_tables
from kpcluigi.tasks.reconcile import Reconcile
from kpcluigi.tasks.root import exit_not_green, open_run


class MigrateAll(RunTask):
    """Move the selected tables from Oracle to Salesforce and reconcile each.

    Run it again to resume: what is finished is not done again.
    """

    full = luigi.BoolParameter(
        significant=False,
        description="Compare every row with the org, not only those of ranges that differ.",
    )

    def requires(self) -> Iterator[luigi.Task]:
        run = self.chosen
        for name in run.selected:
            yield Reconcile(table=name, full=self.full, **run.run_parameters)

    def complete(self) -> bool:
        open_run(self._begin)
        return all(task.complete() for task in self.requires())

    @property
    def chosen(self) -> MigrateAll:
        """This task; where it is to be incremental, that of the increment to work on."""
        if self.mode != INCREMENTAL or self.until:
            return self
        until = _increment_of_this_start(self.start_date, self.tables)
        return MigrateAll(**{**self.run_parameters, "until": until})

    def _begin(self) -> Callable[[], None]:
        """Check settings, mapping and what an earlier run left; return what is to be done at exit.

        Luigi forgets the options of its command line before the process ends, so all that the end
        needs is looked up here.
        """
        settings.validate()
        settings.oracle_login()
        settings.salesforce_login()
        every = select_tables(self.tables)
        try:
            make_private(settings.staging_root())
            run = self.chosen
            run.run_folder.path.mkdir(parents=True, exist_ok=True)
            write_marker(run.run_folder.started, Marker())
        except (OSError, DiskFullError) as error:
            raise StagingError(
                f"{org_folder()} cannot be written to: {error}; see `root` under [staging]"
            ) from None
        restore_automation = hold_automation()
        tables = run.selected
        run.run_folder.sweep()
        for name, table in tables.items():
            refuse_stale(run.run_folder.table(name), fingerprint(table, run.window_of(table)))
        left_out = len(select_tables("")) - len(every)
        return closing(run, left_out=left_out, restore_automation=restore_automation)


def closing(
    run: RunTask, *, restore_automation: Callable[[], str], left_out: int = 0, about: str = ""
) -> Callable[[], None]:
    """What is done at every exit of the root process.

    Args:
        restore_automation: see `hold_automation`.
        left_out: tables of tables.toml that are not part of the run.
        about: the one table that the command is about.
    """
    folder, tables, rows = run.run_folder, list(run.selected.values()), run.rows_in_words
    mapping = report.MappingFile.read(settings.tables_path())

    def end() -> None:
        still_off = restore_automation()
        audit = _audit(folder)
        summary = report.summarise(
            folder,
            tables,
            rows,
            left_out=left_out,
            still_off=still_off,
            audit=audit,
            mapping=mapping,
        )
        if summary.reconciled and not summary.green:
            exit_not_green()
        print(report.last_lines(folder, summary, about=about), flush=True)
        try:
            report.write(folder, summary, about=about)
        except (OSError, StagingError) as error:
            print(f"kpcluigi: the report could not be written: {error}", file=sys.stderr)

    return end


def _audit(folder: RunFolder) -> AuditEnd:
    """Continue the audit. Where it cannot be, the report is written all the same and says why."""
    try:
        return append(folder)
    except (OSError, StagingError) as error:
        if isinstance(error, AuditError):
            exit_not_green()
        return AuditEnd(last_hash=reported_hash(folder), problem=str(error))


@lru_cache(maxsize=1)
def _increment_of_this_start(start: date, tables: str) -> str:
    """Chosen once in a process, and inherited by its children: it does not move on meanwhile."""
    rules = settings.incremental()
    return incremental.open_increment(
        org_folder(),
        select_tables(tables),
        start,
        rules=incremental.Rules(overlap=60 * rules.overlap_minutes, lag=60 * rules.lag_minutes),
        now=incremental.utc_now(),
    )
