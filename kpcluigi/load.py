"""One chunk file into Salesforce: jobs, journal, results, dead letter.

What is known is on disk before the next step is taken (`loads/0000n.journal.json`):

| the process dies …                | what a later run does                                      |
|-----------------------------------|------------------------------------------------------------|
| before a job is created           | creates it                                                 |
| after, but before its id is saved | creates another; the first holds no data and expires       |
| before the job is closed          | asks for its state; still open: aborts it, creates another |
| after it is closed, while polling | waits for it                                               |
| during the results                | fetches those that are missing                             |
| before the load marker            | counts the results again; nothing is sent                  |

A job that Salesforce has under way is never sent a second time.
"""

from __future__ import annotations

import csv
import io
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kpcluigi.chunkfile import JobBody, cut_into_jobs
from kpcluigi.errors import JobFailedError, SalesforceError, StagingError
from kpcluigi.files import gzip_reader, gzip_writer, replacing
from kpcluigi.markers import ChunkManifest, JobOutcome, LoadJournal, LoadResult, Part
from kpcluigi.salesforce import (
    Client,
    JobInfo,
    ResultKind,
    abort_job,
    close_job,
    create_job,
    download,
    job_info,
    upload,
    wait_for_job,
)
from kpcluigi.staging import TableFolder, read_marker, verify_chunk, write_marker
from kpcluigi.tables import Table

KINDS: tuple[ResultKind, ...] = ("successful", "failed", "unprocessed")
UNPROCESSED = "UNPROCESSED:Salesforce did not process this row:--"

csv.field_size_limit(1 << 24)  # a record may hold 400,000 characters, Python's default is 131,072


@dataclass(frozen=True)
class LoadRules:
    """How jobs are cut, sent and waited for; see `[salesforce]` in luigi.cfg."""

    max_file_size: int
    poll_interval: float
    poll_interval_max: float
    job_timeout: float
    retries: int


