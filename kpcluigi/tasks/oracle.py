"""What the tasks that read Oracle share: the resource they claim, and their session."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import luigi
import oracledb

from kpcluigi import settings
from kpcluigi.errors import OracleError, SnapshotLostError
from kpcluigi.markers import Plan
from kpcluigi.oracle import Source, connect, describe_source, retrying
from kpcluigi.oracle.connection import passing, snapshot_lost
from kpcluigi.oracle.source import source_of
from kpcluigi.staging import read_marker
from kpcluigi.tasks.base import ORACLE, TableTask, source_owner

T = TypeVar("T")

_NAP = 20.0
"""Seconds between two looks at the clock, while Oracle may not be read."""


@dataclass(frozen=True)
class OracleSession:
    """An open session, and the task's table as Oracle describes it."""

    connection: oracledb.Connection
    source: Source


class OracleTask(TableTask):
    """A table's task that reads Oracle."""

    @property
    def resources(self) -> dict[str, int]:  # type: ignore[override]  # Luigi takes a property too
        """One Oracle session, and the table's own limit where luigi.cfg lists one."""
        own = f"extract_{self.table.lower()}"
        limits = luigi.configuration.get_config().getintdict("resources")
        return {ORACLE: 1, **({own: 1} if own in limits else {})}

    def with_oracle(self, action: str, work: Callable[[OracleSession], T]) -> T:
        """Do `work` in a session of its own, within the hours, anew after passing errors.

        Raises:
            SnapshotLostError: the SCN can no longer be read.
            OracleError: anything else that lasts; what `work` raises on purpose passes through.
        """
        await_hours(self.progress().tell)
        login, rules = settings.oracle_login(), settings.oracle()

        def attempt() -> T:
            with connect(
                dsn=login.dsn,
                user=login.user,
                password=login.password,
                module="kpcluigi",
                action=f"{action} {self.table}",
                login_timeout=rules.login_timeout,
                call_timeout=rules.call_timeout,
                client_dir=rules.thick_client_dir,
                time_zone=self.mapping.source_zone,
            ) as connection:
                return work(OracleSession(connection, self._source(connection)))

        try:
            return retrying(
                attempt, retries=rules.retries, delay=rules.retry_delay, tell=self.progress().tell
            )
        except (oracledb.Error, OSError, UnicodeDecodeError) as error:
            if isinstance(error, OSError) and not passing(error):
                raise
            if snapshot_lost(error):
                raise SnapshotLostError(
                    f"{self.table} ({action}): {error}. Oracle keeps its undo for too short a "
                    f"time: ask for a longer UNDO_RETENTION or make chunk_size smaller, and run "
                    f"the same command again"
                ) from error
            raise OracleError(
                f"{self.table} ({action}): {error}. Mend the cause and run the same command again"
            ) from error

    def _source(self, connection: oracledb.Connection) -> Source:
        """The table as it was when it was planned; Oracle is asked where there is no plan yet."""
        table, owner, window = self.mapping, source_owner(self.mapping), self.window
        plan = read_marker(self.folder.plan, Plan)
        if plan is not None and plan.columns:
            return source_of(plan.columns, owner=owner, table=table, window=window)
        return describe_source(connection, owner=owner, table=table, window=window)

    def at_a_snapshot(self, work: Callable[[], T]) -> T:
        """Do `work`, which takes a snapshot of its own, anew where Oracle forgot it on the way."""
        for _ in range(settings.oracle().retries):
            try:
                return work()
            except SnapshotLostError as error:
                self.progress().tell(f"at a new snapshot: {error}")
        return work()


def await_hours(tell: Callable[[str], None]) -> None:
    """Wait, without a session, until Oracle may be read. Uploads go on meanwhile."""
    hours = settings.extraction_hours()
    if hours is None:
        return
    while (opens := hours.opens_at(datetime.now(UTC))) is not None:
        tell(f"waits for its extraction hours: {opens:%a %H:%M %Z}")
        time.sleep(min(_NAP, max(0.1, (opens - datetime.now(UTC)).total_seconds())))
