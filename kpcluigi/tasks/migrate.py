"""MigrateAll: the root task, and what its process does at the start and at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import luigi

from kpcluigi import report, settings
from kpcluigi.errors import StagingError
from kpcluigi.markers import Marker
from kpcluigi.staging import make_private, refuse_stale, write_marker
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
        settings.validate()
        tables = self.selected
        settings.oracle_login()
        settings.salesforce_login()
        folder, window = self.run_folder, self.window
        try:
            make_private(settings.staging_root())
            folder.path.mkdir(parents=True, exist_ok=True)
            write_marker(folder.started, Marker())
        except (OSError, StagingError) as error:
            raise StagingError(
                f"{folder.path} cannot be written to: {error}; see `root` under [staging]"
            ) from None
        left_out = len(select_tables("")) - len(tables)
        folder.sweep()
        for name, table in tables.items():
            refuse_stale(folder.table(name), fingerprint(table, window))

        def end() -> None:
            summary = report.summarise(folder, list(tables.values()), window, left_out=left_out)
            print(report.last_lines(folder, summary), flush=True)
            try:
                report.write(folder, summary)
            except (OSError, StagingError) as error:
                print(f"kpcluigi: the report could not be written: {error}", file=sys.stderr)

        return end