@dataclass
class ChunkLoad:
    """The load of one chunk file; `run` brings it from wherever it stands to its marker.

    Attributes:
        logs: folder of the result files.
        tell: receives a status line, the share done (0 to 1) and the job at work on.
    """

    client: Client
    table: Table
    manifest: ChunkManifest
    folder: TableFolder
    logs: Path
    rules: LoadRules
    tell: Callable[[str, float, str | None], None]

    def run(self) -> LoadResult:
        """Send what is not sent, wait for the rest, account for each row, write the marker.

        Raises:
            ChunkChangedError: the file is not the one that was extracted.
            JobFailedError: a job ended as Failed or Aborted; the next run sends its rows again.
            JobTimeoutError: a job outlasted `job_timeout`; the next run picks it up.
        """
        started = time.monotonic()
        n = self.manifest.n
        verify_chunk(self.folder, self.manifest)
        self._open_journal()
        for index, part in enumerate(self._journal.parts):
            if part.outcome is None:
                self._finish(index)
        outcomes = [part.outcome for part in self._journal.parts if part.outcome is not None]
        result = LoadResult(
            table=self.table.name,
            n=n,
            object=self.table.object,
            chunk_sha256=self.manifest.sha256,
            extracted=self.manifest.rows + self.manifest.rejected,
            created=sum(o.created for o in outcomes),
            updated=sum(o.updated for o in outcomes),
            failed=sum(o.failed for o in outcomes),
            unprocessed=sum(o.unprocessed for o in outcomes),
            rejected=self.manifest.rejected,
            changed_to_fit=self.manifest.changed_to_fit,
            jobs=[*self._journal.spent_jobs, *outcomes],
            seconds=round(time.monotonic() - started, 3),
        )
        self.folder.dead_letter(n).unlink(missing_ok=True)
        if result.failed or result.unprocessed:
            write_dead_letter(self.table, outcomes, self.logs, self.folder.dead_letter(n))
        write_marker(self.folder.load_result(n), result)
        self.folder.load_journal(n).unlink(missing_ok=True)
        return result

    def _open_journal(self) -> None:
        """Take up the journal of an earlier run for this very file, or begin one."""
        earlier = read_marker(self.folder.load_journal(self.manifest.n), LoadJournal)
        if earlier is not None and earlier.chunk_sha256 == self.manifest.sha256:
            self._journal = earlier
            return
        cuts = cut_into_jobs(
            self.manifest.cuts,
            rows=self.manifest.rows,
            header_bytes=self.manifest.header_bytes,
            max_bytes=self.rules.max_file_size,
            max_rows=self.table.records_per_job,
        )
        self._journal = LoadJournal(
            table=self.table.name,
            n=self.manifest.n,
            chunk_sha256=self.manifest.sha256,
            parts=[Part(rows=cut.rows, start=cut.start, end=cut.end) for cut in cuts],
        )
        if earlier is not None:
            spent = self._settle(earlier)
            self._journal = self._journal.model_copy(update={"spent_jobs": spent})
        write_marker(self.folder.load_journal(self.manifest.n), self._journal)

    def _settle(self, earlier: LoadJournal) -> list[JobOutcome]:
        """End the jobs of a file that was extracted anew: they must not overtake the new one's."""
        spent = list(earlier.spent_jobs)
        for part in earlier.parts:
            info = self._info(part.job_id) if part.job_id else None
            if info is None:
                continue
            if info.state == "Open":
                abort_job(self.client, info.id)
            elif not info.ended:
                info = self._wait(info.id, part, 0)
            spent.append(_spent(info, part.rows, "the chunk was extracted anew"))
        return spent

    def _finish(self, index: int) -> None:
        """Bring one part to its outcome."""
        part = self._find_job(index)
        if part.job_id is None:
            part = self._send(index)
        assert part.job_id is not None
        info = self._wait(part.job_id, part, index)
        outcome = self._harvest(info, part.rows)
        if info.state != "JobComplete":
            self._save(index, _unsent(part), outcome)
            raise JobFailedError(
                f"{self.table.name} chunk {self.manifest.n}: job {info.id} ended as {info.state}: "
                f"{info.message or 'no reason given'} ({outcome.created + outcome.updated:,} of "
                f"{part.rows:,} rows loaded). File: {self.folder.chunk_file(self.manifest.n)}; "
                f"results: {self.logs}. Mend the cause and run the same command again: "
                f"it sends these rows once more"
            )
        self._save(index, part.model_copy(update={"outcome": outcome}))

    def _find_job(self, index: int) -> Part:
        """The part as Salesforce knows it: with a job under way or ended, or unsent."""
        part = self._journal.parts[index]
        if part.job_id is None:
            return part
        info = self._info(part.job_id)
        if info is None:
            gone = JobInfo(part.job_id, "Gone", 0, 0, "no longer known to Salesforce")
            return self._save(index, _unsent(part), _spent(gone, part.rows))
        if info.state == "Open":
            # It is not known how much of the data arrived, and a job takes only one upload
            abort_job(self.client, info.id)
            aborted = JobInfo(info.id, "Aborted", 0, 0, "interrupted before it was closed")
            return self._save(index, _unsent(part), _spent(aborted, part.rows))
        if info.state == "Aborted":
            return self._save(index, _unsent(part), _spent(info, part.rows, "aborted"))
        return part

    def _send(self, index: int) -> Part:
        """Create a job, journal its id, then upload and close; a broken upload costs its job."""
        part = self._journal.parts[index]
        body = JobBody(
            self.folder.chunk_file(self.manifest.n),
            header_bytes=self.manifest.header_bytes,
            start=part.start,
            end=part.end,
        )
        for attempt in range(1, self.rules.retries + 2):
            job = create_job(self.client, self.table.object, external_id=self.table.external_id)
            part = self._save(index, part.model_copy(update={"job_id": job.id}))
            self._report(f"uploading {part.rows:,} rows", job.id, index)
            try:
                upload(self.client, job.id, body)
                close_job(self.client, job.id)
            except SalesforceError as error:
                # A request whose answer was lost may have taken effect all the same
                state = job_info(self.client, job.id).state
                if state not in ("Open", "Aborted"):
                    return part
                if state == "Open":
                    abort_job(self.client, job.id)
                broken = JobInfo(job.id, "Aborted", 0, 0, str(error))
                part = self._save(index, _unsent(part), _spent(broken, part.rows))
                if not error.passing or attempt > self.rules.retries:
                    raise
                self.client.pause(attempt, str(error))
            else:
                return part
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _wait(self, job_id: str, part: Part, index: int) -> JobInfo:
        return wait_for_job(
            self.client,
            job_id,
            timeout=self.rules.job_timeout,
            interval=self.rules.poll_interval,
            interval_max=self.rules.poll_interval_max,
            tell=lambda info: self._report(
                f"{info.state}, {info.processed:,} of {part.rows:,} rows",
                job_id,
                index,
                info.processed / max(1, part.rows),
            ),
        )

    def _harvest(self, info: JobInfo, rows: int) -> JobOutcome:
        """Fetch all three result sets and count them: each row once, with its final outcome."""
        files = {kind: result_file(self.logs, self.table.object, info.id, kind) for kind in KINDS}
        for kind, path in files.items():
            if not path.exists():
                download(self.client, info.id, kind, path)
        try:
            made = Counter(row["sf__Created"] for row in _rows(files["successful"]))
            created, updated = made["true"], made["false"]
            failed = sum(1 for _ in _rows(files["failed"]))
            unprocessed = sum(1 for _ in _rows(files["unprocessed"]))
        except (EOFError, OSError, KeyError, csv.Error, UnicodeDecodeError) as error:
            for path in files.values():
                path.unlink()
            raise StagingError(
                f"{self.table.name} chunk {self.manifest.n}: the results of job {info.id} in "
                f"{self.logs} are damaged ({error}) and were removed; run the same command again: "
                f"it fetches them anew"
            ) from error
        found = created + updated + failed + unprocessed
        if found != rows and info.state == "JobComplete":
            for path in files.values():
                path.unlink()
            raise JobFailedError(
                f"{self.table.name} chunk {self.manifest.n}: job {info.id} took {rows:,} rows, but "
                f"its results name {found:,} ({created + updated:,} loaded, {failed:,} failed, "
                f"{unprocessed:,} unprocessed); run the same command again: it fetches them anew"
            )
        return JobOutcome(
            id=info.id,
            state=info.state,
            rows=rows,
            created=created,
            updated=updated,
            failed=failed,
            unprocessed=unprocessed,
            message=info.message,
        )

    def _info(self, job_id: str) -> JobInfo | None:
        try:
            return job_info(self.client, job_id)
        except SalesforceError as error:
            if error.status == 404:
                return None
            raise

    def _report(self, line: str, job_id: str, index: int, share: float = 0) -> None:
        """Tell where the load stands; `share` is how much of the part's job is processed."""
        total = len(self._journal.parts)
        label = f"job {index + 1} of {total}: " if total > 1 else ""
        self.tell(label + line, (index + share) / total, job_id)

    def _save(self, index: int, part: Part, *spent: JobOutcome) -> Part:
        """Journal what is now known of one part."""
        parts = list(self._journal.parts)
        parts[index] = part
        self._journal = self._journal.model_copy(
            update={"parts": parts, "spent_jobs": [*self._journal.spent_jobs, *spent]}
        )
        write_marker(self.folder.load_journal(self.manifest.n), self._journal)
        return part


