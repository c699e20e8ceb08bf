"""MigrateAll: the root task, and what its process does at the start and at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import luigi

from kpcluigi import report, settings
from kpcluigi.errors import KpcluigiError
from kpcluigi.staging import refuse_stale
from kpcluigi.tasks.base import RunTask, fingerprint, select_tables
from kpcluigi.tasks.reconcile import Reconcile
from kpcluigi.tasks.root import open_run


class MigrateAll(RunTask):
    """Move the selected tables from Oracle to Salesforce and reconcile each.

    Run it again to resume: what is finished is not done again.
    """

    def requires(self) -> Iterator[luigi.Task]:
        for name in self.selected:
            yield Reconcile(table=name, **self.run_parameters)

    def complete(self) -> bool:
        open_run(self._begin)
        return all(task.complete() for task in self.requires())

    def _begin(self) -> Callable[[], None]:
        """Check settings, mapping and what an earlier run left; return what is to be done at exit.

        Luigi forgets the options of its command line before the process ends, so all that the end
        needs is looked up here.
        """
        tables = self.selected
        settings.oracle_login()
        settings.salesforce_login()
        if self.end_date < self.start_date:
            raise KpcluigiError(f"--end-date {self.end_date} is before {self.start_date}")
        settings.staging_root().mkdir(mode=0o700, parents=True, exist_ok=True)
        folder, window = self.run_folder, self.window
        left_out = len(select_tables("")) - len(tables)
        folder.sweep()
        for name, table in tables.items():
            refuse_stale(folder.table(name), fingerprint(table, window))

        def end() -> None:
            summary = report.summarise(folder, list(tables.values()), window, left_out=left_out)
            report.write(folder, summary)
            print(report.last_lines(folder, summary))

        return end
