"""Reconcile: Oracle's totals, the ledger of the loads and the org agree."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial

import luigi

from kpcluigi import settings
from kpcluigi.errors import ReconciliationError, StagingError
from kpcluigi.load import repair_under_way, under_way
from kpcluigi.markers import Plan, Reconciled
from kpcluigi.markers import SourceTotals as SourceTotalsMarker
from kpcluigi.reconcile import Ends, QueryRules, reconcile_increment, reconcile_table
from kpcluigi.staging import (
    read_marker,
    reextract_command,
    repair_command,
    retry_command,
    write_marker,
)
from kpcluigi.tasks.base import FULL, SALESFORCE_QUERY, TableTask, salesforce_client
from kpcluigi.tasks.load import LoadTable, clean_up, remedy, standing_of
from kpcluigi.tasks.preflight import this_preflight
from kpcluigi.tasks.totals import SourceTotals


def query_rules() -> QueryRules:
    """How query jobs are waited for."""
    rules = settings.salesforce()
    return QueryRules(
        poll_interval=rules.poll_interval,
        poll_interval_max=rules.poll_interval_max,
        job_timeout=rules.job_timeout,
    )


def _classes(result: Reconciled) -> str:
    """What became of the rows that were compared, in words."""
    rows = result.rows
    if rows is None:
        return ""
    counts = {
        "modified": rows.modified,
        "missing": rows.missing,
        "with another row's external id": rows.duplicates,
        "extra": rows.extra,
        "changed in Salesforce since": rows.changed_since,
        "without the blanks at the ends of a text": rows.trimmed,
    }
    told = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number)
    return f": {told}" if told else ""


class Reconcile(TableTask):
    """Writes `reconciled.json` whatever it finds; done only when the verdict is PASS."""

    full = luigi.BoolParameter(
        significant=False,
        description="Compare every row, not only those of ranges that differ.",
    )

    stage = "reconcile"
    priority = 60
    resources = {SALESFORCE_QUERY: 1}  # noqa: RUF012  # Luigi's own way to declare them

    def requires(self) -> Iterator[luigi.Task]:
        yield this_preflight(self)
        yield LoadTable(**self.table_parameters)
        yield SourceTotals(**self.table_parameters)

    def complete(self) -> bool:
        done = read_marker(self.folder.reconciled, Reconciled)
        plan = read_marker(self.folder.plan, Plan)
        if done is None or plan is None or done.verdict != "PASS":
            return False
        if done.fingerprint != plan.fingerprint or set(done.accepted) - set(self.mapping.accept):
            return False  # tables.toml says something else since
        if not self.full:
            return True
        return done.rows is not None and not done.rows.ranges

    def _next_step(self, result: Reconciled) -> str:
        rows = result.rows
        if result.verdict == "EXCEPTIONS" and (rows is None or not rows.folder):
            return f"All that is missing is in the dead letter. {remedy(self)}"
        if rows is not None and rows.folder:
            found = self.folder.path / rows.folder
            repair = f"To send missing and modified rows again: {repair_command(self.folder)}"
            if not rows.missing and not rows.modified:
                repair = (
                    f"What Salesforce changed, or only it has, is left alone: accept it by name "
                    f"in tables.toml (accept), or undo changes that were made since with: "
                    f"{repair_command(self.folder)} --changed-too"
                )
            if rows.duplicates:
                repair += (
                    ". Of rows that share an external id the org can hold one: correct them in "
                    "Oracle, or map another column to the external id"
                )
            return f"Keys, fields and both values are in {found}. {repair}"
        return (
            f"Where Oracle or the org changed meanwhile, start the table over with: "
            f"{reextract_command(self.folder, '--loaded')}, and run the same command again"
        )

    def run(self) -> None:
        with self.folder.retry_lock():
            for left in self.folder.scratch:  # by a comparison that was killed
                shutil.rmtree(left, ignore_errors=True)
            self._reconcile()

    def _reconcile(self) -> None:
        totals = read_marker(self.folder.source_totals, SourceTotalsMarker)
        loads = standing_of(self)
        if totals is None or loads is None:
            raise StagingError(f"{self.folder.path}: markers are gone; run the same command again")
        attempt = under_way(self.folder)
        if attempt is not None:
            raise StagingError(
                f"{self.table}: attempt {attempt} to send dead-lettered rows again is under way, "
                f"so that they cannot be counted. Finish it with: {retry_command(self.folder)}"
            )
        repair = repair_under_way(self.folder)
        if repair is not None:
            raise StagingError(
                f"{self.table}: repair {repair} is under way, so that its rows cannot be compared. "
                f"Finish it with: {repair_command(self.folder)}"
            )
        progress = self.progress()
        with salesforce_client(progress.tell) as client:
            ends = Ends(
                client=client,
                table=self.mapping,
                window=self.window,
                plan=self.plan(),
                totals=totals,
                loads=loads,
                folder=self.folder,
                file_of=partial(settings.clean_up().file_of, self.folder),
                rules=query_rules(),
                full=self.full,
                tell=progress.tell,
            )
            result = reconcile_table(ends) if self.mode == FULL else reconcile_increment(ends)
        write_marker(self.folder.reconciled, result)
        if result.verdict == "PASS":
            clean_up(self, [chunk.n for chunk in self.plan().chunks], reconciled=True)
        progress.tell(f"{result.verdict}: {result.salesforce:,} of {result.source:,} rows", 1)
        if result.verdict != "PASS":
            raise ReconciliationError(
                f"{self.table}: {result.verdict}. Oracle has {result.source:,} rows in the window, "
                f"{result.created + result.updated:,} were loaded, {result.dead_lettered:,} are in "
                f"{self.folder.path / 'dead_letter'}, the org has {result.salesforce:,}"
                f"{_classes(result)}; see {self.folder.reconciled}. {self._next_step(result)}"
            )
