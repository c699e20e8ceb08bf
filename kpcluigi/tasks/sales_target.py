"""SyncSalesTarget: the sales targets in PostgreSQL, once a day as they are in Oracle."""

from __future__ import annotations

import logging
import re
import resource
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date
from typing import Any

import luigi
import oracledb
import psycopg
import sqlalchemy as sa

from kpcluigi import settings
from kpcluigi.errors import DiskFullError, KpcluigiError, OracleError, PostgresError, StagingError
from kpcluigi.markers import ColumnSync, Failure, SalesTargetSynced
from kpcluigi.oracle import connect, retrying
from kpcluigi.oracle.connection import passing, snapshot_lost
from kpcluigi.sales_target import (
    COLUMNS,
    OracleTable,
    PostgresTable,
    Synced,
    open_engine,
    sync,
)
from kpcluigi.sales_target import passing as passing_in_postgres
from kpcluigi.staging import SalesTargetFolder, make_private, read_marker, sweep, write_marker
from kpcluigi.tasks.base import ORACLE
from kpcluigi.tasks.oracle import await_hours
from kpcluigi.tasks.progress import Progress
from kpcluigi.tasks.root import invocation, open_run

logger = logging.getLogger("luigi-interface")


class SyncSalesTarget(luigi.Task):
    """Replace the sales targets in PostgreSQL by those in Oracle, in one transaction.

    Each run carries the whole table as it is now, whatever its date: the date only names the
    marker, by which the same date again does nothing.
    """

    date = luigi.DateParameter(
        default=date.today(), description="The day whose copy this is (default: today)."
    )
    force = luigi.BoolParameter(
        default=False, description="Copy again although that day's copy is done."
    )

    resources = {ORACLE: 1}  # noqa: RUF012  # Luigi's own way to declare them

    def complete(self) -> bool:
        """Committed: on that day or, with --force, by this very start of the command."""
        open_run(self._begin)
        return self._is_done()

    def run(self) -> None:
        self._started = time.monotonic()
        self._tries = 0
        engine = open_engine(settings.postgres_url())
        rules = settings.sales_target()
        await_hours(self._say)
        try:
            synced = retrying(
                lambda: self._attempt(engine),
                retries=rules.retries,
                delay=rules.retry_delay,
                tell=self._say,
                passes=_passes,
            )
        except (sa.exc.SQLAlchemyError, psycopg.Error) as error:
            raise PostgresError(
                f"{self._target} in PostgreSQL: {_in_one_line(error)}. It is as it was before. "
                f"Mend the cause and run the same command again"
            ) from error
        except (oracledb.Error, TimeoutError, ConnectionError, UnicodeDecodeError) as error:
            raise OracleError(
                f"{self._source}: {error}. {self._target} is as it was before. Mend the cause and "
                f"run the same command again"
            ) from error
        if synced is None:
            self._say("another run has done it meanwhile")
            return
        self._mark(synced)

    def _attempt(self, engine: sa.Engine) -> Synced | None:
        self._tries += 1
        rules = settings.sales_target()
        progress = Progress(self)
        return sync(
            _open_oracle,
            engine,
            source=self._source,
            target=self._target,
            batch_rows=rules.batch_rows,
            lock_timeout=rules.lock_timeout,
            tell=progress.tell,
            show=lambda statement: logger.debug("%s", statement),
            is_needed=lambda: not self._is_done(),
        )

    def _mark(self, synced: Synced) -> None:
        """It is committed: say so, and leave the marker."""
        seconds = time.monotonic() - self._started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # Linux counts in kB
        columns = zip(COLUMNS, synced.content.columns, strict=True)
        marker = SalesTargetSynced(
            day=self.date,
            invocation=invocation(),
            source=str(self._source),
            target=str(self._target),
            rows=synced.content.rows,
            batches=synced.batches,
            bytes=synced.bytes,
            rows_per_second=round(synced.content.rows / max(seconds, 1e-3)),
            seconds=round(seconds, 3),
            peak_memory_mb=peak,
            tries=self._tries,
            columns={n: ColumnSync(non_null=c.non_null, sum=f"{c.sum:f}") for n, c in columns},
            checksum=str(synced.content.checksum),
            notes=list(synced.notes),
        )
        write_marker(self._folder.synced(self.date), marker)
        for line in (*synced.notes, _in_words(marker)):
            self._say(line, 1)

    def on_failure(self, exception: BaseException) -> Any:
        """Leave the reason where the last lines find it."""
        failure = Failure(
            table=str(self._target),
            stage="sync",
            n=None,
            invocation=invocation(),
            error=type(exception).__name__,
            message=str(exception) or type(exception).__name__,
        )
        write_marker(self._folder.failure(self.date), failure)
        return super().on_failure(exception)

    def on_success(self) -> Any:
        self._folder.failure(self.date).unlink(missing_ok=True)
        return super().on_success()

    @property
    def _folder(self) -> SalesTargetFolder:
        url = settings.postgres_url()
        hosts = (url.host, url.port, *_texts(url.query.get("host")), url.database)
        name = "_".join(str(part) for part in hosts if part)
        plain = re.sub(r"[^\w.-]+", "_", name).strip("_.")
        return SalesTargetFolder(settings.staging_root() / "sales_target" / plain)

    @property
    def _source(self) -> OracleTable:
        rules = settings.sales_target()
        return OracleTable(rules.source_owner.upper(), rules.source_table.upper())

    @property
    def _target(self) -> PostgresTable:
        rules = settings.sales_target()
        return PostgresTable(rules.target_schema, rules.target_table)

    def _is_done(self) -> bool:
        marker = read_marker(self._folder.synced(self.date), SalesTargetSynced)
        return (
            marker is not None
            and (marker.source, marker.target) == (str(self._source), str(self._target))
            and (not self.force or marker.invocation == invocation())
        )

    def _say(self, line: str, share: float | None = None) -> None:
        logger.info("SyncSalesTarget: %s", line)
        Progress(self).tell(line, share)

    def _begin(self) -> Callable[[], None]:
        """Check the settings; return what is done at exit."""
        settings.validate()
        settings.oracle_login()
        folder, day = self._folder, self.date
        try:
            make_private(settings.staging_root())
            folder.path.mkdir(parents=True, exist_ok=True)
        except (OSError, DiskFullError) as error:
            raise StagingError(
                f"{folder.path} cannot be written to: {error}; see `root` under [staging]"
            ) from None
        sweep(folder.path)
        return lambda: _last_lines(folder, day)


