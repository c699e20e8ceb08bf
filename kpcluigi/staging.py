"""Where every file of a run lies, and how a marker is written.

    data/                                          [staging] root, 0700: it holds personal data
      kpc--uat/automation.json                     org / what it had before automation was off
      kpc--uat/.quota.lock  .quota.json            who may send the next job: see quota.py
      kpc--uat/full_2022-01-01_2024-12-31/         org / mode and window
        run.json                                   the org and the database this folder belongs to
        increment.json                             of an incremental run: from when, up to when
        started.json                               when the command was last started
        preflight/START.json                       what was checked at each start
        report.html  report.json                   written from the markers at every exit
        audit.jsonl                                what they were at each exit, as a chain of hashes
        salesforce/gzip.json                       whether this org takes compressed uploads
        salesforce/logs/OBJECT_JOBID_{successful,failed,unprocessed}.csv.gz
        KPS_T_SALES_MD/
          plan.json
          source_totals.json
          reconciled.json
          chunks/00001.csv.gz  chunks/00001.json   file first, manifest second; done = both
          loads/00001.journal.json                 in flight
          loads/00001.again/                       rows that are sent again, until it is done
          loads/00001.json                         done
          loads/spent-20261121T060000.json         jobs of loads that were done over
          dead_letter/00001.csv.gz                 failed and unprocessed rows, with sf__Error
          dead_letter/00001.rejected.csv.gz        rows refused before the upload, with sf__Error
          dead_letter/retry-00001.csv.gz           rows that failed again in attempt 1
          blanked/00001.csv.gz                     rows sent without a parent that the org lacks
          retries/00001.csv.gz  00001.sent.json    attempt 1 to send dead-lettered rows again
          retries/00001.before.csv.gz              the rows as they were before they were corrected
          retries/00001.json                       what became of them
          differences/fields.csv.gz                what differs between what was sent and the org
          differences/send_again.csv.gz  …         the rows: see reconcile/named.py
          differences/compared.json                which days they were of
          repairs/00001.csv.gz  00001.sent.json    repair 1: modified and missing rows, sent again
          repairs/00001.json                       what became of them
          repairs/00001.failed.csv.gz              rows of it that Salesforce refused
          failed/extract-00001.json                why a task did not finish, until it does
          .locks/00001                             held (flock) by the one process at work on it
      sales_target/dbhost_5432_kpc/                a PostgreSQL server and database
        2026-11-21.json                            the copy of that day is committed
        2026-11-21.failed.json                     why it is not, until it is

A marker appears whole or not at all: it is written to a temporary name in the same folder, flushed
to disk, and renamed. A marker that cannot be read raises `CorruptMarkerError`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from kpcluigi.errors import (
    ChunkChangedError,
    ChunkLockedError,
    CorruptMarkerError,
    StaleRunError,
)
from kpcluigi.files import replacing
from kpcluigi.markers import AutomationBefore, ChunkManifest, LoadJournal, Marker, Plan
from kpcluigi.oracle.window import DEFAULT_WINDOW

M = TypeVar("M", bound=Marker)

_RUN = re.compile(r"(?P<mode>full|incremental)_(?P<start>[^_]+)_(?P<end>[^_]+)")
_TEMPORARY = re.compile(r"^\..+\.tmp-(\d+)$")


@dataclass(frozen=True)
class RunFolder:
    """One run: an org, a mode, a window."""

    path: Path

    @property
    def identity(self) -> Path:
        return self.path / "run.json"

    @property
    def scope(self) -> Path:
        """Of an incremental run."""
        return self.path / "increment.json"

    @property
    def started(self) -> Path:
        return self.path / "started.json"

    def preflight(self, invocation: str) -> Path:
        return self.path / "preflight" / f"{invocation}.json"

    @property
    def last_preflight(self) -> Path:
        """The newest; their names begin with the time of the start."""
        found = sorted((self.path / "preflight").glob("[!.]*.json"))
        return found[-1] if found else self.preflight("none")

    @property
    def report_page(self) -> Path:
        return self.path / "report.html"

    @property
    def report_facts(self) -> Path:
        return self.path / "report.json"

    @property
    def audit(self) -> Path:
        return self.path / "audit.jsonl"

    @property
    def job_logs(self) -> Path:
        return self.path / "salesforce" / "logs"

    @property
    def gzip_verdict(self) -> Path:
        return self.path / "salesforce" / "gzip.json"

    def table(self, name: str) -> TableFolder:
        return TableFolder(self.path / name)

    def sweep(self) -> None:
        """Remove the temporary files of processes that no longer live."""
        sweep(self.path)


@dataclass(frozen=True)
class TableFolder:
    """One table within a run."""

    path: Path

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def source_totals(self) -> Path:
        return self.path / "source_totals.json"

    @property
    def reconciled(self) -> Path:
        return self.path / "reconciled.json"

    def chunk_file(self, n: int) -> Path:
        return self.path / "chunks" / f"{n:05d}.csv.gz"

    def chunk_manifest(self, n: int) -> Path:
        return self.path / "chunks" / f"{n:05d}.json"

    def load_journal(self, n: int) -> Path:
        return self.path / "loads" / f"{n:05d}.journal.json"

    def spent_jobs(self, now: datetime) -> Path:
        return self.path / "loads" / f"spent-{now:%Y%m%dT%H%M%S%f}.json"

    def load_result(self, n: int) -> Path:
        return self.path / "loads" / f"{n:05d}.json"

    def again(self, n: int) -> Path:
        """Folder of the rows that are sent again, while the chunk's load is under way."""
        return self.path / "loads" / f"{n:05d}.again"

    def blanked(self, n: int) -> Path:
        return self.path / "blanked" / f"{n:05d}.csv.gz"

    def dead_letter(self, n: int) -> Path:
        return self.path / "dead_letter" / f"{n:05d}.csv.gz"

    def rejected_rows(self, n: int) -> Path:
        return self.path / "dead_letter" / f"{n:05d}.rejected.csv.gz"

    def files_of_chunk(self, n: int) -> list[Path]:
        """All that is known of chunk n, but for the journal: jobs under way stay known."""
        return [
            self.load_result(n),
            self.chunk_manifest(n),
            self.chunk_file(n),
            self.rejected_rows(n),
            self.dead_letter(n),
            self.blanked(n),
        ]

    @property
    def dead_letters(self) -> list[Path]:
        """Every file of rows that are not in Salesforce."""
        return sorted((self.path / "dead_letter").glob("[!.]*.csv.gz"))

    @property
    def settled_dead_letters(self) -> list[Path]:
        """Those of chunks whose load is done, and of retries: what they hold is final."""
        return [
            path
            for path in self.dead_letters
            if path.name.startswith("retry-") or self.load_result(int(path.name[:5])).exists()
        ]

    def dead_retry(self, attempt: int) -> Path:
        return self.path / "dead_letter" / f"retry-{attempt:05d}.csv.gz"

    @property
    def retries(self) -> Path:
        return self.path / "retries"

    def retry_file(self, attempt: int) -> Path:
        return self.retries / f"{attempt:05d}.csv.gz"

    def retry_source(self, attempt: int) -> Path:
        return self.retries / f"{attempt:05d}.sent.json"

    def retry_journal(self, attempt: int) -> Path:
        return self.retries / f"{attempt:05d}.journal.json"

    def retry_again(self, attempt: int) -> Path:
        return self.retries / f"{attempt:05d}.again"

    def retry_blanked(self, attempt: int) -> Path:
        return self.path / "blanked" / f"retry-{attempt:05d}.csv.gz"

    def retry_result(self, attempt: int) -> Path:
        return self.retries / f"{attempt:05d}.json"

    @property
    def attempts(self) -> list[int]:
        """The attempts to send dead-lettered rows again, the last of them maybe under way."""
        return sorted(int(path.name[:5]) for path in self.retries.glob("[0-9]*.sent.json"))

    def retry_before(self, attempt: int) -> Path:
        """The rows of an attempt as they were before somebody corrected them."""
        return self.retries / f"{attempt:05d}.before.csv.gz"

    @property
    def blanked_files(self) -> list[Path]:
        """Rows that were sent without a parent, of all loads that are done."""
        return sorted((self.path / "blanked").glob("[!.]*.csv.gz"))

    @property
    def differences(self) -> Path:
        """What the last comparison of rows named."""
        return self.path / "differences"

    @property
    def scratch(self) -> tuple[Path, Path]:
        """Of a comparison of rows, while it is under way: rows of both sides, and differences."""
        return self.path / ".rows", self.path / ".differences"

    @property
    def compared_before(self) -> Path:
        return self.differences / "compared.json"

    @property
    def repairs(self) -> Path:
        return self.path / "repairs"

    def repair_file(self, attempt: int) -> Path:
        return self.repairs / f"{attempt:05d}.csv.gz"

    def repair_source(self, attempt: int) -> Path:
        return self.repairs / f"{attempt:05d}.sent.json"

    def repair_journal(self, attempt: int) -> Path:
        return self.repairs / f"{attempt:05d}.journal.json"

    def repair_again(self, attempt: int) -> Path:
        return self.repairs / f"{attempt:05d}.again"

    def repair_dead(self, attempt: int) -> Path:
        """Rows that a repair could not put right, with their reasons."""
        return self.repairs / f"{attempt:05d}.failed.csv.gz"

    def repair_blanked(self, attempt: int) -> Path:
        return self.path / "blanked" / f"repair-{attempt:05d}.csv.gz"

    def repair_result(self, attempt: int) -> Path:
        return self.repairs / f"{attempt:05d}.json"

    @property
    def repaired(self) -> list[int]:
        """The repairs, the last of them maybe under way."""
        return sorted(int(path.name[:5]) for path in self.repairs.glob("[0-9]*.sent.json"))

    @property
    def failures(self) -> Path:
        return self.path / "failed"

    def failure(self, stage: str, n: int | None) -> Path:
        return self.failures / (f"{stage}.json" if n is None else f"{stage}-{n:05d}.json")

    @contextmanager
    def plan_lock(self) -> Iterator[None]:
        """Wait for the right to change the plan, as a chunk does that needs its own snapshot."""
        path = self.path / ".locks" / "plan"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def retry_lock(self) -> Iterator[None]:
        """Hold the right to send rows again, or to compare them. Raises `ChunkLockedError`."""
        with self._lock("retries", "what was loaded of it"):
            yield

    @contextmanager
    def chunk_lock(self, n: int) -> Iterator[None]:
        """Hold the lock of chunk n; the system frees it when the process dies, however it dies.

        Raises:
            ChunkLockedError: another process is at work on this chunk.
        """
        with self._lock(f"{n:05d}", f"chunk {n}"):
            yield

    @contextmanager
    def _lock(self, name: str, what: str) -> Iterator[None]:
        path = self.path / ".locks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                raise ChunkLockedError(
                    f"{self.path.name}: {what} is being worked on by process {holder}; "
                    f"wait until it has ended and run the same command again"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield


