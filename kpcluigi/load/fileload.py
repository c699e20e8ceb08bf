"""One staged file into Salesforce: jobs, journal, results, rows that are sent again.

What is known is on disk before the next step is taken (the journal, `loads/0000n.journal.json`):

| the process dies …                | what a later run does                                      |
|-----------------------------------|------------------------------------------------------------|
| before a job is created           | creates it                                                 |
| after, but before its id is saved | creates another; the first holds no data (`kpcluigi clean`)|
| during the upload                 | aborts that job, its data is incomplete; creates another   |
| after the upload                  | closes that job                                            |
| after it is closed, while polling | waits for it                                               |
| during the results                | fetches those that are missing                             |
| before the marker                 | counts the results again; nothing is sent                  |

A job that Salesforce has under way is never sent a second time. A job that Salesforce no longer
knows (it keeps them for 7 days) has left its rows in doubt: they are sent once more, and upserted.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, Protocol

import polars as pl

from kpcluigi.chunkfile import JobBody, cut_into_jobs
from kpcluigi.csvframes import frames_of, rows_between
from kpcluigi.errors import JobFailedError, SalesforceError, StagingError
from kpcluigi.load.compression import PROBE_ROWS, Compressed, Compression
from kpcluigi.load.journal import Journal, outcome_of
from kpcluigi.load.results import JobResults, Survey
from kpcluigi.load.row_errors import (
    ERROR,
    ErrorCounts,
    is_for_columns,
    is_unreadable,
    unreadable_error,
)
from kpcluigi.load.settle import Patience, Places, Settled, sent_keys, settle, write_rows
from kpcluigi.markers import JobOutcome, LoadJournal, Part
from kpcluigi.salesforce import (
    Client,
    JobInfo,
    abort_job,
    close_job,
    create_job,
    job_info,
    upload,
    wait_for_job,
)
from kpcluigi.tables import Table

CLAIM_STANDS = timedelta(hours=1)
"""How long a share of the allocation may be claimed before its job is created."""
MOST_EXCEEDED = 100
UNSUPPORTED = 415
NOT_TAKEN = (400, 411, UNSUPPORTED, 422)
"""HTTP statuses by which a server may refuse a body for its encoding."""
Stage = Literal["uploading", "in_progress"]
MOST_HALVES = 100
"""Jobs that one file may cost in search of rows that Salesforce cannot read."""


@dataclass(frozen=True)
class LoadRules:
    """How jobs are cut, sent and waited for; see `[salesforce]` in luigi.cfg.

    Attributes:
        max_file_size: raw bytes of one job's CSV.
        retries: further tries of an upload, and of rows with a passing error.
    """

    max_file_size: int
    poll_interval: float
    poll_interval_max: float
    job_timeout: float
    retries: int


@dataclass(frozen=True)
class StagedFile:
    """A gzip CSV that is to be loaded, and where what is known of its load lies.

    Attributes:
        title: for people, such as "KPS_T_SALES_MD chunk 3".
        cuts: where a job may begin or end; see `chunkfile`.
        journal: what is under way; removed by whoever writes the final marker.
        again: folder of the rows that are sent again, and of the dead ones, until then.
    """

    title: str
    table: str
    n: int
    path: Path
    sha256: str
    rows: int
    header_bytes: int
    cuts: list[tuple[int, int]]
    journal: Path
    again: Path

    def body_of(self, part: Part) -> JobBody:
        """The CSV of one job."""
        path = self.path if part.file is None else self.again / part.file
        header = self.header_bytes if part.file is None else part.start
        return JobBody(path, header_bytes=header, start=part.start, end=part.end)


class Gate(Protocol):
    """What every job has to pass before it is created."""

    def admit(
        self, rows: int, claim: Callable[[datetime], None], tell: Callable[[str], None]
    ) -> None:
        """Wait until the daily allocation has room for a job of so many rows, then claim it."""

    def note_exceeded(self, reason: str, tell: Callable[[str], None]) -> None:
        """Salesforce failed a job for want of allocation."""


@dataclass(frozen=True)
class Loaded:
    """Every row of a file has an outcome: file rows = created + updated + failed + unprocessed."""

    outcomes: list[JobOutcome]
    spent_jobs: list[JobOutcome]
    dead_files: list[Path]
    """Rows that did not arrive, with their errors; to be gathered before `again` is removed."""
    blanked_files: list[Path]
    """Rows as they were before they lost a parent, in the order in which that happened."""

    def count(self, name: str) -> int:
        """The sum of one count over all jobs."""
        return sum(getattr(outcome, name) for outcome in self.outcomes)

    @property
    def errors(self) -> ErrorCounts:
        counts = ErrorCounts()
        for outcome in self.outcomes:
            counts.merge(outcome.errors)
        return counts


@dataclass
class FileLoad:
    """The load of one staged file; `run` brings it from wherever it stands to its end.

    Attributes:
        logs: folder of the result files.
        gate: holds jobs back while the daily allocation is used up.
        may_send: asked before each job; raises where the load is not to go on.
        stage: told what is being done, whenever that changes, for whoever watches from outside.
        tell: receives a status line, the share done (0 to 1) and the job at work on.
    """

    client: Client
    table: Table
    staged: StagedFile
    logs: Path
    rules: LoadRules
    compression: Compression
    gate: Gate
    may_send: Callable[[], None]
    stage: Callable[[Stage], None]
    tell: Callable[[str, float, str | None], None]

    def run(self) -> Loaded:
        """Send what is not sent, wait for the rest, account for each row.

        Raises:
            JobFailedError: a job was refused, or kept failing; the next run sends its rows again.
            JobTimeoutError: a job outlasted `job_timeout`; the next run picks it up.
        """
        self._open_journal()
        self._rounds: dict[int, int] = {}
        self._doubts = self._exceeded = 0
        index = 0
        while index < len(self._journal.parts):
            while self._journal.parts[index].outcome is None:
                self._work_on(index)
            index += 1
        parts = self._journal.parts
        return Loaded(
            outcomes=[part.outcome for part in parts if part.outcome is not None],
            spent_jobs=self._journal.spent_jobs,
            dead_files=self._made("dead"),
            blanked_files=self._made("blanked"),
        )

    def _made(self, kind: str) -> list[Path]:
        paths = [self._beside(index, kind) for index in range(len(self._journal.parts))]
        return [path for path in paths if path.exists()]

    def _beside(self, index: int, kind: str) -> Path:
        """A file that belongs to one part."""
        return self.staged.again / f"{index:04d}.{kind}.csv.gz"

    def _open_journal(self) -> None:
        """Take up the journal of an earlier run for this very file, or begin one."""
        staged = self.staged
        earlier = Journal.read(staged.journal)
        if earlier is not None and earlier.chunk_sha256 == staged.sha256:
            self._journal = Journal(staged.journal, earlier)
            self._recut()
            return
        spent = [] if earlier is None else self._end_jobs_of(earlier)
        shutil.rmtree(staged.again, ignore_errors=True)
        cuts = cut_into_jobs(
            staged.cuts,
            header_bytes=staged.header_bytes,
            max_bytes=self.rules.max_file_size,
            max_rows=self.table.records_per_job,
        )
        parts = [Part(rows=cut.rows, start=cut.start, end=cut.end) for cut in cuts]
        self._journal = Journal.begin(
            staged.journal,
            LoadJournal(
                table=staged.table,
                n=staged.n,
                chunk_sha256=staged.sha256,
                parts=self._with_probe(parts),
                spent_jobs=spent,
            ),
        )

    def _recut(self) -> None:
        """Unsent parts that today's caps forbid become several; the caps may have been lowered."""
        most = self.table.records_per_job
        for index, part in enumerate(list(self._journal.parts)):
            size = self.staged.header_bytes + part.end - part.start
            small = size <= self.rules.max_file_size and (most is None or part.rows <= most)
            if (
                small
                or part.file is not None
                or part.job_id is not None
                or part.outcome is not None
            ):
                continue
            before = max((cut for cut in self.staged.cuts if cut[1] <= part.start), default=(0, 0))
            cuts = cut_into_jobs(
                [cut for cut in self.staged.cuts if part.start < cut[1] <= part.end],
                header_bytes=self.staged.header_bytes,
                max_bytes=self.rules.max_file_size,
                max_rows=most,
                behind=(before[0], part.start),
            )
            pieces = [Part(rows=cut.rows, start=cut.start, end=cut.end) for cut in cuts]
            self._journal.replace(index, pieces)

    def _with_probe(self, parts: list[Part]) -> list[Part]:
        """Where it is not known whether the org takes gzip, the first batch is a job of its own."""
        rows, end = self.staged.cuts[0] if self.staged.cuts else (0, 0)
        if not parts or not PROBE_ROWS == rows < parts[0].rows:
            return parts
        if not self.compression.wants_proof():
            return parts
        first = parts[0]
        probe = Part(rows=rows, start=first.start, end=end)
        return [probe, Part(rows=first.rows - rows, start=end, end=first.end), *parts[1:]]

    def _end_jobs_of(self, earlier: LoadJournal) -> list[JobOutcome]:
        """End the jobs of a file that was made anew: they must not overtake the new one's."""
        spent = list(earlier.spent_jobs)
        for index, part in enumerate(earlier.parts):
            if part.outcome is not None:
                spent.append(part.outcome)
                continue
            info = self._info(part.job_id) if part.job_id else None
            if info is None:
                continue
            if info.state == "Open":
                abort_job(self.client, info.id)
            elif not info.ended:
                info = self._wait(info.id, part, index, len(earlier.parts))
            why = "the chunk was extracted anew"
            spent.append(outcome_of(part, info, why=why, took_data=info.state != "Open"))
        return spent

    def _work_on(self, index: int) -> None:
        """Take one part one job further: to its outcome, or back to being unsent."""
        if not self._find_job(index):
            if self._journal.parts[index].outcome is not None:
                return
            self._pause(index)
            self._send(index)
        part = self._journal.parts[index]
        assert part.job_id is not None
        try:
            info = self._wait(part.job_id, part, index, len(self._journal.parts))
        except SalesforceError as error:
            if error.status != 404:
                raise
            self._doubt(index, JobInfo(part.job_id, "Gone", 0, 0, ""))
            return
        if (
            part.compressed
            and info.state == "Failed"
            and info.message.startswith(("InvalidBatch", "ClientInputError"))
            and self.compression.verdict is not True
        ):
            # Whatever it says of the CSV: it may be compressed bytes that were taken for one
            self.compression.refuse(job_id=info.id, reason=info.message)
            self._journal.spend(index, info)
            return
        if info.state == "Failed" and is_for_columns(info.message):
            self._journal.spend(index, info)
            raise JobFailedError(self._failure(part, info, loaded=0))
        results = JobResults(self.logs, self.table, info.id)
        try:
            survey = self._fetched(results)
        except SalesforceError as error:
            if error.status != 404:
                raise
            self._doubt(index, info)
            return
        self._judge_compression(part, info, survey)
        if info.state != "JobComplete" and survey.named.rows == survey.unprocessed:
            self._nothing_done(index, info)
            return
        self._settle(index, info, results, survey)

    def _find_job(self, index: int) -> bool:
        """Whether the part has a job under way or ended; one that cannot be used is spent."""
        part = self._journal.parts[index]
        if part.job_id is None:
            return False
        info = self._info(part.job_id)
        if info is None:
            if not self._settle_from_disk(index, part.job_id):
                self._doubt(index, JobInfo(part.job_id, "Gone", 0, 0, ""))
            return False
        if info.state == "Aborted" and not part.uploaded:
            self._journal.spend(index, info, "interrupted before it was closed")
            return False
        if info.state != "Open":
            return True
        if part.uploaded:
            try:
                close_job(self.client, info.id)
            except SalesforceError as error:
                if error.passing:
                    raise
            else:
                return True
        # It is not known how much of the data arrived, and a job takes only one upload
        abort_job(self.client, info.id)
        aborted = JobInfo(info.id, "Aborted", 0, 0, "")
        self._journal.spend(index, aborted, "interrupted before it was closed")
        return False

    def _settle_from_disk(self, index: int, job_id: str) -> bool:
        """Whether an earlier run fetched all results of a job that is gone by now; settles it."""
        results = JobResults(self.logs, self.table, job_id)
        if not all(path.exists() for path in results.files.values()):
            return False
        part = self._journal.parts[index]
        survey = results.survey()
        if survey.named != sent_keys(self.staged.body_of(part), self.table.external_id):
            return False
        kept = JobInfo(job_id, "JobComplete", survey.named.rows, 0, "")
        self._settle(index, kept, results, survey)
        return True

    def _doubt(self, index: int, info: JobInfo) -> None:
        """The job's results can no longer be had: what it loaded is not known."""
        part = self._journal.parts[index]
        why = "no longer known to Salesforce, which keeps jobs for 7 days: its rows are sent again"
        gone = JobInfo(info.id, "Gone", max(1, info.processed), 0, why)
        self._report(f"job {info.id} is {why}", info.id, index)
        self._beside(index, "dead").unlink(missing_ok=True)
        self._journal.spend(index, gone)
        self._doubts += 1
        if self._doubts > self.rules.retries + 1:  # one file has no more than one job at a time
            raise JobFailedError(self._failure(part, gone, loaded=0))

    def _pause(self, index: int) -> None:
        """Rows that failed for a passing reason are not sent again at once."""
        tries = self._rounds.get(index, 0)
        if tries:
            why = self._journal.parts[index].why or "the job before came to nothing"
            self.client.pause(tries, f"{self.staged.title}: {why}")

    def _send(self, index: int) -> None:
        """Create a job, journal its id, then upload and close; a broken upload costs its job."""
        attempt = 1
        while True:
            try:
                self._send_once(index)
                return
            except SalesforceError as error:
                part = self._journal.parts[index]
                if part.job_id is not None and self._went_on(index, part.job_id, error):
                    return
                if _is_exceeded(error.code or str(error)):
                    self._journal.unclaim(index)
                    self._note_exceeded(index, str(error))
                elif self._is_about_gzip(part, error):
                    self.compression.refuse(job_id=part.job_id or "", reason=str(error))
                elif not error.passing or attempt > self.rules.retries:
                    raise
                else:
                    self.client.pause(attempt, str(error))
                    attempt += 1

    def _send_once(self, index: int) -> None:
        self.may_send()
        claimed_at = self._journal.parts[index].sent_at
        if claimed_at is not None and datetime.now(UTC) - claimed_at > CLAIM_STANDS:
            self._journal.unclaim(index)
        part = self._journal.parts[index]
        if part.sent_at is None:
            self.gate.admit(
                part.rows,
                lambda now: self._journal.claim(index, now),
                lambda line: self._report(line, None, index),
            )
        compressed = self.compression.use_for(part.rows)
        job = create_job(self.client, self.table.object, external_id=self.table.external_id)
        self._journal.created(index, job.id, compressed=compressed)
        self.stage("uploading")
        self._report(f"uploading {part.rows:,} rows", job.id, index)
        body = self.staged.body_of(part)
        data = Compressed(body) if compressed else body
        upload(self.client, job.id, data, compressed=compressed)
        self._journal.uploaded(index)
        close_job(self.client, job.id)

    def _went_on(self, index: int, job_id: str, error: SalesforceError) -> bool:
        """Whether the job is under way although a request failed: its answer may have been lost.

        If it is not, the job is ended and spent.
        """
        state = job_info(self.client, job_id).state
        if state not in ("Open", "Aborted"):
            return True
        if state == "Open":
            abort_job(self.client, job_id)
        self._journal.spend(index, JobInfo(job_id, "Aborted", 0, 0, str(error)))
        return False

    def _is_about_gzip(self, part: Part, error: SalesforceError) -> bool:
        """Whether an upload was refused because it was compressed, or may have been."""
        if not part.compressed or part.uploaded:
            return False
        return error.status == UNSUPPORTED or (
            error.status in NOT_TAKEN and self.compression.verdict is not True
        )

    def _note_exceeded(self, index: int, reason: str) -> None:
        """The allocation is used up: the gate holds all jobs back until the org has room again."""
        self._exceeded += 1
        if self._exceeded > MOST_EXCEEDED:
            raise JobFailedError(
                f"{self.staged.title}: Salesforce refused it {self._exceeded} times for want of "
                f"allocation, though it said that some was left ({reason}). Run the same command "
                f"again once that is settled"
            )
        self.gate.note_exceeded(reason, lambda line: self._report(line, None, index))

    def _wait(self, job_id: str, part: Part, index: int, total: int) -> JobInfo:
        self.stage("in_progress")
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
                total,
            ),
        )

    def _fetched(self, results: JobResults) -> Survey:
        """The results of a job, counted; damaged files are fetched once more."""
        results.fetch(self.client)
        try:
            return results.survey()
        except StagingError:
            results.forget()
            results.fetch(self.client)
            return results.survey()

    def _judge_compression(self, part: Part, info: JobInfo, survey: Survey) -> None:
        """A compressed job that ended: did the org understand each of its rows?"""
        if part.compressed and info.state == "JobComplete":
            named = survey.named.rows
            self.compression.note(
                accepted=named == part.rows,
                job_id=info.id,
                reason=f"{named:,} of {part.rows:,} rows were understood",
            )

    def _nothing_done(self, index: int, info: JobInfo) -> None:
        """The job ended without any of its rows: they are sent again, or in halves, or given up."""
        part = self._journal.parts[index]
        if info.state == "Failed" and is_unreadable(info.message):
            self._halve(index, info)
        else:
            self._journal.spend(index, info)
            self._next_round(index, part, info, loaded=0)

    def _next_round(self, index: int, part: Part, info: JobInfo, *, loaded: int) -> None:
        """Count one more try of a part whose job failed as a whole; stop after the last."""
        if _is_exceeded(info.message):
            self._note_exceeded(index, info.message)
            return
        self._rounds[index] = self._rounds.get(index, 0) + 1
        if self._rounds[index] > self.rules.retries:
            raise JobFailedError(self._failure(part, info, loaded=loaded))

    def _halve(self, index: int, info: JobInfo) -> None:
        """A row cannot be read: send each half alone, down to that row."""
        part = self._journal.parts[index]
        halves = sum(1 for other in self._journal.parts if other.half)
        if part.rows == 1 or halves >= MOST_HALVES:
            self._bury(index, info)
            return
        count = len(self._journal.parts)
        body = self.staged.body_of(part)
        follow_ups: list[Part] = []
        middle = part.rows // 2
        for place, (first, after) in enumerate([(0, middle), (middle, part.rows)]):
            path = self._beside(count + place, "rows")
            made = write_rows(path, self.table.fields, rows_between(frames_of(body), first, after))
            follow_ups.append(
                Part(
                    rows=made.rows,
                    start=made.start,
                    end=made.end,
                    file=path.name,
                    why=f"one half of job {info.id}: {info.message}",
                    half=True,
                )
            )
        outcome = outcome_of(part, info, again=part.rows)
        self._journal.settle(index, outcome, follow_ups)

    def _bury(self, index: int, info: JobInfo) -> None:
        """Rows that Salesforce cannot read go to the dead letter, with its words."""
        part = self._journal.parts[index]
        error = unreadable_error(info.message)
        counts = ErrorCounts()

        def dead() -> Iterator[pl.DataFrame]:
            for frame in frames_of(self.staged.body_of(part)):
                named = frame.with_columns(**{ERROR: pl.lit(error)})
                counts.add(named.select(ERROR, self.table.external_id), self.table.external_id)
                yield named

        write_rows(self._beside(index, "dead"), [ERROR, *self.table.fields], dead())
        self._journal.settle(
            index, outcome_of(part, info, failed=part.rows, errors=counts.ordered()), []
        )

    def _settle(self, index: int, info: JobInfo, results: JobResults, survey: Survey) -> None:
        """Every row of the job: final, dead, or sent again."""
        part = self._journal.parts[index]
        tries = self._rounds.get(index, 0)
        whole = info.state == "JobComplete"
        body = self.staged.body_of(part)
        sent = sent_keys(body, self.table.external_id)
        if whole and survey.named != sent:
            results.forget()  # a download that was cut and looked whole
            survey = self._fetched(results)
        count = len(self._journal.parts)
        again, dead, blanked = (
            self._beside(count, "rows"),
            self._beside(index, "dead"),
            self._beside(count, "blanked"),
        )
        for path in (again, dead, blanked):  # of a run that died before it could note the outcome
            path.unlink(missing_ok=True)
        settled = settle(
            self.table,
            body,
            sent,
            results,
            survey,
            Places(again, dead, blanked),
            Patience(
                passing=not whole or tries < self.rules.retries,
                orphans=tries < self.rules.retries + len(self.table.lookups),
            ),
        )
        if settled.rows != part.rows or sent.rows != part.rows:
            raise JobFailedError(
                f"{self.staged.title}: job {info.id} took {part.rows:,} rows, but its results name "
                f"{survey.named.rows:,}, which cannot be matched with them; see {self.logs}"
            )
        follow_ups = self._follow_ups(settled, again, info, survey)
        outcome = outcome_of(
            part,
            info,
            created=settled.created,
            updated=settled.updated,
            failed=settled.failed,
            unprocessed=settled.unprocessed,
            again=settled.again.rows if settled.again else 0,
            errors=list(settled.errors),
        )
        self._journal.settle(index, outcome, follow_ups)
        if follow_ups:
            self._rounds[count] = tries + (1 if whole else 0)
            if not whole:
                self._rounds[count] = tries
                loaded = settled.created + settled.updated
                self._next_round(count, part, info, loaded=loaded)

    def _follow_ups(
        self, settled: Settled, again: Path, info: JobInfo, survey: Survey
    ) -> list[Part]:
        """The part of the rows that are sent again, if there are such rows."""
        if settled.again is None:
            return []
        reasons = {
            "with passing errors": survey.passing,
            "without a parent in the org": survey.orphans,
            "not processed": survey.unprocessed,
        }
        why = ", ".join(f"{rows:,} {reason}" for reason, rows in reasons.items() if rows)
        made = settled.again
        return [
            Part(
                rows=made.rows,
                start=made.start,
                end=made.end,
                file=again.name,
                why=f"job {info.id}: {why or 'rows that its results do not name'}",
            )
        ]

    def _failure(self, part: Part, info: JobInfo, *, loaded: int) -> str:
        return (
            f"{self.staged.title}: job {info.id} ended as {info.state}: "
            f"{info.message or 'no reason given'} ({loaded:,} of {part.rows:,} rows loaded). "
            f"File: {self.staged.path}; results: {self.logs}. Mend the cause and run the same "
            f"command again: it sends these rows once more"
        )

    def _info(self, job_id: str) -> JobInfo | None:
        try:
            return job_info(self.client, job_id)
        except SalesforceError as error:
            if error.status == 404:
                return None
            raise

    def _report(
        self,
        line: str,
        job_id: str | None,
        index: int,
        share: float = 0,
        total: int | None = None,
    ) -> None:
        """Tell where the load stands; `share` is how much of the part's job is processed."""
        total = len(self._journal.parts) if total is None else total
        label = f"job {index + 1} of {total}: " if total > 1 else ""
        self.tell(label + line, (index + share) / max(1, total), job_id)


def _is_exceeded(text: str) -> bool:
    """Whether Salesforce refused for want of allocation: ExceededQuota, EXCEEDEDQUOTA."""
    return "exceededquota" in text.replace("_", "").lower()
