"""The command line `kpcluigi`: parse and call, nothing else."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from kpcluigi import audit, report, settings
from kpcluigi.automation import no_run_under_way, restore_alone, state_file, warning_while_off
from kpcluigi.errors import KpcluigiError
from kpcluigi.incremental import present_increment
from kpcluigi.oracle import DEFAULT_WINDOW
from kpcluigi.orphans import abort_orphan, find_orphans
from kpcluigi.preflight import Findings
from kpcluigi.reextract import reextract
from kpcluigi.tasks.base import (
    FULL,
    INCREMENTAL,
    RunTask,
    fingerprint,
    org_folder,
    salesforce_client,
    select_tables,
    table_named,
)
from kpcluigi.tasks.preflight import Preflight
from kpcluigi.tasks.root import require_luigi_cfg
from kpcluigi.version import VERSION

_EPILOG = """\
The migration itself is run by Luigi, which also resumes it:

  luigid --address 127.0.0.1           the scheduler and its visualiser, in a terminal of its own
  luigi --module kpcluigi MigrateAll   everything; again after any interruption
  luigi --module kpcluigi SyncSalesTarget   once a day: the sales targets, from Oracle to PostgreSQL

See all of it work first, with no Oracle and no org:  kpcluigi rehearse
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0 when it did what was asked."""
    parser = _parser()
    options = parser.parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except KpcluigiError as error:
        print(f"kpcluigi: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kpcluigi",
        description="Moves tenant-sales history from Oracle to Salesforce, and proves it arrived.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=VERSION)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    rehearse = commands.add_parser(
        "rehearse",
        help="migrate sample data between local stand-ins for Oracle and Salesforce",
        description="Starts a server that speaks Oracle's wire protocol, a server that speaks "
        "Salesforce's APIs, and luigid, all on 127.0.0.1; fills the first with sample data for the "
        "tables of tables.toml; runs the very `luigi` command that you would type; and ends with "
        "the result. Exit code 0 only when every table's verdict is PASS.",
    )
    rehearse.add_argument(
        "--rows",
        type=_rows,
        help="sample rows in the window, about; 5,000 or more (default 160,000)",
    )
    rehearse.add_argument(
        "--dir",
        type=Path,
        default=Path("rehearsal"),
        metavar="DIR",
        help="folder for the sample data and the run; made anew (default ./rehearsal)",
    )
    rehearse.add_argument(
        "--serve",
        action="store_true",
        help="start everything, print what to export so that luigi can be run, killed and run "
        "again by hand in a second terminal, and stay up until Ctrl-C",
    )
    rehearse.add_argument(
        "--sales-target",
        action="store_true",
        help="not the migration but SyncSalesTarget, from the Oracle stand-in into a real "
        "PostgreSQL server that is started for it; --rows are then sales targets (default 50,000)",
    )
    rehearse.set_defaults(command=_rehearse)

    check = commands.add_parser(
        "check",
        help="make the preflight's checks and nothing else",
        description="Logs in to Oracle and to Salesforce, compares tables.toml with both schemas, "
        "looks at the disk and at luigid's limits, and names every problem at once. Moves nothing.",
    )
    check.add_argument(
        "--tables", default="", help="comma-separated tables of tables.toml (default: all)"
    )
    _add_window(check)
    check.set_defaults(command=_check)

    status = commands.add_parser(
        "status",
        help="how far a run is, read from its marker files",
        description="Prints rows planned, extracted, loaded and failed, and the verdict, per "
        "table. Needs neither Oracle nor Salesforce nor luigid.",
    )
    _add_window(status)
    _add_mode(status)
    status.set_defaults(command=_status)

    proof = commands.add_parser(
        "audit",
        help="whether markers and audit of a run are what they were, up to a signed report",
        description="Verifies the chain of hashes in audit.jsonl line by line, that every marker "
        "on disk is what its last line says, and that the chain has the hash that report.json "
        "names. Finds lines and markers that were changed, taken out or added. Exit code 0 and one "
        "line when all is well; else each finding on its line. Needs neither Oracle nor "
        "Salesforce nor luigid.",
    )
    proof.add_argument(
        "--last-hash",
        default="",
        metavar="HASH",
        help="the audit's last hash as it stands on a signed report: it has to be in the chain, "
        "so that lines which were cut off since are found",
    )
    _add_window(proof)
    _add_mode(proof)
    proof.set_defaults(command=_audit)

    restore = commands.add_parser(
        "restore",
        help="put the org's automation back as it was before a run",
        description="Puts the custom setting and the permission-set assignment under [automation] "
        "back as they were when a run switched automation off, by data/NAME/automation.json. A run "
        "does so itself when it ends; this is for one that could not, and is refused while one is "
        "under way.",
    )
    restore.set_defaults(command=_restore)

    clean = commands.add_parser(
        "clean",
        help="list or abort open Bulk jobs that a killed run left behind",
        description="Lists the Open ingest jobs of this user, on the objects of tables.toml, that "
        "no journal of any run into the org names: a run created them and was killed before it "
        "could save their ids. They hold no data. Jobs of other users, of other objects, and jobs "
        "that a journal names are never touched; runs of another [staging] root are not known.",
    )
    clean.add_argument(
        "--older-than",
        type=_hours,
        default=24.0,
        metavar="HOURS",
        help="only jobs created longer ago than this (default 24); less than 1 only while no run "
        "is under way, which may have created one just now",
    )
    clean.add_argument(
        "--yes", action="store_true", help="abort them; without it they are only listed"
    )
    clean.set_defaults(command=_clean)

    again = commands.add_parser(
        "reextract",
        help="have chunks that are not loaded yet extracted again",
        description="Removes the files of chunks that are not loaded, so that the next run "
        "extracts them again: after a change of the mapping, or of a chunk file. Loaded chunks are "
        "left alone unless --loaded says otherwise.",
    )
    again.add_argument("--table", required=True, help="name of the table in tables.toml")
    again.add_argument("--chunk", type=int, help="one chunk only (default: all not loaded)")
    again.add_argument(
        "--loaded",
        action="store_true",
        help="loaded chunks too: their rows are extracted and sent again, and upserted; without "
        "--chunk the table starts over with a new plan",
    )
    _add_window(again)
    _add_mode(again)
    again.set_defaults(command=_reextract)
    return parser


def _add_window(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--start-date",
        type=date.fromisoformat,
        default=DEFAULT_WINDOW.start,
        help=f"first day of the run's window (default {DEFAULT_WINDOW.start})",
    )
    parser.add_argument(
        "--end-date",
        type=date.fromisoformat,
        default=DEFAULT_WINDOW.end,
        help=f"last day of the run's window (default {DEFAULT_WINDOW.end})",
    )


def _add_mode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mode",
        choices=[FULL, INCREMENTAL],
        default=FULL,
        help="incremental: the unfinished, or else the newest, incremental run of that window's "
        "first day (default full)",
    )


def _run_of(options: argparse.Namespace) -> RunTask:
    """The run that is meant, for its folder and its tables."""
    until = ""
    if options.mode == INCREMENTAL:
        present = present_increment(org_folder(), options.start_date)
        if present is None:
            raise KpcluigiError(
                f"{org_folder()} has no incremental run from {options.start_date}; begin one with: "
                f"luigi --module kpcluigi MigrateAll --mode incremental"
            )
        until = present.path.name.rpartition("_")[2]
    return RunTask(
        start_date=options.start_date, end_date=options.end_date, mode=options.mode, until=until
    )


def _rows(text: str) -> int:
    digits = text.replace(",", "").replace("_", "")
    rows = int(digits) if digits.isdecimal() else 0
    if not 5_000 <= rows <= 50_000_000:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a number from 5,000 to 50,000,000")
    return rows


def _rehearse(options: argparse.Namespace) -> int:
    try:
        from kpcluigi.rehearsal.commands import rehearse, rehearse_sales_target, serve
    except ModuleNotFoundError as error:
        print(
            f"kpcluigi: the rehearsal needs {error.name}; install it with: "
            f"pip install -e '.[rehearsal]'",
            file=sys.stderr,
        )
        return 1
    rows = options.rows or (50_000 if options.sales_target else 160_000)
    if options.serve:
        return serve(options.dir, rows, sales_target=options.sales_target)
    work = rehearse_sales_target if options.sales_target else rehearse
    return work(options.dir, rows)


def _check(options: argparse.Namespace) -> int:
    task = Preflight(
        invocation="check",
        start_date=options.start_date,
        end_date=options.end_date,
        tables=options.tables,
    )
    require_luigi_cfg()
    settings.validate()
    findings = Findings()
    try:
        task.check(findings, tell=_to_stderr, interactive=True)
    finally:
        for line in findings.checks:
            print(f"ok       {line}")
        for line in (*findings.warnings, warning_while_off(org_folder())):
            if line:
                print(f"warning  {line}")
    print("Ready: luigi --module kpcluigi MigrateAll")
    return 0


def _to_stderr(line: str) -> None:
    print(f"         {line}", file=sys.stderr, flush=True)


def _status(options: argparse.Namespace) -> int:
    run = _run_of(options)
    folder = run.run_folder
    if not folder.path.is_dir():
        raise KpcluigiError(
            f"{folder.path}: no such run; begin it with: luigi --module kpcluigi MigrateAll"
        )
    summary = report.summarise(folder, list(run.selected.values()), run.rows_in_words)
    print("\n".join(report.status_lines(folder, summary)))
    return 0


def _audit(options: argparse.Namespace) -> int:
    folder = _run_of(options).run_folder
    last_hash = options.last_hash.strip().lower()
    end, faults = audit.verify(folder, last_hash=last_hash)
    for fault in faults:
        print(f"{folder.audit}: {fault}")
    if faults:
        return 1
    signed = f" with {last_hash}" if last_hash else ""
    print(
        f"{folder.audit}: {end.lines:,} line{'' if end.lines == 1 else 's'}{signed}, "
        f"every marker is what its last line says; "
        f"last hash {end.last_hash}"
    )
    return 0


def _restore(options: argparse.Namespace) -> int:
    require_luigi_cfg()
    settings.validate()
    org = org_folder()
    if not state_file(org).exists():
        print(f"Nothing to put back: no run has automation off ({state_file(org)} is not there)")
        return 0
    with salesforce_client(_to_stderr) as client:
        for line in restore_alone(client, org):
            print(f"Automation is on again: {line}")
    return 0


def _clean(options: argparse.Namespace) -> int:
    require_luigi_cfg()
    settings.validate()
    objects = {table.object for table in select_tables("").values()}
    alone = nullcontext() if options.older_than >= 1 else no_run_under_way(org_folder())
    with alone, salesforce_client(_to_stderr) as client:
        age = timedelta(hours=options.older_than)
        orphans = find_orphans(client, org_folder(), objects, older_than=age, now=datetime.now(UTC))
        for job in orphans:
            done = "found"
            if options.yes:
                done = "aborted" if abort_orphan(client, job) else "no longer open, left alone"
            print(f"{job.id}  {job.object}  created {job.created_at:%Y-%m-%d %H:%M} UTC  {done}")
    print(
        f"{len(orphans)} open job(s) older than {options.older_than:g} h that no journal names"
        + ("; to abort them add --yes" if orphans and not options.yes else "")
    )
    return 0


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = -1.0
    if not 0 <= hours <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r}; expected hours, such as 24 or 0.5")
    return hours


def _reextract(options: argparse.Namespace) -> int:
    run = _run_of(options)
    table = table_named(options.table.upper())
    if table.name not in run.selected:
        raise KpcluigiError(f"{table.name} is not part of {run.run_folder.path}")
    removed = reextract(
        run.run_folder.table(table.name),
        table,
        fingerprint(table, run.window_of(table)),
        chunk=options.chunk,
        loaded=options.loaded,
    )
    print(
        f"{table.name}: the next run extracts {len(removed.chunks)} chunk(s) again"
        + (", after a new plan" if removed.plan else "")
        + ": luigi --module kpcluigi MigrateAll"
    )
    return 0
