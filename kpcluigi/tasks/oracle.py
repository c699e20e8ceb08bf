"""What the tasks that read Oracle share: the resource they claim, and their session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import luigi
import oracledb

from kpcluigi import settings
from kpcluigi.errors import OracleError
from kpcluigi.oracle import Source, connect, describe_source, retrying
from kpcluigi.oracle.connection import snapshot_lost
from kpcluigi.tasks.base import ORACLE, TableTask, source_owner

T = TypeVar("T")


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
        """Do `work` in a session of its own, anew after passing errors."""
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
                time_zone=self.mapping.source_zone,
            ) as connection:
                owner = source_owner(self.mapping)
                source = describe_source(connection, owner=owner, table=self.mapping)
                return work(OracleSession(connection, source))

        try:
            return retrying(
                attempt, retries=rules.retries, delay=rules.retry_delay, tell=self.progress().tell
            )
        except (oracledb.Error, TimeoutError) as error:
            advice = "Mend the cause and run the same command again"
            if snapshot_lost(error):
                advice = (
                    "The plan's snapshot can no longer be read; start the table over at a new one "
                    f"with: kpcluigi reextract --table {self.table} --loaded (rows that are in the "
                    "org already are upserted), and run the same command again"
                )
            raise OracleError(f"{self.table} ({action}): {error}. {advice}") from error
