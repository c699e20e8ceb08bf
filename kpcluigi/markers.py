"""What each marker file of a run says, as typed models.

Times are UTC, sizes bytes, durations seconds. `staging.py` knows where they lie and how they are
written. Other programs may rely on the fields named in the README.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from kpcluigi.tables import Strategy
from kpcluigi.version import VERSION

KeyType = Literal["number", "text", "datetime"]
Verdict = Literal["PASS", "EXCEPTIONS", "FAIL"]
DifferenceKind = Literal[
    "range",
    "modified",
    "missing",
    "extra",
    "changed_since",
    "trimmed",
    "duplicate",
    "no_parent",
]
"""Of rows in a range; of one row; or of a lookup that is empty in the org."""


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
    """preflight/START.json: what was checked at that start."""

    invocation: str
    checks: list[str]
    warnings: list[str]
    problem: str = ""
    """Why nothing was started; empty when all is well."""


class Reread(BaseModel):
    """A chunk that is read at a snapshot of its own."""

    model_config = ConfigDict(frozen=True)

    scn: int | None
    snapshot_at: datetime
    reason: str


class IncrementScope(Marker):
    """increment.json: what an incremental run carries; written when it begins."""

    start: date
    """First day of the full run's window."""
    until: datetime
    since: dict[str, datetime | None]
    """Table to the moment that its changes are carried from; None: all its rows."""
    after: dict[str, str]
    """Table to the run that it goes on from."""
    skipped: list[str]
    """Tables that tables.toml leaves out of incremental runs."""

    def __str__(self) -> str:
        earliest = min((moment for moment in self.since.values() if moment), default=self.start)
        return f"changes of {earliest:%Y-%m-%d %H:%M}..{self.until:%Y-%m-%d %H:%M} UTC"


class Chunk(BaseModel):
    """A half-open range: low <= key < high, or of ROWIDs; None is an open end."""

    model_config = ConfigDict(frozen=True)

    n: int
    rows: int | None
    """None where the table is cut by ROWID: the sum of all chunks is known, and checked."""
    by: Literal["key", "rowid"] = "key"
    low: list[str] | None = None
    high: list[str] | None = None
    null_keys: bool = False
    """The chunk of the rows whose key is NULL; it has no range."""
    reread: Reread | None = None
    """Set where the plan's snapshot could no longer be read when the chunk's turn came."""


class OracleColumn(BaseModel):
    """A column as Oracle declares it."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str
    """The driver's name of it, such as DB_TYPE_NUMBER."""
    precision: int | None
    scale: int | None
    nullable: bool


class Plan(Marker):
    """plan.json: how a table is cut."""

    table: str
    owner: str
    partition_column: str
    window: str
    scn: int | None
    """The snapshot that all chunks are read at; None where FLASHBACK is not granted."""
    snapshot_at: datetime
    """The database's time of that snapshot, in UTC."""
    fingerprint: str
    strategy: Strategy
    key: list[str]
    key_types: list[KeyType]
    rows: int
    sql: str
    seconds: float
    columns: list[OracleColumn]
    """What is read; empty once the mapping was changed after the plan: Oracle is asked again."""
    notes: list[str]
    """What the operator should know of how the table was cut."""
    chunks: list[Chunk]

    def scn_of(self, n: int) -> int | None:
        """The snapshot that chunk n is read at."""
        reread = self.chunks[n - 1].reread
        return self.scn if reread is None else reread.scn

    def with_chunk(self, chunk: Chunk) -> Plan:
        """The plan with one of its chunks in another state, and the rows that follow from it."""
        chunks = [chunk if other.n == chunk.n else other for other in self.chunks]
        known = [other.rows for other in chunks if other.rows is not None]
        rows = sum(known) if len(known) == len(chunks) else self.rows
        return self.model_copy(update={"chunks": chunks, "rows": rows})

    def rows_of(self, n: int) -> int:
        """The rows of chunk n; where only their sum is known, a guess."""
        rows = self.chunks[n - 1].rows
        return self.rows // len(self.chunks) if rows is None else rows

    @property
    def reread(self) -> list[Chunk]:
        """The chunks that are read at a snapshot of their own."""
        return [chunk for chunk in self.chunks if chunk.reread is not None]


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
    cuts: list[tuple[int, int]]
    """Rows so far and uncompressed offset: behind every 10,000th row, behind the last, and between
    where 10,000 rows are large."""
    seconds: float

    @property
    def changed_to_fit(self) -> int:
        """Values that lost something: cut, rounded, blanked, or with bytes replaced."""
        return sum(
            c.truncated + c.rounded + c.out_of_range + c.invalid_utf8 for c in self.fitted.values()
        )