def _unsent(part: Part) -> Part:
    return part.model_copy(update={"job_id": None})


def _spent(info: JobInfo, rows: int, message: str = "") -> JobOutcome:
    return JobOutcome(id=info.id, state=info.state, rows=rows, message=info.message or message)


def result_file(logs: Path, sobject: str, job_id: str, kind: ResultKind) -> Path:
    """Where one of a job's three result sets is kept."""
    return logs / f"{sobject}_{job_id}_{kind}.csv.gz"


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a result file, streamed."""
    with gzip_reader(path) as packed, io.TextIOWrapper(packed, "utf-8", newline="") as text:
        yield from csv.DictReader(text)


def write_dead_letter(table: Table, outcomes: list[JobOutcome], logs: Path, path: Path) -> None:
    """Rows that did not arrive, with the reason first, ready to be corrected and sent again."""
    with replacing(path) as file, gzip_writer(file) as packed:
        with io.TextIOWrapper(packed, "utf-8", newline="") as text:
            writer = csv.DictWriter(
                text,
                ["sf__Error", *table.fields],
                extrasaction="ignore",
                lineterminator="\n",
                quoting=csv.QUOTE_ALL,
            )
            writer.writeheader()
            for outcome in outcomes:
                for kind in KINDS[1:]:
                    for row in _rows(result_file(logs, table.object, outcome.id, kind)):
                        writer.writerow({"sf__Error": UNPROCESSED, **row})
