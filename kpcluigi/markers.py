"""What each marker file of a run says, as typed models.

Times are UTC, sizes bytes, durations seconds. `staging.py` knows where they lie and how they are
written. Other programs may rely on the fields named in the README.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from kpcluigi.version import VERSION

KeyType = Literal["number", "text", "datetime"]
Verdict = Literal["PASS", "EXCEPTIONS", "FAIL"]


class Marker(BaseModel):
    """What every marker says of itself."""

    model_config = ConfigDict(frozen=True)

    tool_version: str = VERSION
    written_at: datetime = Field(default_factory=lambda: datetime.now(UTC))


class RunIdentity(Marker):
    """run.json: the two ends that this folder belongs to."""

    org_id: str
    org_url: str
    oracle_database: str


class PreflightResult(Marker):
    """preflight.json: what was checked at the last start."""

    invocation: str
    checks: list[str]
    warnings: list[str]
    problem: str = ""
    """Why nothing was started; empty when all is well."""


class Chunk(BaseModel):
    """A half-open key range: low <= key < high; None is an open end."""

    model_config = ConfigDict(frozen=True)

    n: int
    rows: int
    low: list[str] | None = None
    high: list[str] | None = None
    null_keys: bool = False
    """The chunk of the rows whose key is NULL; it has no range."""


class Plan(Marker):
    """plan.json: how a table is cut."""

    table: str
    owner: str
    partition_column: str
    scn: int | None
    """The snapshot that all chunks are read at; None where FLASHBACK is not granted."""
    fingerprint: str
    key: list[str]
    key_types: list[KeyType]
    rows: int
    sql: str
    seconds: float
    chunks: list[Chunk]


class Fitted(BaseModel):
    """Values of one column that were changed, or will be read as something else."""

    truncated: int = 0
    rounded: int = 0
    out_of_range: int = 0
    """Dates that Salesforce cannot hold, sent as NULL."""
    invalid_utf8: int = 0
    """Texts with bytes that were no UTF-8, each sent as U+FFFD."""
    null_as_false: int = 0
    """NULL booleans, sent as false."""
    null_literal: int = 0
    """Texts that are literally `#N/A`: Salesforce reads them as NULL."""
    sample_keys: list[str] = []


class ChunkManifest(Marker):
    """chunks/00001.json: what the chunk file beside it holds."""

    table: str
    n: int
    scn: int | None
    fingerprint: str
    sql: str
    rows: int
    """Rows in the file; `rows + rejected` is what Oracle gave."""
    rejected: int
    rejected_for: dict[str, int] = {}
    """Rows by the reason that stands with them in the file of the rejected, as `sf__Error`."""
    fitted: dict[str, Fitted]
    raw_bytes: int
    """Uncompressed size, header included."""
    file_bytes: int
    sha256: str
    """Of the compressed file."""
    header_bytes: int
    cuts: list[int]
    """Uncompressed offset behind every 10,000th row, and behind the last."""
    seconds: float

    @property
    def changed_to_fit(self) -> int:
        """Values that lost something: cut, rounded, blanked, or with bytes replaced."""
        return sum(
            c.truncated + c.rounded + c.out_of_range + c.invalid_utf8 for c in self.fitted.values()
        )


class SourceTotals(Marker):
    """source_totals.json: what Oracle says of the whole window at the plan's SCN."""

    table: str
    scn: int | None
    rows: int
    sql: str
    seconds: float


class JobOutcome(BaseModel):
    """One Bulk job and what became of its rows."""

    id: str
    state: str
    rows: int
    created: int = 0
    updated: int = 0
    failed: int = 0
    unprocessed: int = 0
    message: str = ""


class Part(BaseModel):
    """One job's share of a chunk: bytes [start, end) of the uncompressed file, header excluded."""

    rows: int
    start: int
    end: int
    job_id: str | None = None
    outcome: JobOutcome | None = None


class LoadJournal(Marker):
    """loads/00001.journal.json: what is in flight."""

    table: str
    n: int
    chunk_sha256: str
    parts: list[Part]
    spent_jobs: list[JobOutcome] = []
    """Jobs that ended without their rows: failed, aborted or expired."""


class LoadResult(Marker):
    """loads/00001.json: the final outcome of every row of a chunk."""

    table: str
    n: int
    object: str
    chunk_sha256: str
    extracted: int
    created: int
    updated: int
    failed: int
    unprocessed: int
    rejected: int
    changed_to_fit: int
    jobs: list[JobOutcome]
    seconds: float


class Check(BaseModel):
    """One comparison of a reconciliation."""

    level: int
    name: str
    verdict: Verdict
    expected: int
    found: int
    detail: str = ""


class Reconciled(Marker):
    """reconciled.json: Oracle, the ledger of the loads and the org, side by side."""

    table: str
    object: str
    fingerprint: str
    verdict: Verdict
    source: int
    extracted: int
    created: int
    updated: int
    dead_lettered: int
    salesforce: int
    difference: int
    match_percentage: float
    chunks: int
    changed_to_fit: int
    checks: list[Check]


class Failure(Marker):
    """failed/STAGE.json: why a task did not finish; removed when it does."""

    table: str
    stage: str
    n: int | None
    invocation: str
    error: str
    message: str
