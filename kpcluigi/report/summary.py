"""The state of every table of a run, read from its markers and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kpcluigi.audit import AuditEnd
from kpcluigi.automation import warning_while_off
from kpcluigi.errors import CorruptMarkerError, StagingError
from kpcluigi.load import dead_rows, finished_attempts, standing
from kpcluigi.markers import (
    Check,
    Chunk,
    ChunkManifest,
    Failure,
    IncrementScope,
    Marker,
    Plan,
    PreflightResult,
    Reconciled,
    RepairResult,
    RetryResult,
    RowErrors,
    RunIdentity,
    SourceTotals,
)
from kpcluigi.reconcile.ledger import source_notes
from kpcluigi.staging import M, RunFolder, TableFolder, read_marker
from kpcluigi.tables import Table

if TYPE_CHECKING:
    import pandas as pd

PASS = "PASS"
DELETES = "Incremental: rows that were deleted in Oracle are not seen, they are still in the org"


@dataclass(frozen=True)
class TableSummary:
    """One table: rows at each step, chunks done, verdict, and what stands in the way."""

    table: str
    object: str
    phase: int
    planned: int | None
    """None until the table is planned."""
    extracted: int
    loaded: int
    failed: int
    """Rows in the dead letter."""
    in_org: int | None
    verdict: str
    """PASS, EXCEPTIONS or FAIL once reconciled; until then how far it is."""
    chunks: int
    chunks_extracted: int
    chunks_loaded: int
    changed_to_fit: int
    notes: list[str] = field(default_factory=list)
    """What is to be known of how the source was read."""
    not_loaded: list[Path] = field(default_factory=list)
    """Chunk files, made or not, whose rows are not in the org yet; once the table is planned."""
    failures: list[Failure] = field(default_factory=list)
    dead_letters: list[Path] = field(default_factory=list)
    errors: list[RowErrors] = field(default_factory=list)
    """The rows of the dead letter by their reason."""
    attempts: list[RetryResult] = field(default_factory=list)
    """Finished attempts to send dead-lettered rows again."""
    blanked: int = 0
    """Rows sent without a parent that the org does not have."""
    reconciled: Reconciled | None = None
    """The comparison of Oracle, the ledger and the org; None until there is one."""
    repairs: list[RepairResult] = field(default_factory=list)
    """Finished attempts to send missing and modified rows again."""
    snapshot: Snapshot | None = None
    """None until the table is planned."""

    @property
    def success_rate(self) -> float | None:
        """Of the rows that Oracle gave, how many arrived, in per cent; None where it gave none."""
        return share(self.extracted, self.loaded) if self.extracted else None

    @property
    def difference(self) -> int | None:
        """Oracle's rows less the org's; None until reconciled."""
        return None if self.reconciled is None else self.reconciled.difference

    @property
    def match_percentage(self) -> float | None:
        return None if self.reconciled is None else self.reconciled.match_percentage

    @property
    def can_be_repaired(self) -> bool:
        """It has rows that are named as modified or missing in the org."""
        if self.reconciled is None or self.verdict == PASS:
            return False
        rows = self.reconciled.rows
        return rows is not None and bool(rows.modified or rows.missing)

    @property
    def levels(self) -> dict[int, list[Check]]:
        """The checks of the reconciliation by their level."""
        found: dict[int, list[Check]] = {}
        for check in self.reconciled.checks if self.reconciled else ():
            found.setdefault(check.level, []).append(check)
        return dict(sorted(found.items()))


@dataclass(frozen=True)
class Snapshot:
    """As of when, and by which mapping, a table was read."""

    scn: int | None
    at: datetime
    fingerprint: str
    window: str
    owner: str
    strategy: str
    planned_at: datetime
    reread: list[Chunk]
    """Chunks that were read at another SCN."""

    @classmethod
    def of(cls, plan: Plan) -> Snapshot:
        return cls(
            scn=plan.scn,
            at=plan.snapshot_at,
            fingerprint=plan.fingerprint,
            window=plan.window,
            owner=plan.owner,
            strategy=plan.strategy,
            planned_at=plan.written_at,
            reread=plan.reread,
        )


@dataclass(frozen=True)
class MappingFile:
    """tables.toml as it was when the command began."""

    path: str
    sha256: str

    @classmethod
    def read(cls, path: Path) -> MappingFile:
        return cls(str(path), hashlib.sha256(path.read_bytes()).hexdigest())


@dataclass(frozen=True)
class RunSummary:
    """A run, table by table."""

    folder: Path
    window: str
    """Which rows it moves."""
    scope: IncrementScope | None
    """Of an incremental run."""
    identity: RunIdentity | None
    preflight: PreflightResult | None
    tables: list[TableSummary]
    left_out: int
    """Tables of tables.toml that are not part of it (`--tables`)."""
    automation_off: str
    """The sentence that says that the org's automation is off; empty while it is on."""
    audit: AuditEnd | None = None
    """None where the run has not come to an end."""
    mapping: MappingFile | None = None
    started_at: datetime | None = None
    """When the command was last started."""

    @property
    def reconciled(self) -> bool:
        """Every table's verdict is PASS."""
        return all(table.verdict == PASS for table in self.tables)

    @property
    def green(self) -> bool:
        """Every table's verdict is PASS, and the audit can be relied on."""
        return self.reconciled and not (self.audit and self.audit.problem)

    @property
    def may_be_signed(self) -> bool:
        """Green, of something, and with nothing left to be put back in the org."""
        return self.green and bool(self.tables) and not self.automation_off

    def frame(self) -> pd.DataFrame:
        """One row per table; counts that are not known yet are NA."""
        import pandas as pd  # half a second that only a report needs

        counts = ["planned", "extracted", "loaded", "failed", "in_org"]
        columns = ["phase", "table", *counts, "verdict"]
        rows = [[getattr(table, name) for name in columns] for table in self.tables]
        return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(counts, "Int64"))


