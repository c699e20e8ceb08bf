"""Repair: rows that the org does not have as they were sent, sent again, and reconciled again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import luigi

from kpcluigi import settings
from kpcluigi.errors import StagingError
from kpcluigi.load import RepairLoad, open_repair, repair_under_way, standing, to_repair
from kpcluigi.markers import Plan, Reconciled, RepairSource
from kpcluigi.staging import read_marker, refuse_stale
from kpcluigi.tasks.automation import hold_automation
from kpcluigi.tasks.load import LoadTask
from kpcluigi.tasks.migrate import closing
from kpcluigi.tasks.preflight import this_preflight
from kpcluigi.tasks.reconcile import Reconcile
from kpcluigi.tasks.root import invocation, open_run


class Repair(LoadTask):
    """Send missing and modified rows of one table again, and reconcile it again.

    Which they are, the last reconciliation has named. Rows that were changed in Salesforce since
    they were loaded are left alone unless --changed-too is given; rows that only Salesforce has are
    listed, and never deleted. Done when the table reconciles.
    """

    changed_too = luigi.BoolParameter(
        significant=False,
        description="Undo changes as well that were made in Salesforce since the rows were loaded.",
    )

    stage = "repair"
    priority = 50

    def requires(self) -> luigi.Task:
        return this_preflight(self)

    def complete(self) -> bool:
        open_run(self._begin)
        if repair_under_way(self.folder) is not None or not self._reconcile.complete():
            return False
        done = read_marker(self.folder.reconciled, Reconciled)
        changed = done.rows.changed_since if done is not None and done.rows is not None else 0
        return not (self.changed_too and changed)

    @property
    def _reconcile(self) -> Reconcile:
        return Reconcile(**self.table_parameters)

    def run(self) -> Iterator[Any]:
        with self.folder.retry_lock():
            self._send()
        yield self._reconcile

    def _send(self) -> None:
        attempt = open_repair(
            self.folder, self.mapping, changed_too=self.changed_too, invocation=invocation()
        )
        if attempt is not None:
            source = read_marker(self.folder.repair_source(attempt), RepairSource)
            self.send_attempt("repair", RepairLoad, attempt, source.rows if source else 0)

    def _begin(self) -> Callable[[], None]:
        """Check the settings and that there is something to repair; return what is done at exit."""
        settings.validate()
        settings.salesforce_login()
        settings.oracle_login()
        plan = read_marker(self.folder.plan, Plan)
        if plan is None or not standing(self.folder, plan).is_loaded:
            raise StagingError(
                f"{self.table}: it is not loaded yet, so that there is nothing to repair; run "
                f"MigrateAll first"
            )
        refuse_stale(self.folder, self.fingerprint)
        self._require_named_rows()
        return closing(self, restore_automation=hold_automation(), about=self.table)

    def _require_named_rows(self) -> None:
        """Raises `StagingError` where a repair has nothing to go by."""
        done = read_marker(self.folder.reconciled, Reconciled)
        if done is None or done.verdict == "PASS" or repair_under_way(self.folder) is not None:
            return
        if done.rows is None:
            why = "; ".join(done.not_checked) or "its rows were not compared"
            raise StagingError(
                f"{self.table}: what differs cannot be repaired row by row: {why}. See "
                f"{self.folder.reconciled}"
            )
        if not to_repair(self.folder, changed_too=self.changed_too) and not self.changed_too:
            kinds = f"{done.rows.extra:,} extra, {done.rows.changed_since:,} changed since"
            raise StagingError(
                f"{self.table}: no row is missing or modified ({kinds}); see "
                f"{self.folder.differences}. --changed-too undoes changes that were made in "
                f"Salesforce since; extra records are left to you"
            )