@dataclass(frozen=True)
class SalesTargetFolder:
    """The daily copies of the sales targets into one database."""

    path: Path

    def synced(self, day: date) -> Path:
        return self.path / f"{day}.json"

    def failure(self, day: date) -> Path:
        return self.path / f"{day}.failed.json"


def sweep(folder: Path) -> None:
    """Remove the temporary files, in a folder, of processes that no longer live."""
    for path in folder.rglob(".*.tmp-*"):
        found = _TEMPORARY.match(path.name)
        if found and not alive(int(found[1])):
            path.unlink(missing_ok=True)


def make_private(root: Path) -> None:
    """The folder of all runs, for its owner alone: it holds personal data."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if root.stat().st_mode & 0o077:
        root.chmod(0o700)


def write_marker(path: Path, marker: Marker) -> None:
    """Put the marker where readers find it, whole and on disk, or not at all."""
    with replacing(path) as file:
        file.write(marker.model_dump_json(indent=1).encode() + b"\n")


def read_marker(path: Path, model: type[M]) -> M | None:
    """The marker, or None where there is none.

    Raises:
        CorruptMarkerError: the file is there but is not such a marker.
    """
    try:
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, OSError) as error:
        fault = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        remedy = "restore it from a backup, or remove it to have that step done again"
        if model is LoadJournal:
            remedy = (
                "it names the Bulk job that is under way: wait until the org shows no unfinished "
                "job for this object (Setup, Bulk Data Load Jobs), then remove the file"
            )
        if model is AutomationBefore:
            remedy = (
                "it says how to put the org's automation back on: see in the org which custom "
                "setting and permission set this user has (`[automation]` in luigi.cfg names "
                "them), put that right by hand, then remove the file"
            )
        raise CorruptMarkerError(
            f"{path} is not a readable {model.__name__} marker ({fault}); {remedy}"
        ) from None


def refuse_stale(folder: TableFolder, fingerprint: str) -> None:
    """Raises `StaleRunError` when a table was planned under another mapping, window or source."""
    plan = read_marker(folder.plan, Plan)
    if plan is not None and plan.fingerprint != fingerprint:
        raise StaleRunError(
            f"{folder.path.name}: its mapping or source changed since it was planned on "
            f"{plan.written_at:%Y-%m-%d %H:%M} UTC; nothing was started. Undo the change, or have "
            f"what is not yet loaded extracted again with: "
            f"{reextract_command(folder)}"
        )


def reextract_command(folder: TableFolder, *options: str) -> str:
    """What has a table's chunks extracted again, in the very run that the folder belongs to."""
    words = ["kpcluigi", "reextract", "--table", folder.path.name, *options]
    return " ".join([*words, *_options_of_run(folder)])


