"""Which rows an incremental run carries: those that changed since each table's last good run.

Each table goes on from where its last reconciled run, full or incremental, could see to: the end of
that run's window or the time of its snapshot, whichever was earlier, less an overlap for changes
that were under way. What is carried twice is upserted. A run that was begun is finished before a
new one is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from kpcluigi.errors import ConfigurationError, StagingError
from kpcluigi.markers import IncrementScope, Plan, Reconciled
from kpcluigi.oracle import Increment, Window
from kpcluigi.staging import RunFolder, read_marker, write_marker
from kpcluigi.tables import Table

_STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class Rules:
    """Seconds that an increment reaches back, and keeps from the present."""

    overlap: float
    lag: float


def open_increment(
    org: Path, tables: Mapping[str, Table], start: date, *, rules: Rules, now: datetime
) -> str:
    """The increment to work on, by its `until`: one that was begun, or else a new one.

    Args:
        org: the folder of the org's runs.
        tables: those that are asked for.
        start: first day of the full run's window.
        now: UTC.

    Raises:
        ConfigurationError: a table was never moved as a whole.
    """
    for folder, scope in increments(org, start):
        wanted = [n for n in scope.since if n in tables and tables[n].incremental != "skip"]
        if any(not _carried(folder, name) for name in wanted):
            return scope_name(scope)
    scope = _begin(org, tables, start, rules, now.replace(microsecond=0))
    folder = increment_folder(org, start, scope_name(scope))
    folder.path.mkdir(parents=True, exist_ok=True)
    write_marker(folder.scope, scope)
    return scope_name(scope)


def increment_folder(org: Path, start: date, until: str) -> RunFolder:
    """Where the increment up to `until` lies."""
    return RunFolder(org / f"incremental_{start}_{until}")


def scope_name(scope: IncrementScope) -> str:
    """By which an increment's folder and tasks name it."""
    return f"{scope.until:{_STAMP}}"


def read_scope(folder: RunFolder) -> IncrementScope:
    """Raises `StagingError` where the folder is no incremental run's."""
    scope = read_marker(folder.scope, IncrementScope)
    if scope is None:
        raise StagingError(f"{folder.path} is no incremental run: {folder.scope.name} is missing")
    return scope


def present_increment(org: Path, start: date) -> RunFolder | None:
    """The oldest that is unfinished, or else the newest."""
    found = list(increments(org, start))
    unfinished = [f for f, scope in found if any(not _carried(f, name) for name in scope.since)]
    return next(iter(unfinished), found[-1][0] if found else None)


def increments(org: Path, start: date) -> Iterator[tuple[RunFolder, IncrementScope]]:
    """Every increment of the window that begins then, oldest first."""
    for path in sorted(org.glob(f"incremental_{start}_*")):
        scope = read_marker(RunFolder(path).scope, IncrementScope)
        if scope is not None:
            yield RunFolder(path), scope


def window_of(scope: IncrementScope, table: Table) -> Increment:
    """The table's part of the increment."""
    return Increment(scope.start, scope.since[table.name], scope.until)


def _begin(
    org: Path, tables: Mapping[str, Table], start: date, rules: Rules, now: datetime
) -> IncrementScope:
    until = now - timedelta(seconds=rules.lag)
    since: dict[str, datetime | None] = {}
    after: dict[str, str] = {}
    never: list[str] = []
    for name, table in tables.items():
        if table.incremental == "skip":
            continue
        seen = _seen_until(org, start, table)
        if seen is None:
            never.append(name)
            continue
        moment, run = seen
        since[name] = None
        after[name] = run
        if table.incremental == "watermark":
            since[name] = min(moment - timedelta(seconds=rules.overlap), until)
    if never:
        raise ConfigurationError(
            f"{', '.join(never)}: no reconciled run with a window from {start} in {org}; an "
            f"increment goes on from one. Run first: luigi --module kpcluigi MigrateAll"
        )
    if not since:
        raise ConfigurationError(
            f"{', '.join(tables)}: tables.toml leaves them out of incremental runs"
        )
    return IncrementScope(
        start=start,
        until=until,
        since=since,
        after=after,
        skipped=[name for name in tables if name not in since],
    )


def _seen_until(org: Path, start: date, table: Table) -> tuple[datetime, str] | None:
    """Up to when changes of the table are in the org, and which run says so."""
    found: list[tuple[datetime, str]] = []
    for folder in _runs(org, start):
        plan = read_marker(folder.table(table.name).plan, Plan)
        if plan is None or not _carried(folder, table.name):
            continue
        scope = read_marker(folder.scope, IncrementScope)
        end = scope.until if scope is not None else _full_window(folder).ends_at(table)
        found.append((min(end, plan.snapshot_at), folder.path.name))
    return max(found, default=None)


def _runs(org: Path, start: date) -> Iterator[RunFolder]:
    for kind in ("full", "incremental"):
        for path in sorted(org.glob(f"{kind}_{start}_*")):
            yield RunFolder(path)


def _full_window(folder: RunFolder) -> Window:
    start, end = folder.path.name.split("_")[1:3]
    return Window(date.fromisoformat(start), date.fromisoformat(end))


def _carried(folder: RunFolder, name: str) -> bool:
    """Reconciled; rows that are named in its dead letter do not hold up those that come later."""
    done = read_marker(folder.table(name).reconciled, Reconciled)
    return done is not None and done.verdict in ("PASS", "EXCEPTIONS")


def utc_now() -> datetime:
    """The present moment."""
    return datetime.now(UTC)