class ColumnTotals(BaseModel):
    """One mapped column over one range of rows. Numbers are exact, as text.

    For numbers all but `length` is set (`sum` and `avg` where they are mapped as numbers); for
    dates `non_null`, `min` and `max`; for texts `non_null`, `length`, and `min` and `max` in binary
    order; for LOBs `non_null` and `length`.
    """

    non_null: int
    sum: str | None = None
    """Of the values as their field takes them: rounded to its places."""
    avg: str | None = None
    min: str | None = None
    max: str | None = None
    parents: int | None = None
    """Of a lookup: values that name a parent."""
    length: int | None = None
    """Characters (of binary values: bytes) of all values together."""


class RangeTotals(BaseModel):
    """The rows of one day of the partition column."""

    day: str
    """YYYY-MM-DD, of the source's own clock."""
    rows: int
    columns: dict[str, ColumnTotals]


class SourceTotals(Marker):
    """source_totals.json: what Oracle says of the whole window, read after its last chunk."""

    table: str
    scn: int | None
    """The plan's, unless it could no longer be read."""
    rows: int
    ranges: list[RangeTotals]
    """In the order of their days."""
    total: dict[str, ColumnTotals]
    """Every mapped column over all ranges."""
    columns: list[OracleColumn] = []
    """What was read."""
    sample_seed: str = ""
    sample_limit: str
    """A row is in the sample when the MD5 of seed and external id begins with less than this."""
    sample: dict[str, dict[str, str | None]]
    """External id to the row as Oracle holds it: numbers and dates as text, LOBs cut."""
    duplicate_keys: list[str]
    """External ids of the sample that more than one row has."""
    sql: str
    seconds: float
    notes: list[str] = []


class RowErrors(BaseModel):
    """Rows that did not arrive, for one reason."""

    model_config = ConfigDict(frozen=True)

    code: str
    """Salesforce's, such as REQUIRED_FIELD_MISSING, or one of the loader's own."""
    field: str
    """The field or fields that Salesforce names; empty where it names none."""
    rows: int
    message: str
    """Of the first of them, whole."""
    sample_keys: list[str]
    """External ids, five at most."""


class JobOutcome(BaseModel):
    """One Bulk job and what became of its rows.

    rows = created + updated + failed + unprocessed + again.
    """

    id: str
    state: str
    rows: int
    created: int = 0
    updated: int = 0
    failed: int = 0
    unprocessed: int = 0
    again: int = 0
    """Rows that a later job has the final outcome of."""
    errors: list[RowErrors] = []
    message: str = ""
    sent_at: datetime | None = None
    """When its share of the daily allocation was claimed, before the job was created."""
    ended_at: datetime | None = None
    """When it was first seen to have ended."""
    batches: int = 0
    """What it took of the daily allocation, at most; 0 where no data reached it."""


class Part(BaseModel):
    """What one job is to send: bytes [start, end) of an uncompressed CSV, header excluded."""

    rows: int
    start: int
    end: int
    file: str | None = None
    """In the folder of the rows that are sent again; None: the staged file itself."""
    why: str = ""
    """Of rows that are sent again: for what reason."""
    half: bool = False
    """One half of a file that Salesforce could not read."""
    sent_at: datetime | None = None
    """When its share of the daily allocation was claimed; None until then."""
    job_id: str | None = None
    compressed: bool = False
    uploaded: bool = False
    """All data arrived; what is left to do is to close the job."""
    outcome: JobOutcome | None = None


