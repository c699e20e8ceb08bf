"""Runs that were never run, as their markers would tell of them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from kpcluigi.chunkfile import writing
from kpcluigi.csvframes import header_line
from kpcluigi.load.row_errors import ERROR
from kpcluigi.markers import (
    Check,
    Chunk,
    ChunkManifest,
    ComparedRange,
    ComparedRows,
    Difference,
    Failure,
    Fitted,
    JobOutcome,
    LoadResult,
    Marker,
    Plan,
    PreflightResult,
    Reconciled,
    RepairResult,
    RepairSource,
    Reread,
    RowErrors,
    RunIdentity,
)
from kpcluigi.report import MappingFile, RunSummary, summarise
from kpcluigi.staging import RunFolder, write_marker
from kpcluigi.tables import Table

WHEN = datetime(2025, 1, 6, 19, 0, tzinfo=UTC)
WINDOW = "2022-01-01..2024-12-31"
HOSTILE = '<script>alert("1")</script>'
THAI = "กรุงเทพมหานคร อมรรัตนโกสินทร์"
FOLDER = "full_2022-01-01_2024-12-31"


def run_folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "kpc" / FOLDER)
    folder.path.mkdir(parents=True)
    return folder


def begin(folder: RunFolder) -> None:
    """What the preflight leaves."""
    write_marker(folder.started, Marker(written_at=WHEN))
    identity = RunIdentity(
        written_at=WHEN,
        org_id="00D000000000001AAA",
        org_url="https://kpc--uat.sandbox.my.salesforce.com",
        oracle_database="TMSPROD/4711",
    )
    write_marker(folder.identity, identity)
    preflight = PreflightResult(
        written_at=WHEN, invocation="one", checks=["Statements parsed: 48"], warnings=["a warning"]
    )
    write_marker(folder.preflight("20250106T190000-one"), preflight)


def stage(
    folder: RunFolder,
    table: Table,
    *,
    rows: int = 1_000,
    chunks: int = 2,
    begun: datetime = WHEN,
    lasts: timedelta = timedelta(seconds=10),
    failed: int = 0,
    reread: bool = False,
    fitted: dict[str, Fitted] | None = None,
) -> None:
    """A table whose chunks are planned, extracted and loaded one after another.

    Args:
        failed: rows of the first chunk that did not arrive.
    """
    at = folder.table(table.name)
    again = Reread(scn=999, snapshot_at=begun, reason="ORA-01555: snapshot too old")
    plan = Plan(
        written_at=begun,
        table=table.name,
        owner="TMS",
        partition_column=table.partition_column,
        window=WINDOW,
        scn=4_711,
        snapshot_at=begun,
        fingerprint="f" * 64,
        strategy="key_range",
        key=list(table.key),
        key_types=["text"] * len(table.key),
        rows=rows * chunks,
        sql="",
        seconds=1,
        columns=[],
        notes=[],
        chunks=[
            Chunk(n=n, rows=rows, reread=again if reread and n == 1 else None)
            for n in range(1, chunks + 1)
        ],
    )
    write_marker(at.plan, plan)
    for n in range(1, chunks + 1):
        sent, dead = begun + (n - 1) * lasts, failed if n == 1 else 0
        manifest = ChunkManifest(
            written_at=sent,
            table=table.name,
            n=n,
            scn=4_711,
            fingerprint="f" * 64,
            sql="",
            rows=rows,
            rejected=0,
            fitted=fitted or {},
            raw_bytes=1,
            file_bytes=1,
            sha256="",
            header_bytes=1,
            cuts=[(rows, 1)],
            seconds=1,
        )
        write_marker(at.chunk_manifest(n), manifest)
        job = JobOutcome(
            id=f"750{table.name[-6:]}{n:06d}",
            state="JobComplete",
            rows=rows,
            created=rows - dead,
            failed=dead,
            sent_at=sent,
            ended_at=sent + lasts,
            batches=-(-rows // 10_000),
        )
        load = LoadResult(
            written_at=sent + lasts,
            table=table.name,
            n=n,
            object=table.object,
            chunk_sha256="",
            extracted=rows,
            created=rows - dead,
            updated=0,
            failed=dead,
            unprocessed=0,
            rejected=0,
            changed_to_fit=manifest.changed_to_fit,
            jobs=[job],
            seconds=10,
        )
        write_marker(at.load_result(n), load)
    if failed:
        errors = [f"FIELD_CUSTOM_VALIDATION_EXCEPTION:{HOSTILE} {THAI}:Net__c--"] * failed
        keys = [f"DEAD-{i}" for i in range(failed)]
        with writing(at.dead_letter(1), header_line([ERROR, table.external_id])) as writer:
            writer.add(pl.DataFrame({ERROR: errors, table.external_id: keys}))
            writer.close()


def reconciled(folder: RunFolder, table: Table, source: int, **facts: Any) -> Reconciled:
    """Write the table's verdict; a good one where `facts` do not say otherwise."""
    checks = [
        Check(level=1, name="count in the org", verdict="PASS", expected=source, found=source),
        Check(
            level=2,
            name="sum of Net_Amount__c",
            verdict="PASS",
            expected="1234567890.12",
            found="1234567890.12",
            detail="tolerance 0.0004",
        ),
    ]
    given: dict[str, Any] = {
        "written_at": WHEN + timedelta(days=6),
        "table": table.name,
        "object": table.object,
        "fingerprint": "f" * 64,
        "verdict": "PASS",
        "source": source,
        "extracted": source,
        "created": source,
        "updated": 0,
        "dead_lettered": 0,
        "salesforce": source,
        "difference": 0,
        "match_percentage": 100.0,
        "chunks": 2,
        "changed_to_fit": 0,
        "counted_by": "range by range, because the object has an index on the day",
        "ranges": [
            ComparedRange(
                start=date(2022, 1, 1),
                end=date(2022, 6, 30),
                source=source,
                salesforce=source,
                verdict="PASS",
            )
        ],
        "sampled": 777,
        "sample_checksum": "c" * 64,
        "checks": checks,
        "requests": 23,
        "seconds": 4.5,
        **facts,
    }
    marker = Reconciled.model_validate(given)
    write_marker(folder.table(table.name).reconciled, marker)
    return marker


