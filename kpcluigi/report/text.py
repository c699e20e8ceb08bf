"""The last lines of a run: rows per table, what failed and where, the next command."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

from kpcluigi.markers import Difference
from kpcluigi.report.summary import DELETES, PASS, RunSummary, TableSummary
from kpcluigi.staging import RunFolder, repair_command, retry_command

NAMED = 10
"""Chunks named at most in one line, and notes of one table."""

_FOR_DEAD_ROWS = {"table", "reconcile", "retry", "repair"}
"""Stages that fail because rows did."""

LEVELS = {1: "counts", 2: "aggregates", 3: "sampled rows", 4: "rows", 5: "relationships"}
"""What a reconciliation compares at each of its levels."""

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
        "all PASS" if summary.reconciled else "not finished",
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


def verdict_sentence(summary: RunSummary) -> str:
    """The verdict of a run and what it rests on, in one sentence."""
    tables = summary.tables
    several = "" if len(tables) == 1 else "s"
    source = sum(table.planned or 0 for table in tables)
    in_org = sum(table.in_org or 0 for table in tables)
    if not summary.reconciled:
        good = sum(table.verdict == PASS for table in tables)
        named = ", ".join(t.table for t in tables if t.verdict != PASS)
        planned = all(table.planned is not None for table in tables)
        known = "that Oracle had" if planned else "known so far"
        return (
            f"Not finished: {len(tables) - good} of {len(tables)} table{several} "
            f"{'has' if len(tables) - good == 1 else 'have'} no PASS ({_shortened(named)}), and "
            f"{in_org:,} of the {source:,} rows {known} have been found in the org"
        )
    if not tables:
        return "Nothing was moved: no table is part of this run"
    scope = "every table is reconciled"
    if summary.left_out:
        scope = (
            f"every table of this run is reconciled; {summary.left_out} others are not part of it"
        )
    proof = "; ".join(_rests_on(summary))
    return (
        f"PASS: {scope}. Of the {source:,} rows that Oracle had in {len(tables)} table{several} "
        f"the org has {in_org:,}; compared: {proof}"
    )


def _rests_on(summary: RunSummary) -> list[str]:
    """What was compared, level by level."""
    found: dict[int, int] = {}
    tables: dict[int, int] = {}
    for table in summary.tables:
        for level, checks in table.levels.items():
            found[level] = found.get(level, 0) + len(checks)
            tables[level] = tables.get(level, 0) + 1
    compared = [t.reconciled for t in summary.tables if t.reconciled is not None]
    sampled = sum(done.sampled for done in compared)
    rows = sum(done.rows.staged for done in compared if done.rows is not None)
    said = []
    for level in sorted(found):
        size = {3: f"{sampled:,} rows, ", 4: f"{rows:,} rows, "}.get(level, "")
        several = "" if found[level] == 1 else "s"
        said.append(
            f"{LEVELS.get(level, f'level {level}')} ({size}{found[level]:,} check{several}, "
            f"{tables[level]} of {len(summary.tables)} tables)"
        )
    return said


def _shortened(names: str, most: int = 120) -> str:
    return names if len(names) <= most else names[:most].rpartition(",")[0] + ", …"


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
        if table.reconciled and table.reconciled.differences:
            lines += difference_lines(table)
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


def difference_lines(table: TableSummary) -> list[str]:
    """Where Oracle and the org do not agree: the first of it, by name."""
    assert table.reconciled is not None
    found = table.reconciled.differences
    lines = [f"{table.table}: {difference_in_words(one)}" for one in found[:NAMED]]
    rows = table.reconciled.rows
    place = f"{rows.folder}/" if rows is not None and rows.folder else "reconciled.json"
    if len(found) > NAMED:
        lines.append(f"{table.table}: more differences in {place}")
    return lines


def difference_in_words(found: Difference) -> str:
    """One difference as a line: what, where, both values."""
    what = found.kind.replace("_", " ")
    where = " ".join(part for part in (found.key, found.field, found.measure) if part)
    within = f" ({found.range})" if found.range else ""
    expected, present = (text for text, _ in sides_of(found))
    sides = f"Oracle {expected}, org {present}"
    more = f", tolerance {found.tolerance}" if found.tolerance else ""
    return f"{what}: {where}{within}: {sides}{more}"


def sides_of(found: Difference) -> list[tuple[str, bool]]:
    """Oracle's side and the org's: the value, or a word for it; and whether it is the value."""
    sides = []
    for value, lacks in ((found.expected, "extra"), (found.found, "missing")):
        if value is not None:
            sides.append((value, True))
        elif found.kind == lacks:
            sides.append(("no such row", False))
        else:
            sides.append(("a row" if found.kind in ("missing", "extra") else "NULL", False))
    return sides


def last_lines(folder: RunFolder, summary: RunSummary, *, about: str = "") -> str:
    """What an operator needs when the command has ended.

    Args:
        about: the one table that the command was about.
    """
    lines = ["", *_status_lines(folder, summary)]
    if not summary.reconciled:
        first, *others = next_steps(folder, summary, about=about)
        lines.append(f"Next: {first.command}")
        if first.command == command():
            lines.append("      (the same command: what is finished is not done again)")
        for i, step in enumerate(others, 1):
            word = "Next" if step.about and first.about and i < len(others) else "Then"
            lines.append(f"{word}: {step.command}")
    if summary.audit and summary.audit.said:
        lines.append(f"Audit: {summary.audit.said}")
    if summary.audit and summary.audit.problem:
        lines += ["", f"AUDIT BROKEN: {summary.audit.problem}"]
    if summary.automation_off:
        lines += ["", summary.automation_off]
    return "\n".join(lines)


@dataclass(frozen=True)
class Step:
    """What is to be done next."""

    command: str
    why: str
    about: str = ""
    """The table that it is about, where it is about one."""


def next_steps(folder: RunFolder, summary: RunSummary, *, about: str = "") -> list[Step]:
    """The next commands. Where only rows are in the way, the same one again changes nothing.

    Args:
        about: the one table that the command was about.
    """
    steps, others = [], []
    for table in summary.tables:
        stages = {failure.stage for failure in table.failures}
        dead = bool(table.failed) and stages <= _FOR_DEAD_ROWS
        differing = table.can_be_repaired and stages <= _FOR_DEAD_ROWS
        if dead and table.verdict != PASS:
            why = f"sends the {table.failed:,} dead-lettered rows of {table.table} again"
            steps.append(Step(retry_command(folder.table(table.table)), why, table.table))
        if differing:
            why = f"sends the missing and modified rows of {table.table} again and compares them"
            steps.append(Step(repair_command(folder.table(table.table)), why, table.table))
        if table.failures and not dead and not differing:
            others.append(table)
    rest = Step(_migrate(), "goes on with the whole run; what is finished is not done again")
    if steps and not others:
        return [*steps, rest]
    if any(table.table == about and not table.failures for table in summary.tables):
        return [rest]
    return [Step(command(), "the same command: what is finished is not done again"), *steps]


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