class LoadJournal(Marker):
    """loads/00001.journal.json: what is in flight."""

    table: str
    n: int
    chunk_sha256: str
    parts: list[Part]
    spent_jobs: list[JobOutcome] = []
    """Jobs that ended without any of their rows: refused, aborted or expired."""


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
    blanked: int = 0
    """Rows that arrived without a parent that the org does not have; they are in `blanked/`."""
    errors: list[RowErrors] = []
    """The failed, unprocessed and rejected rows by their reason, most frequent first."""
    jobs: list[JobOutcome]
    seconds: float


class SpentJobs(Marker):
    """loads/spent-TIME.json: jobs of chunks that are sent again, for the daily allocation."""

    table: str
    jobs: list[JobOutcome]


class AttemptSource(Marker):
    """The rows that an attempt sends again, in a file of their own."""

    table: str
    attempt: int
    rows: int
    invocation: str
    """The start of the command that it was begun by."""
    sha256: str
    header_bytes: int
    cuts: list[tuple[int, int]]


class RetrySource(AttemptSource):
    """retries/00001.sent.json: dead-lettered rows."""

    corrected: str
    """Name of the file that the rows were taken from; empty: they are sent as they were."""
    corrected_sha256: str = ""
    """Of that file: the same command may go on with the attempt."""
    raw_bytes: int


class RepairSource(AttemptSource):
    """repairs/00001.sent.json: rows that the org has not, or has otherwise."""

    changed_too: bool
    """Rows that were changed in the org since are among them."""
    ranges: list[str]
    """Days whose rows are compared from now on, whatever else agrees; empty: all."""


class AttemptResult(Marker):
    """What became of the rows of one attempt."""

    table: str
    attempt: int
    rows: int
    created: int
    updated: int
    failed: int
    unprocessed: int
    blanked: int = 0
    errors: list[RowErrors] = []
    jobs: list[JobOutcome]
    seconds: float


class RetryResult(AttemptResult):
    """retries/00001.json"""

    corrected: str


class RepairResult(AttemptResult):
    """repairs/00001.json"""

    changed_too: bool


class GzipVerdict(Marker):
    """salesforce/gzip.json: whether this org takes compressed uploads, as one small job showed."""

    accepted: bool
    job_id: str
    reason: str


class Check(BaseModel):
    """One comparison of a reconciliation.

    Levels: 1 counts, 2 aggregates, 3 sampled rows, 4 rows, 5 relationships.
    """

    level: int
    name: str
    verdict: Verdict
    expected: int | str
    """Exact; a number with places behind the point as text."""
    found: int | str
    detail: str = ""


class Difference(BaseModel):
    """One thing that Oracle and the org do not agree on."""

    level: int
    kind: DifferenceKind
    key: str = ""
    """External id; empty where a whole range differs."""
    field: str = ""
    measure: str = ""
    """Of a range: rows, sum, avg, min, max or non_null."""
    expected: str | None = None
    """As Oracle has it, and the mapping makes of it; None: NULL, or no such row."""
    found: str | None = None
    """As the org has it; None: NULL, or no such row."""
    tolerance: str = ""
    """Of a sum or mean, which the org gives as a double."""
    range: str = ""
    """The days that it is about; empty: the whole window."""


class ComparedRange(BaseModel):
    """Days of the partition column that were asked for together."""

    start: date
    end: date
    """The last day; it is included."""
    source: int
    """Rows that Oracle has."""
    salesforce: int
    verdict: Verdict