def summarise(
    folder: RunFolder,
    tables: Sequence[Table],
    rows: str,
    *,
    left_out: int = 0,
    still_off: str = "",
    audit: AuditEnd | None = None,
    mapping: MappingFile | None = None,
) -> RunSummary:
    """Read the markers of the given tables. A corrupt one shows as that table's failure.

    Args:
        rows: which rows the run moves, in words.
        still_off: what is known of automation that could not be put back.
        audit: how the audit stands, at the end of a run.
        mapping: the tables.toml of the run.
    """
    started = _or_none(folder.started, Marker)
    return RunSummary(
        folder=folder.path,
        window=rows,
        scope=_or_none(folder.scope, IncrementScope),
        identity=_or_none(folder.identity, RunIdentity),
        preflight=_or_none(folder.last_preflight, PreflightResult),
        tables=[_table(folder.table(table.name), table) for table in tables],
        left_out=left_out,
        automation_off=still_off or warning_while_off(folder.path.parent),
        audit=audit,
        mapping=mapping,
        started_at=started.written_at if started else None,
    )


def _or_none(path: Path, model: type[M]) -> M | None:
    """What is only shown must not keep the rest from being shown; the run itself refuses it."""
    try:
        return read_marker(path, model)
    except CorruptMarkerError:
        return None


def _table(folder: TableFolder, table: Table) -> TableSummary:
    try:
        return _read(folder, table)
    except StagingError as error:
        failure = Failure(
            table=table.name,
            stage="marker",
            n=None,
            invocation="",
            error=type(error).__name__,
            message=str(error),
        )
        return _blank(table, "corrupt marker", [failure])


