"""RetryFailed: the dead-lettered rows of a table, sent again, and the table reconciled again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import luigi

from kpcluigi import settings
from kpcluigi.errors import StagingError, TooManyFailedRowsError
from kpcluigi.load import RetryLoad, open_attempt, standing, under_way
from kpcluigi.markers import Plan, RetrySource
from kpcluigi.staging import read_marker, refuse_stale
from kpcluigi.tasks.automation import hold_automation
from kpcluigi.tasks.load import LoadTask, remedy
from kpcluigi.tasks.migrate import closing
from kpcluigi.tasks.preflight import this_preflight
from kpcluigi.tasks.reconcile import Reconcile
from kpcluigi.tasks.root import invocation, open_run


class RetryFailed(LoadTask):
    """Send the dead-lettered rows of one table again, and reconcile it again.

    Nothing else is sent. Each attempt leaves a marker, `retries/0000k.json`. Done when the dead
    letter is empty and the table, if all of it is loaded, reconciles.
    """

    corrected = luigi.Parameter(
        default="",
        significant=False,
        description="A copy of a dead letter (CSV, plain or gzip) with its rows corrected; only "
        "they are sent. Without it all are sent as they are.",
    )

    stage = "retry"
    priority = 50

    def requires(self) -> luigi.Task:
        return this_preflight(self)

    def complete(self) -> bool:
        open_run(self._begin)
        if self.folder.settled_dead_letters or under_way(self.folder) is not None:
            return False
        return not standing(self.folder, self.plan()).is_loaded or self._reconcile.complete()

    @property
    def _reconcile(self) -> Reconcile:
        return Reconcile(**self.table_parameters)

    def run(self) -> Iterator[Any]:
        with self.folder.retry_lock():
            self._send()
        now = standing(self.folder, self.plan())
        if now.is_loaded:
            yield self._reconcile
        elif now.dead:
            raise TooManyFailedRowsError(
                f"{self.table}: {now.dead:,} rows are left. {remedy(self)}"
            )

    def _send(self) -> None:
        corrected = Path(self.corrected) if self.corrected else None
        attempt = open_attempt(self.folder, self.mapping, corrected, invocation=invocation())
        if attempt is not None:
            source = read_marker(self.folder.retry_source(attempt), RetrySource)
            self.send_attempt("retry", RetryLoad, attempt, source.rows if source else 0)

    def _begin(self) -> Callable[[], None]:
        """Check the settings and that there is something to retry; return what is done at exit."""
        settings.validate()
        settings.salesforce_login()
        settings.oracle_login()
        if read_marker(self.folder.plan, Plan) is None:
            raise StagingError(f"{self.table}: {self.folder.plan} is not there: nothing was loaded")
        refuse_stale(self.folder, self.fingerprint)
        return closing(self, restore_automation=hold_automation(), about=self.table)
