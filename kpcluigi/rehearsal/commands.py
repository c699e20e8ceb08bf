"""`kpcluigi rehearse`: run the command that a user would type, or serve all that it needs."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from resource import struct_rusage
from types import FrameType

from kpcluigi import report
from kpcluigi.markers import SalesTargetSynced
from kpcluigi.rehearsal.run import COMMAND, LocalRun, Rehearsal, SalesTargetRehearsal
from kpcluigi.staging import read_marker


def rehearse(folder: Path, rows: int) -> int:
    """Run the whole migration once; 0 only when every table's verdict is PASS."""
    started = time.monotonic()
    with Rehearsal(folder, rows, tell=_say) as rehearsal:
        _say(f"Oracle stand-in      {rehearsal.oracle.dsn}")
        _say(f"Salesforce stand-in  {rehearsal.salesforce.url}")
        _say(f"visualiser           {rehearsal.visualiser}")
        _say(f"$ {shlex.join(COMMAND)}")
        log_path = rehearsal.folder / "luigi.log"
        moving = time.monotonic()
        with log_path.open("wb") as log:
            process = rehearsal.start(log=log)
            try:
                usage = _watch(rehearsal, process)
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        seconds = time.monotonic() - moving
        summary = rehearsal.summary()
    print()
    print("\n".join(report.status_lines(rehearsal.run_folder, summary)))
    loaded = sum(table.loaded for table in summary.tables)
    print(f"Files:  {rehearsal.run_folder.path}")
    print(f"Log:    {log_path}")
    print(
        f"{loaded:,} rows in {seconds:.1f} s, {loaded / seconds:,.0f} rows/s "
        f"({time.monotonic() - started:.1f} s with the sample data)"
    )
    print(
        f"luigi and its workers took {usage.ru_utime + usage.ru_stime:.1f} s of CPU; "
        f"the largest of them held {usage.ru_maxrss / 1024:,.0f} MB"
    )
    if process.returncode == 0 and summary.green:
        print("PASS: every row of every table is in the org.")
        print("Next: kpcluigi rehearse --serve, to run, kill and run it again by hand.")
        return 0
    print(f"FAIL: luigi ended with exit code {process.returncode}; its log says why.")
    return 1


def rehearse_sales_target(folder: Path, rows: int) -> int:
    """Copy the sales targets, and once more; 0 only when the second run had nothing to do."""
    with SalesTargetRehearsal(folder, rows, tell=_say) as rehearsal:
        _say(f"Oracle stand-in  {rehearsal.oracle.dsn}")
        _say(f"PostgreSQL       {rehearsal.postgres.url}")
        _say(f"visualiser       {rehearsal.visualiser}")
        log_path = rehearsal.folder / "luigi.log"
        codes = [_run_and_show(rehearsal, log_path) for _ in range(2)]
        markers = sorted((rehearsal.folder / "data" / "sales_target").glob("*/[!.]*.json"))
        synced = read_marker(markers[0], SalesTargetSynced) if len(markers) == 1 else None
    print(f"Log:    {log_path}")
    if codes == [0, 0] and synced is not None and synced.rows == rows:
        print(f"PASS: {synced.target} equals {synced.source}, and the second run left it alone.")
        print("Next: kpcluigi rehearse --sales-target --serve, to run and kill it by hand.")
        return 0
    print(f"FAIL: luigi ended with exit codes {codes}; its log says why.")
    return 1


def _run_and_show(rehearsal: LocalRun, log_path: Path) -> int:
    """Run the command, and show its last lines."""
    _say(f"$ {shlex.join(rehearsal.command)}")
    with log_path.open("ab") as log:
        begin = log.tell()
        process = rehearsal.start(log=log)
        try:
            code = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    with log_path.open("rb") as log:
        log.seek(begin)
        for line in log.read().decode(errors="replace").splitlines():
            if line.startswith(("SyncSalesTarget", "Marker: ", "kpcluigi: ")):
                _say(f"  {line}")
    return code


def serve(folder: Path, rows: int, *, sales_target: bool = False) -> int:
    """Start everything, say how to use it from a second terminal, stay until Ctrl-C."""
    kind = SalesTargetRehearsal if sales_target else Rehearsal

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)  # a shell starts background jobs with Ctrl-C ignored
    with kind(folder, rows, tell=_say) as rehearsal:
        print()
        print("In a second terminal, in this folder and this virtual environment:")
        print()
        for name, value in rehearsal.settings.items():
            print(f"export {name}={shlex.quote(value)}")
        print()
        print(f"{shlex.join(rehearsal.command)}")
        print()
        print(f"Visualiser:       {rehearsal.visualiser}")
        print(f"Files of the run: {rehearsal.folder / 'data'}")
        print("Kill it with `kill -9` and run it again: it goes on where it was. Ctrl-C ends all.")
        sys.stdout.flush()
        try:
            _keep_luigid_up(rehearsal)
        except KeyboardInterrupt:
            print("\nstopped")
    return 0


def _keep_luigid_up(rehearsal: LocalRun) -> None:
    """As a service manager would: start luigid again when it is killed."""
    while True:
        assert rehearsal.luigid is not None
        rehearsal.luigid.wait()
        print(f"luigid ended with {rehearsal.luigid.returncode}; starting it again", flush=True)
        rehearsal.start_luigid()


def _watch(rehearsal: Rehearsal, process: subprocess.Popen[bytes]) -> struct_rusage:
    """Show how far the run is: one line, rewritten on a terminal, repeated elsewhere.

    Returns what the process and its descendants used when it has ended.
    """
    total = sum(rehearsal.rows_in_window.values())
    on_terminal = sys.stdout.isatty()
    shown_at, last = 0.0, ""
    started = time.monotonic()
    while True:
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            process.returncode = os.waitstatus_to_exitcode(status)
            break
        summary = rehearsal.summary()
        extracted = sum(t.extracted for t in summary.tables)
        loaded = sum(t.loaded for t in summary.tables)
        passed = sum(1 for t in summary.tables if t.verdict == report.PASS)
        at_work = [t.table for t in summary.tables if t.verdict == "under way"]
        line = (
            f"{extracted:>9,} extracted  {loaded:>9,} loaded of {total:,}   "
            f"{passed}/{len(summary.tables)} tables PASS   {' '.join(at_work)}"
        )
        now = time.monotonic()
        if on_terminal:
            width = max(20, shutil.get_terminal_size().columns - 8)
            print(f"\r{now - started:5.0f} s {line[:width]:<{width}}", end="", flush=True)
        elif line != last and now - shown_at > 3:
            print(f"{now - started:5.0f} s {line}", flush=True)
            shown_at, last = now, line
        time.sleep(0.5)
    if on_terminal:
        print()
    return usage


def _say(line: str) -> None:
    print(line, flush=True)