def _read(folder: TableFolder, table: Table) -> TableSummary:
    failures = _failures(folder)
    done = read_marker(folder.reconciled, Reconciled)
    if done is not None and done.verdict == PASS:
        failures = []
    dead_letters = folder.dead_letters
    errors = dead_rows(folder, table) if dead_letters else []
    attempts = finished_attempts(folder)
    repairs = finished_repairs(folder)
    plan = read_marker(folder.plan, Plan)
    snapshot = Snapshot.of(plan) if plan else None
    if done is not None and not failures:
        return TableSummary(
            table=table.name,
            object=table.object,
            phase=table.phase,
            planned=done.source,
            extracted=done.extracted,
            loaded=done.created + done.updated,
            failed=done.dead_lettered,
            in_org=done.salesforce,
            verdict=done.verdict,
            chunks=done.chunks,
            chunks_extracted=done.chunks,
            chunks_loaded=done.chunks,
            changed_to_fit=done.changed_to_fit,
            notes=done.notes,
            dead_letters=dead_letters,
            errors=errors,
            attempts=attempts,
            blanked=done.blanked,
            reconciled=done,
            repairs=repairs,
            snapshot=snapshot,
        )
    if plan is None:
        return _blank(table, "not planned", failures)
    manifests = [read_marker(folder.chunk_manifest(c.n), ChunkManifest) for c in plan.chunks]
    now = standing(folder, plan)
    loads = now.loads
    extracted = sum(
        load.extracted if load else manifest.rows + manifest.rejected if manifest else 0
        for load, manifest in zip(loads, manifests, strict=True)
    )
    loaded = [load for load in loads if load]
    state: str
    if done is not None:
        state = done.verdict
    elif failures:
        state = "stopped"
    elif len(loaded) == len(loads):
        state = "loaded"
    else:
        state = "under way"
    return TableSummary(
        table=table.name,
        object=table.object,
        phase=table.phase,
        planned=plan.rows,
        extracted=extracted,
        loaded=now.arrived,
        failed=now.dead,
        in_org=done.salesforce if done else None,
        verdict=state,
        chunks=len(plan.chunks),
        chunks_extracted=sum(1 for x, y in zip(loads, manifests, strict=True) if x or y),
        chunks_loaded=len(loaded),
        changed_to_fit=sum(
            known.changed_to_fit
            for load, manifest in zip(loads, manifests, strict=True)
            if (known := load or manifest)
        ),
        notes=source_notes(plan, read_marker(folder.source_totals, SourceTotals)),
        not_loaded=[folder.chunk_file(n) for n, load in enumerate(loads, 1) if load is None],
        failures=failures,
        dead_letters=dead_letters,
        errors=errors,
        attempts=attempts,
        blanked=now.blanked,
        reconciled=done,
        repairs=repairs,
        snapshot=snapshot,
    )


def finished_repairs(folder: TableFolder) -> list[RepairResult]:
    """What became of the rows of each repair, oldest first. Raises `CorruptMarkerError`."""
    results = [read_marker(folder.repair_result(k), RepairResult) for k in folder.repaired]
    return [result for result in results if result is not None]


def share(whole: int, part: int) -> float:
    """In per cent, never rounded up to 100."""
    if whole == part:
        return 100.0
    return min(round(100 * part / whole, 4), 99.9999) if whole else 0.0


def _failures(folder: TableFolder) -> list[Failure]:
    """What did not finish and has not been finished since, by this task or by another's work."""
    found = [read_marker(path, Failure) for path in sorted(folder.failures.glob("[!.]*.json"))]
    return [f for f in found if f is not None and not _done_since(folder, f)]


def _done_since(folder: TableFolder, failure: Failure) -> bool:
    if failure.n is not None:
        loaded = folder.load_result(failure.n).exists()
        return loaded or (failure.stage == "extract" and folder.chunk_manifest(failure.n).exists())
    target = {"plan": folder.plan, "totals": folder.source_totals}.get(failure.stage)
    return target is not None and target.exists()


def _blank(table: Table, verdict: str, failures: list[Failure]) -> TableSummary:
    return TableSummary(
        table=table.name,
        object=table.object,
        phase=table.phase,
        planned=None,
        extracted=0,
        loaded=0,
        failed=0,
        in_org=None,
        verdict=verdict,
        chunks=0,
        chunks_extracted=0,
        chunks_loaded=0,
        changed_to_fit=0,
        failures=failures,
    )
