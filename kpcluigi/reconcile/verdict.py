"""What the levels together say of a table.

A range in which something differs is looked up row by row. Where what was sent agrees with Oracle's
totals there, what became of the rows explains all that differs, and decides; elsewhere the
difference stands.

| found                                              | verdict                        |
|----------------------------------------------------|--------------------------------|
| nothing differs                                    | PASS                           |
| rows in the dead letter                            | EXCEPTIONS, PASS if accepted   |
| rows that were changed in the org since            | EXCEPTIONS, PASS if accepted   |
| texts without the blanks that they had at the ends | EXCEPTIONS, PASS if accepted   |
| rows that the org has and Oracle has not           | FAIL, PASS if accepted         |
| modified or missing rows, or duplicates of a key   | FAIL                           |
| what was sent contradicts Oracle's totals          | FAIL                           |
| something differs, and rows could not be compared  | FAIL                           |
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kpcluigi.load import Standing
from kpcluigi.markers import Check, ComparedRange, ComparedRows, Plan, SourceTotals, Verdict
from kpcluigi.reconcile.aggregates import Compared, about, as_text
from kpcluigi.reconcile.ledger import ledger_checks
from kpcluigi.reconcile.measures import Measure, Value, merged
from kpcluigi.reconcile.sample import Sampled
from kpcluigi.tables import Table

DEAD = "dead_lettered"
CLASSES = (
    "modified",
    "missing",
    "duplicates",
    "extra",
    "changed_since",
    "trimmed",
    "dead_lettered",
)


@dataclass
class Findings:
    """What was found on all levels.

    Attributes:
        rows: of all that differ; None where nothing does, or they could not be compared.
        contradictions: where what was sent is not what Oracle's totals say.
        asked_for_rows: every row was to be compared.
    """

    table: Table
    compared: list[Compared]
    counted_by: str
    in_org: int
    sampled: Sampled
    rows: ComparedRows | None
    contradictions: list[str]
    asked_for_rows: bool

    def checks(self, plan: Plan, totals: SourceTotals, loads: Standing) -> list[Check]:
        """Every comparison with its verdict."""
        found = [
            *ledger_checks(plan, totals, loads),
            self._counts(totals.rows, loads.dead),
            *self._columns(),
            *self._sample(),
            *self._rows(),
        ]
        if DEAD not in self.table.accept or self._explained == "EXCEPTIONS":
            return found
        return [
            check.model_copy(update={"verdict": "PASS"})
            if check.verdict == "EXCEPTIONS" and check.level == 1
            else check
            for check in found
        ]

    def accepted(self, loads: Standing) -> list[str]:
        """Kinds that were found, and that tables.toml accepts."""
        rows = self.rows
        there = {DEAD: loads.dead}
        if rows is not None:
            there |= {
                "changed_since": rows.changed_since,
                "trimmed": rows.trimmed,
                "extra": rows.extra,
            }
        return [kind for kind in self.table.accept if there.get(kind)]

    def range_of(self, one: Compared) -> ComparedRange:
        """For the marker."""
        return ComparedRange(
            start=one.days.start,
            end=one.days.end,
            source=one.days.rows,
            salesforce=one.found.rows if one.found else 0,
            verdict=self._explained if one.differs else "PASS",
        )

    @property
    def _rows_verdict(self) -> Verdict:
        """What became of the rows that were compared."""
        rows, accept = self.rows, self.table.accept
        if rows is None:
            return "PASS"
        if rows.modified or rows.missing or rows.duplicates:
            return "FAIL"
        if rows.extra and "extra" not in accept:
            return "FAIL"
        if rows.changed_since and "changed_since" not in accept:
            return "EXCEPTIONS"
        if rows.trimmed and "trimmed" not in accept:
            return "EXCEPTIONS"
        return "PASS"

    @property
    def _explained(self) -> Verdict:
        """Of whatever differs: what became of its rows, where these are known."""
        if self.rows is None or self.contradictions or self._is_unexplained(self.rows):
            return "FAIL"
        return self._rows_verdict

    def _is_unexplained(self, rows: ComparedRows) -> bool:
        """A number of the org is not what it should be, though every row is."""
        told = any(one.found is not None and one.differences for one in self.compared)
        return told and rows.identical == rows.staged and not rows.extra

    def _counts(self, source: int, dead: int) -> Check:
        differing = [one for one in self.compared if one.found is None or _differs_in_rows(one)]
        there = sum(one.expected.aggregates.rows for one in self.compared)
        agrees = self.in_org == (there if self.compared else source - dead)
        verdict: Verdict = "PASS" if agrees and not differing else self._explained
        if verdict == "PASS" and dead:
            verdict = "EXCEPTIONS"
        shown = ", ".join(str(one.days) for one in differing[:3])
        where = f"; {len(differing)} differ: {shown}" if differing else ""
        return Check(
            level=1,
            name="count in the org",
            verdict=verdict,
            expected=source,
            found=self.in_org,
            detail=f"{self.counted_by}{where}",
        )

    def _columns(self) -> Iterator[Check]:
        """A check per column and per lookup, over all ranges."""
        asked = [one for one in self.compared if one.found is not None and one.found.values]
        by_field: dict[tuple[int, str], list[Measure]] = {}
        for measure in asked[0].found.values if asked and asked[0].found else ():
            by_field.setdefault((measure.level, measure.field), []).append(measure)
        for (level, field), measures in by_field.items():
            should = merged((one.expected.aggregates for one in asked), measures)
            there = merged((one.found for one in asked if one.found), measures)
            shown = next((m for m in measures if m.what == "sum"), measures[0])
            differing = [one for one in asked if _differs_in(one, level, field)]
            yield Check(
                level=level,
                name=field,
                verdict=self._explained if differing else "PASS",
                expected=_number(should.values.get(shown)),
                found=_number(there.values.get(shown)),
                detail=_told(shown, measures, should.values.get(shown), len(asked), differing),
            )

    def _sample(self) -> Iterator[Check]:
        sampled = self.sampled
        if not sampled.rows:
            return
        bad = len({difference.key for difference in sampled.differences})
        yield Check(
            level=3,
            name="sampled rows",
            verdict=self._explained if bad else "PASS",
            expected=sampled.rows,
            found=sampled.rows - bad,
            detail=f"every field, by hashes; checksum {sampled.checksum[:16]}",
        )

    def _rows(self) -> Iterator[Check]:
        rows = self.rows
        if rows is None:
            if self.asked_for_rows:
                yield Check(
                    level=4,
                    name="rows",
                    verdict="FAIL",
                    expected="all",
                    found=0,
                    detail="they could not be compared",
                )
            return
        classes = {name.replace("_", " "): getattr(rows, name) for name in CLASSES}
        told = ", ".join(f"{number:,} {name}" for name, number in classes.items() if number)
        yield Check(
            level=4,
            name="rows",
            verdict=self._rows_verdict,
            expected=rows.staged,
            found=rows.identical,
            detail=told or "all identical",
        )
        if self.contradictions or any(one.differs for one in self.compared):
            yield Check(
                level=4,
                name="sent, against Oracle's totals",
                verdict="FAIL" if self.contradictions else "PASS",
                expected=0,
                found=len(self.contradictions),
                detail="; ".join(self.contradictions[:5]),
            )


def _differs_in_rows(one: Compared) -> bool:
    return any(difference.measure == "rows" for difference in one.differences)


def _differs_in(one: Compared, level: int, field: str) -> bool:
    return any(d.level == level and d.field == field for d in one.differences)


def _number(value: Value | None) -> int | str:
    if isinstance(value, int):
        return value
    return as_text(value) or "-"


def _told(
    shown: Measure,
    measures: list[Measure],
    value: Value | None,
    ranges: int,
    differing: list[Compared],
) -> str:
    words = {"non_null": "count", "parents": "count of those that have a parent"}
    asked = ", ".join(words.get(m.what, m.what) for m in measures)
    off = shown.tolerance(value)
    within = f"; sums within {about(off)}" if shown.what == "sum" and off else ""
    where = "" if not differing else f"; differs in {', '.join(str(o.days) for o in differing[:3])}"
    return f"{asked} in {ranges} range{'' if ranges == 1 else 's'}{within}{where}"
