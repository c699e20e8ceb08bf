"""The ledger of the loads beside Oracle's count, and the marker that all of it ends in."""

from __future__ import annotations

from kpcluigi.load import Standing
from kpcluigi.markers import Check, Plan, Reconciled, SourceTotals, Verdict
from kpcluigi.tables import Table

NAMED = 100
"""Differences that stand in the marker."""


def ledger_checks(plan: Plan, totals: SourceTotals, loads: Standing) -> list[Check]:
    """Oracle's count against the plan, the extraction and the outcomes of the loads."""
    extracted, arrived, dead = loads.extracted, loads.arrived, loads.dead
    return [
        count_check(
            "plan and source", totals.rows, plan.rows, dead=0, detail=_snapshots(plan, totals)
        ),
        count_check("extracted", totals.rows, extracted, dead=0),
        count_check("every row has an outcome", extracted, arrived + dead, dead=0),
        count_check("loaded", totals.rows, arrived, dead=dead),
    ]


def marker(
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


def count_check(name: str, expected: int, found: int, *, dead: int, detail: str = "") -> Check:
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
