"""The last lines of a run: rows per table, what failed and where, the next command."""

from __future__ import annotations

import shlex
import sys
from numbers import Integral
from pathlib import Path
from typing import Any

from kpcluigi.report.summary import DELETES, RunSummary, TableSummary
from kpcluigi.staging import RunFolder, retry_command

NAMED = 10
"""Chunks named at most in one line, and notes of one table."""

_FOR_DEAD_ROWS = {"table", "reconcile", "retry"}
"""Stages that fail because rows did."""

_COUNTS = ("planned", "extracted", "loaded", "failed", "in_org")
_HEADINGS = ("phase", "table", "planned", "extracted", "loaded", "failed", "in org", "verdict")


def table_lines(summary: RunSummary) -> list[str]:
    """The summary as aligned lines, headings first, a total last."""
    frame = summary.frame()
    rows = [
        (str(phase), table, *(_number(count) for count in counts), _verdict(state))
        for (phase, table, *counts, _), state in zip(
            frame.itertuples(index=False), summary.tables, strict=True
        )
    ]
    sums = frame[list(_COUNTS)].sum()
    total = (
        "",
        f"{len(summary.tables)} table{'' if len(summary.tables) == 1 else 's'}",
        *(_number(sums[name]) for name in _COUNTS),
        "all PASS" if summary.green else "not finished",
    )
    grid = [_HEADINGS, *rows, total]
    widths = [max(len(row[i]) for row in grid) for i in range(len(_HEADINGS))]
    lines = [
        "  ".join(
            cell.rjust(width) if 2 <= i <= 6 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in grid
    ]
    rule = "-" * max(len(line) for line in lines)
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]]


def status_lines(folder: RunFolder, summary: RunSummary) -> list[str]:
    """The table, then what stands in the way and where the failed rows are."""
    lines = _status_lines(folder, summary)
    return [*lines, summary.automation_off] if summary.automation_off else lines


def _status_lines(folder: RunFolder, summary: RunSummary) -> list[str]:
    lines = [*table_lines(summary), ""]
    if summary.preflight is not None and summary.preflight.problem:
        lines.append(f"Preflight: {summary.preflight.problem}")
    for table in summary.tables:
        for failure in table.failures:
            where = table.table + (f" chunk {failure.n}" if failure.n is not None else "")
            lines.append(f"{where} ({failure.stage}): {failure.error}: {failure.message}")
        if table.not_loaded:
            named = ", ".join(str(int(path.name[:5])) for path in table.not_loaded[:NAMED])
            more = (
                ""
                if len(table.not_loaded) <= NAMED
                else f" and {len(table.not_loaded) - NAMED} more"
            )
            lines.append(
                f"{table.table}: not loaded yet: chunk {named}{more} of {table.chunks}; "
                f"first file {table.not_loaded[0]}"
            )
        if table.dead_letters and table.failed:
            lines.append(
                f"{table.table}: {table.failed:,} rows are in {table.dead_letters[0].parent} with "
                f"their reasons. To send them again: {retry_command(folder.table(table.table))}"
            )
            lines += [f"  {line}" for line in error_lines(table)]
        if table.blanked:
            lines.append(
                f"{table.table}: {table.blanked:,} rows were sent without a parent that the org "
                f"does not have; they are in {folder.table(table.table).path / 'blanked'}"
            )
    for table in summary.tables:
        lines += [f"{table.table}: {note}" for note in table.notes[:NAMED]]
        if len(table.notes) > NAMED:
            lines.append(f"{table.table}: {len(table.notes) - NAMED} more notes in its markers")
    if summary.scope is not None:
        lines.append(DELETES)
        if summary.scope.skipped:
            lines.append(f"Left out by tables.toml: {', '.join(summary.scope.skipped)}")
    if summary.left_out:
        lines.append(f"{summary.left_out} other tables of tables.toml are not part of this run")
    lines.append(f"Report: {folder.report_page}")
    return lines


def error_lines(table: TableSummary) -> list[str]:
    """The dead-lettered rows of a table by their reason."""
    lines = [
        f"{found.rows:,} rows: {found.message.removesuffix('--').rstrip(' :')}; "
        f"{', '.join(found.sample_keys)}{', …' if found.rows > len(found.sample_keys) else ''}"
        for found in table.errors[:NAMED]
    ]
    if len(table.errors) > NAMED:
        lines.append(f"and {len(table.errors) - NAMED} more reasons")
    return lines


def last_lines(folder: RunFolder, summary: RunSummary, *, about: str = "") -> str:
    """What an operator needs when the command has ended.

    Args:
        about: the one table that the command was about.
    """
    lines = ["", *_status_lines(folder, summary)]
    if not summary.green:
        lines += _next(folder, summary, about)
    if summary.automation_off:
        lines += ["", summary.automation_off]
    return "\n".join(lines)


def _next(folder: RunFolder, summary: RunSummary, about: str) -> list[str]:
    """The next command. Where only dead rows are in the way, the same one would change nothing."""
    dead = [
        table
        for table in summary.tables
        if table.failed and {failure.stage for failure in table.failures} <= _FOR_DEAD_ROWS
    ]
    others = [table for table in summary.tables if table.failures and table not in dead]
    if dead and not others:
        lines = [f"Next: {retry_command(folder.table(table.table))}" for table in dead]
        return [*lines, f"Then: {_migrate()}"]
    if any(table.table == about and not table.failures for table in summary.tables):
        return [f"Next: {_migrate()}"]
    again = "      (the same command: what is finished is not done again)"
    return [f"Next: {command()}", again]


def _migrate() -> str:
    """What goes on with the whole run."""
    return command() if "MigrateAll" in sys.argv else "luigi --module kpcluigi MigrateAll"


def command() -> str:
    """The command line of this process, as it would be typed."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _verdict(table: TableSummary) -> str:
    if table.verdict == "under way":
        return f"under way, {table.chunks_loaded} of {table.chunks} chunks"
    return table.verdict


def _number(value: Any) -> str:
    """With thousands; empty where the count is not known yet."""
    return f"{value:,}" if isinstance(value, Integral) else ""