def bad_verdict(source: int) -> dict[str, Any]:
    """What is wrong with a table, in every way that there is."""
    differences = [
        Difference(
            level=2,
            kind="range",
            field="Net_Amount__c",
            measure="sum",
            expected="987654321.01",
            found="987654321.00",
            tolerance="0.0004",
            range="2022-01-01..2022-06-30",
        ),
        Difference(
            level=4, kind="modified", key="S-0001", field="Note__c", expected=THAI, found=HOSTILE
        ),
        Difference(
            level=4, kind="modified", key="S-0002", field="Pad__c", expected="x ", found="x"
        ),
        Difference(level=4, kind="missing", key="S-0003"),
        Difference(level=4, kind="extra", key="S-9999"),
        Difference(
            level=4, kind="changed_since", key="S-5", field="A__c", expected=None, found="1"
        ),
        Difference(level=5, kind="no_parent", key="S-6", field="Store__r.Code__c", expected="T-1"),
        *(
            Difference(
                level=4,
                kind="modified",
                key=f"KEY-WITH-A-RATHER-LONG-NAME-THAT-GOES-ON-{i:06d}",
                field="A_Field_With_A_Very_Long_Name_Indeed__c",
                expected="1",
                found="2",
            )
            for i in range(300)
        ),
    ]
    return {
        "verdict": "FAIL",
        "salesforce": source - 1,
        "difference": 1,
        "match_percentage": 99.9999,
        "dead_lettered": 3,
        "checks": [
            Check(level=1, name="loaded", verdict="EXCEPTIONS", expected=source, found=source - 3),
            Check(
                level=2,
                name="sum of Net_Amount__c",
                verdict="FAIL",
                expected="987654321.01",
                found="987654321.00",
                detail="2022-01-01..2022-06-30, tolerance 0.0004",
            ),
            Check(level=4, name="rows", verdict="FAIL", expected=0, found=303),
        ],
        "rows": ComparedRows(
            ranges=["2022-01-01..2022-06-30"],
            staged=10_007,
            salesforce=10_011,
            identical=9_683,
            modified=302,
            missing=1,
            extra=13,
            changed_since=17,
            dead_lettered=3,
            query_jobs=2,
            seconds=12.5,
        ),
        "differences": differences,
        "accepted": ["changed_since"],
        "not_checked": [f"Note__c: a LOB is compared by its length only {HOSTILE}"],
    }


def repaired(folder: RunFolder, table: Table) -> None:
    at = folder.table(table.name)
    source = RepairSource(
        table=table.name,
        attempt=1,
        rows=9,
        invocation="one",
        changed_too=False,
        ranges=[],
        sha256="",
        header_bytes=1,
        cuts=[(9, 1)],
    )
    write_marker(at.repair_source(1), source)
    done = RepairResult(
        table=table.name,
        attempt=1,
        rows=9,
        changed_too=False,
        created=2,
        updated=6,
        failed=1,
        unprocessed=0,
        errors=[
            RowErrors(
                code="X",
                field="",
                rows=1,
                message="X:the repair's:--",
                sample_keys=["R-1"],
            )
        ],
        jobs=[],
        seconds=3.5,
    )
    write_marker(at.repair_result(1), done)


def good_run(folder: RunFolder, tables: list[Table]) -> None:
    begin(folder)
    for table in tables:
        stage(folder, table)
        reconciled(folder, table, 2_000)


def bad_run(folder: RunFolder, tables: list[Table]) -> None:
    """The first table is wrong in every way, the second has stopped, the third is not planned."""
    begin(folder)
    first, second, *_ = tables
    fitted = {"NOTE_COLUMN": Fitted(truncated=31, sample_keys=["FIT-1"])}
    stage(
        folder,
        first,
        rows=6_500_000,
        chunks=40,
        lasts=timedelta(hours=3.5),
        failed=3,
        reread=True,
        fitted=fitted,
    )
    reconciled(folder, first, 260_000_000, **bad_verdict(260_000_000))
    repaired(folder, first)
    stage(folder, second)
    for table, stage_name in ((first, "reconcile"), (second, "load")):
        failure = Failure(
            table=table.name,
            stage=stage_name,
            n=None,
            invocation="one",
            error="ReconciliationError",
            message=f"{table.name}: {HOSTILE} does not agree",
        )
        write_marker(folder.table(table.name).failure(stage_name, None), failure)


def summary_of(folder: RunFolder, tables: list[Table], **facts: Any) -> RunSummary:
    mapping = MappingFile("tables.toml", "d" * 64)
    return summarise(folder, tables, WINDOW, mapping=mapping, **facts)