def _open_oracle() -> AbstractContextManager[oracledb.Connection]:
    login, rules = settings.oracle_login(), settings.oracle()
    return connect(
        dsn=login.dsn,
        user=login.user,
        password=login.password,
        module="kpcluigi",
        action="SyncSalesTarget",
        login_timeout=rules.login_timeout,
        call_timeout=rules.call_timeout,
        client_dir=rules.thick_client_dir,
    )


def _passes(error: BaseException) -> bool:
    """A later try has a new snapshot, so that one that was lost passes too."""
    return passing(error) or snapshot_lost(error) or passing_in_postgres(error)


def _last_lines(folder: SalesTargetFolder, day: date) -> None:
    """What the root process says at its end."""
    try:
        failure = read_marker(folder.failure(day), Failure)
        marker = read_marker(folder.synced(day), SalesTargetSynced)
    except KpcluigiError as error:
        print(f"kpcluigi: {error}", file=sys.stderr)
        return
    if failure is not None and failure.invocation == invocation():
        print(f"SyncSalesTarget {day}: FAILED: {failure.error}: {failure.message}", flush=True)
    elif marker is not None:
        already = "" if marker.invocation == invocation() else "nothing to do: "
        print(f"SyncSalesTarget {day}: {already}{_in_words(marker)}", flush=True)
        print(f"Marker: {folder.synced(day)}", flush=True)
    else:
        print(f"SyncSalesTarget {day}: not done; run the same command again", flush=True)


def _in_words(marker: SalesTargetSynced) -> str:
    return (
        f"{marker.target} equals {marker.source}: {marker.rows:,} rows in {marker.batches:,} "
        f"batches, {marker.bytes:,} bytes, {marker.seconds:.1f} s, {marker.rows_per_second:,} "
        f"rows/s, peak memory {marker.peak_memory_mb:,} MB; committed "
        f"{marker.written_at:%Y-%m-%d %H:%M:%S} UTC"
    )


def _in_one_line(error: BaseException) -> str:
    """The database's own words, without SQLAlchemy's around them."""
    return " ".join(str(getattr(error, "orig", None) or error).split())


def _texts(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value or ()
