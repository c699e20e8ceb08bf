"""Level 1: Oracle's count, the ledger of the loads and the org's count, side by side."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from kpcluigi.load import Standing
from kpcluigi.markers import Check, Plan, Reconciled, SourceTotals, Verdict
from kpcluigi.oracle import Window
from kpcluigi.salesforce import Client, count
from kpcluigi.tables import Table


def in_org(table: Table, window: Window) -> str:
    """The window as a SOQL condition on the mapped partition column, half-open like Oracle's.

    Empty when the partition column is not mapped: then the whole object is counted.
    """
    column = table.columns.get(table.partition_column)
    if column is None or column.type not in ("date", "datetime"):
        return ""
    if column.type == "date":
        return f"{column.field} >= {window.start} AND {column.field} <= {window.end}"
    zone = table.zone_of(column)
    start, end = (
        datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
        for day in (window.start, window.end + timedelta(days=1))
    )
    return (
        f"{column.field} >= {start:%Y-%m-%dT%H:%M:%SZ} AND "
        f"{column.field} < {end:%Y-%m-%dT%H:%M:%SZ}"
    )


def reconcile_counts(
    client: Client,
    table: Table,
    window: Window,
    *,
    plan: Plan,
    totals: SourceTotals,
    loads: Standing,
) -> Reconciled:
    """Compare the counts. PASS: all agree. EXCEPTIONS: all that is missing is dead-lettered."""
    where = in_org(table, window)
    found = count(client, table.object, where=where)
    check = _check(
        "count in the org", totals.rows, found, dead=loads.dead, detail=where or "whole object"
    )
    checks = [*ledger_checks(plan, totals, loads), check]
    return compared(table, plan, totals, loads, in_org=found, checks=checks)


def ledger_checks(plan: Plan, totals: SourceTotals, loads: Standing) -> list[Check]:
    """Oracle's count against the plan, the extraction and the outcomes of the loads."""
    extracted, arrived, dead = loads.extracted, loads.arrived, loads.dead
    return [
        _check("plan and source", totals.rows, plan.rows, dead=0, detail=_snapshots(plan, totals)),
        _check("extracted", totals.rows, extracted, dead=0),
        _check("every row has an outcome", extracted, arrived + dead, dead=0),
        _check("loaded", totals.rows, arrived, dead=dead),
    ]


def compared(
    table: Table,
    plan: Plan,
    totals: SourceTotals,
    loads: Standing,
    *,
    in_org: int,
    checks: list[Check],
) -> Reconciled:
    """The marker; the worst of the checks is its verdict."""
    verdicts = {check.verdict for check in checks}
    verdict: Verdict = (
        "FAIL" if "FAIL" in verdicts else "EXCEPTIONS" if "EXCEPTIONS" in verdicts else "PASS"
    )
    return Reconciled(
        table=table.name,
        object=table.object,
        fingerprint=plan.fingerprint,
        verdict=verdict,
        source=totals.rows,
        extracted=loads.extracted,
        created=loads.created,
        updated=loads.updated,
        dead_lettered=loads.dead,
        salesforce=in_org,
        difference=totals.rows - in_org,
        match_percentage=_share(totals.rows, in_org),
        chunks=len(plan.chunks),
        changed_to_fit=loads.changed_to_fit,
        blanked=loads.blanked,
        checks=checks,
        notes=source_notes(plan, totals),
    )


def source_notes(plan: Plan, totals: SourceTotals | None) -> list[str]:
    """What is to be known of how the source was read."""
    notes = list(plan.notes)
    for chunk in plan.reread:
        assert chunk.reread is not None
        notes.append(
            f"chunk {chunk.n} was counted and read at SCN {chunk.reread.scn}, not at the plan's "
            f"{plan.scn}: {chunk.reread.reason}"
        )
    if totals is not None:
        notes += totals.notes
        if totals.duplicate_keys:
            shown = ", ".join(totals.duplicate_keys[:5])
            notes.append(f"more than one row has the external id {shown}: they become one record")
    return notes


def _snapshots(plan: Plan, totals: SourceTotals) -> str:
    """Why counts may differ though nothing was lost."""
    later = [str(chunk.n) for chunk in plan.reread]
    if later:
        return f"chunks {', '.join(later)} were read at later snapshots"
    return "" if totals.scn == plan.scn else "the totals were read at a later snapshot"


def _check(name: str, expected: int, found: int, *, dead: int, detail: str = "") -> Check:
    """Equal is PASS; short by exactly the dead-lettered rows is EXCEPTIONS; all else is FAIL."""
    missing = expected - found
    verdict: Verdict = "PASS" if missing == 0 else "EXCEPTIONS" if missing == dead else "FAIL"
    return Check(level=1, name=name, verdict=verdict, expected=expected, found=found, detail=detail)


def _share(source: int, found: int) -> float:
    """Of the source's rows, how many are in the org, in per cent; never rounded up to 100."""
    if source == 0:
        return 100.0 if found == 0 else 0.0
    exact = min(source, found) / max(source, found) * 100
    return 100.0 if source == found else min(round(exact, 4), 99.9999)