def retry_command(folder: TableFolder) -> str:
    """What sends a table's dead-lettered rows again, in the very run that the folder belongs to."""
    return _luigi_command(folder, "RetryFailed")


def repair_command(folder: TableFolder) -> str:
    """What sends a table's missing and modified rows again, in that run."""
    return _luigi_command(folder, "Repair")


def _luigi_command(folder: TableFolder, task: str) -> str:
    words = ["luigi", "--module", "kpcluigi", task, "--table", folder.path.name]
    run = _RUN.fullmatch(folder.path.parent.name)
    until = ["--until", run["end"]] if run and run["mode"] == "incremental" else []
    return " ".join([*words, *until, *_options_of_run(folder)])


def _options_of_run(folder: TableFolder) -> list[str]:
    """Mode and dates by which a command finds the run; none where they are the usual ones."""
    run = _RUN.fullmatch(folder.path.parent.name)
    if run is None:
        return []
    options: list[str] = []
    if run["mode"] == "incremental":
        options += ["--mode", "incremental"]
    if run["start"] != str(DEFAULT_WINDOW.start):
        options += ["--start-date", run["start"]]
    if run["mode"] == "full" and run["end"] != str(DEFAULT_WINDOW.end):
        options += ["--end-date", run["end"]]
    return options


def verify_chunk(folder: TableFolder, manifest: ChunkManifest) -> None:
    """Raises `ChunkChangedError` unless the file is, byte for byte, the one extracted."""
    file = folder.chunk_file(manifest.n)
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != manifest.sha256:
        raise ChunkChangedError(
            f"{manifest.table} chunk {manifest.n}: {file} was changed after its extraction "
            f"(sha256 {found[:12]}…, expected {manifest.sha256[:12]}…); nothing of it was sent. "
            f"Extract it again with: {reextract_command(folder, '--chunk', str(manifest.n))}, then "
            f"run the same command again"
        )


def alive(pid: int) -> bool:
    """Whether a process of this host lives."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