class ComparedRows(BaseModel):
    """What became of comparing rows one by one. Each row of both sides is in one of the classes."""

    ranges: list[str]
    """Which days; empty: all rows."""
    staged: int
    """Rows that were sent, or should have been."""
    salesforce: int
    identical: int
    modified: int
    missing: int
    """In Oracle, and not in the org."""
    extra: int
    """In the org, and not in Oracle. They are listed, and never deleted."""
    changed_since: int
    """Different, and changed in the org after they were loaded."""
    dead_lettered: int
    """Not in the org, and in the dead letter."""
    trimmed: int = 0
    """The same but for blanks at the ends of texts, which the org has not kept."""
    duplicates: int = 0
    """Of Oracle's rows that share their external id with another one: the org can hold only one."""
    query_jobs: int
    seconds: float
    folder: str = "differences"
    """Where the rows and fields are named, in the table's folder; empty when there are none."""


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
    blanked: int = 0
    """Rows that were sent without a parent that the org does not have."""
    counted_by: str = ""
    """How the org was counted, and why so."""
    ranges: list[ComparedRange] = []
    """What was counted apart."""
    sampled: int = 0
    """Rows of which every field was compared, by their hashes."""
    sample_checksum: str = ""
    """SHA-256 over the sampled rows as Oracle has them; equal where the same rows are sampled."""
    rows: ComparedRows | None = None
    """Of rows that were compared one by one."""
    checks: list[Check]
    differences: list[Difference] = []
    """The first of them; all that are of rows stand in the folder of `rows`."""
    accepted: list[str] = []
    """Kinds of differences that tables.toml accepts and that were found."""
    not_checked: list[str] = []
    """What could not be checked, and why."""
    notes: list[str] = []
    """What is to be known of how the source was read."""
    requests: int = 0
    """That counts, aggregates and the sample took of the daily API requests."""
    seconds: float = 0.0


class ComparedBefore(Marker):
    """differences/compared.json: where rows differed, so that they are compared again."""

    table: str
    ranges: list[str]
    """Days; empty: all rows."""


class ColumnSync(BaseModel):
    """One column of the sales targets; the sum is exact, as text."""

    non_null: int
    sum: str


class SalesTargetSynced(Marker):
    """sales_target/…/2026-11-21.json: the target equals the source; written after the commit."""

    day: date
    invocation: str
    """The start of the command that did it."""
    source: str
    target: str
    rows: int
    batches: int
    bytes: int
    """What COPY was sent."""
    rows_per_second: int
    seconds: float
    """From the first try to the commit."""
    peak_memory_mb: int
    tries: int
    columns: dict[str, ColumnSync]
    checksum: str
    """Of source, staged and final rows; see `kpcluigi.sales_target.content`."""
    notes: list[str] = []


class Failure(Marker):
    """failed/STAGE.json: why a task did not finish; removed when it does."""

    table: str
    stage: str
    n: int | None
    invocation: str
    error: str
    message: str


class ProbeRecord(BaseModel):
    """A record that only shows whether automation is off."""

    model_config = ConfigDict(frozen=True)

    object: str
    field: str
    """Its external id field."""
    key: str


class AutomationBefore(Marker):
    """automation.json: what the org had before automation was switched off; gone once put back."""

    org_id: str
    user_id: str
    invocation: str
    """The start of the command that switched it off."""
    custom_setting: str
    """A hierarchy custom setting; empty: none is touched."""
    fields: list[str]
    """Its checkboxes that are set."""
    values: dict[str, bool] | None
    """Their values before; None: the user had no record of its own."""
    permission_set: str
    """A permission set that is assigned; empty: none is touched."""
    permission_set_id: str
    assigned: bool
    """Whether the user had it before."""
    probe: ProbeRecord | None = None
    """One that may be in the org, and has to go."""

    @property
    def switches(self) -> str:
        """What switches it off, in words."""
        setting = f"{self.custom_setting} ({', '.join(self.fields)})" if self.custom_setting else ""
        assigned = f"permission set {self.permission_set}" if self.permission_set else ""
        return " and ".join(part for part in (setting, assigned) if part)

    @property
    def was_off(self) -> bool:
        """Nothing had to be changed to switch it off."""
        setting = not self.custom_setting or (self.values is not None and all(self.values.values()))
        return setting and (not self.permission_set or self.assigned)
