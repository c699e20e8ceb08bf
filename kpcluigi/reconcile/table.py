"""A table of a full run: all levels, and the verdict that follows from them."""

from __future__ import annotations

import time
from datetime import date

from kpcluigi.csvframes import read_frames
from kpcluigi.errors import SalesforceError, StagingError
from kpcluigi.markers import (
    ComparedBefore,
    ComparedRows,
    Difference,
    Reconciled,
    RepairSource,
)
from kpcluigi.oracle import Window
from kpcluigi.oracle.source import source_of
from kpcluigi.reconcile.aggregates import (
    TIMEOUT,
    Asking,
    Compared,
    OrgAggregates,
    compare,
    unsure_sums,
)
from kpcluigi.reconcile.alike import key_of
from kpcluigi.reconcile.ends import Ends, fields_of
from kpcluigi.reconcile.expected import KnownRows, expected
from kpcluigi.reconcile.ledger import NAMED, marker
from kpcluigi.reconcile.measures import measures_of
from kpcluigi.reconcile.queryjobs import run_query_jobs
from kpcluigi.reconcile.records import records_of
from kpcluigi.reconcile.rows import ASKED_BY_KEY, RowComparison
from kpcluigi.reconcile.sample import Sampled, sample_against_sent, sampled_rows
from kpcluigi.reconcile.spans import Days, Partition, Range, Span, days_of, distinct, spans_of_jobs
from kpcluigi.reconcile.staged import Sent
from kpcluigi.reconcile.verdict import Findings
from kpcluigi.salesforce import (
    delete_query_job,
    describe,
    limits,
)
from kpcluigi.staging import read_marker

UNFILTERED = 1_000_000
"""Rows of an object up to which it is asked for its numbers without a filter."""
EXPLAINED = 100_000
"""Rows from which on it matters whether the field of the ranges is indexed."""
RECORD_BYTES = 500
"""Of a record in a query job's results, about."""
RESERVE = 0.03
"""Share of the daily query jobs that is left to the org's other users."""
NARROWING = 60
"""Queries that may be spent to find the days in which a range differs."""


def reconcile_table(ends: Ends) -> Reconciled:
    """Compare a table on all levels.

    What the verdict follows from is said in `verdict`.

    Raises:
        SalesforceError: the org refused, or did not answer.
    """
    return _Reconciliation(ends).run()


class _Reconciliation:
    """One table, level after level."""

    def __init__(self, ends: Ends) -> None:
        table, totals = ends.table, ends.totals
        columns = totals.columns or ends.plan.columns
        if not columns:
            raise StagingError(
                f"{ends.folder.source_totals} is of an earlier version and lacks what a comparison "
                f"needs; remove it and run the same command again: it is read anew"
            )
        self._ends = ends
        self._started = time.monotonic()
        self._asking = Asking(ends.client)
        self._source = source_of(columns, owner=ends.plan.owner, table=table, window=ends.window)
        self._asking.requests += 1
        described = describe(ends.client, table.object)
        self._measures, self._not_checked = measures_of(table, self._source, described)
        self._key = key_of(table, described)
        self._fields = fields_of(self._asking, table, described)
        self._partition = Partition.of(table)
        self._sent = Sent(ends.folder, table, ends.loads, ends.file_of, partition=self._partition)
        self._ranges = self._cut()
        self._too_many = self._partition is None and totals.rows > UNFILTERED
        self._asked = [] if self._too_many else self._measures
        self._every_row = ends.full or self._too_many
        self._known = KnownRows.of(ends.folder, table, self._asked)
        self._org = OrgAggregates(self._asking, table.object, self._asked)
        self._narrowing = NARROWING
        self._notes: list[str] = []

    def run(self) -> Reconciled:
        ends = self._ends
        compared = self._with_dead_in_org(self._by_range())
        counted_by, in_org = self._count(compared)
        sampled = self._sample()
        suspects = [*self._days_of(sampled), *self._compared_before()]
        differing = [one for one in compared if one.differs]
        rows, named, contradictions = self._compare_rows(
            [piece for one in differing for piece in self._narrowed(one)], suspects
        )
        if rows is not None:
            contradictions += sample_against_sent(sampled, ends.folder, self._key)
        findings = Findings(
            table=ends.table,
            compared=compared,
            counted_by=counted_by,
            in_org=in_org,
            sampled=sampled,
            rows=rows,
            contradictions=contradictions,
            asked_for_rows=self._every_row,
        )
        checks = findings.checks(ends.plan, ends.totals, ends.loads)
        differences = [d for one in compared for d in one.differences]
        result = marker(
            ends.table, ends.plan, ends.totals, ends.loads, in_org=in_org, checks=checks
        )
        return result.model_copy(
            update={
                "counted_by": counted_by,
                "ranges": [findings.range_of(one) for one in compared],
                "sampled": sampled.rows,
                "sample_checksum": sampled.checksum,
                "rows": rows,
                "differences": [*named, *sampled.differences, *differences][:NAMED],
                "accepted": findings.accepted(ends.loads),
                "not_checked": [*self._not_checked, *unsure_sums(compared)],
                "notes": [*result.notes, *self._notes],
                "requests": self._asking.requests,
                "seconds": round(time.monotonic() - self._started, 3),
            }
        )

    # -- levels 1, 2 and 5

    def _cut(self) -> list[Range]:
        window, totals = self._ends.window, self._ends.totals
        assert isinstance(window, Window), "an increment is not cut into ranges"
        if self._partition is None:
            return [Range(Days(window.start, window.end, tuple(totals.ranges)), Span(""))]
        units = {m.column: m.unit for m in self._measures if m.what == "sum"}
        return [
            Range(days, self._partition.span(days.start, days.end))
            for days in days_of(window, totals.ranges, units=units)
        ]

    def _by_range(self) -> list[Compared]:
        ends = self._ends
        self._say_whether_indexed()
        if self._too_many:
            self._not_checked.append(
                f"sums and extremes: {ends.table.partition_column} is not mapped, and "
                f"{ends.totals.rows:,} rows are too many to be asked for at once; every row is "
                f"compared instead. Map it as a date or datetime to spare that"
            )
            return []
        compared: list[Compared] = []
        for i, one in enumerate(self._ranges):
            ends.tell(f"range {i + 1} of {len(self._ranges)}", i / len(self._ranges))
            compared.append(self._ask(one))
        return compared

    def _with_dead_in_org(self, compared: list[Compared]) -> list[Compared]:
        """What differs, with the records that an earlier load left of dead-lettered rows."""
        ends, key = self._ends, self._key.name
        dead = ends.loads.dead
        if not 0 < dead <= ASKED_BY_KEY or not any(one.differences for one in compared):
            return compared
        keys = [
            text
            for path in ends.folder.settled_dead_letters
            for frame in read_frames(path, [key])
            for text in frame[key].drop_nulls()
        ]
        records = records_of(self._asking, ends.table.object, self._known.columns, keys, self._key)
        if not records.height:
            return compared
        self._known.add_found(records)
        self._notes.append(
            f"the org has {records.height:,} of the dead-lettered rows as an earlier load left them"
        )
        return [
            one
            if one.found is None
            else compare(one.range, expected(one.days, self._asked, self._known), one.found)
            for one in compared
        ]

    def _ask(self, one: Range) -> Compared:
        """A range against the org; without an answer where it took the org too long."""
        should = expected(one.days, self._asked, self._known)
        try:
            return compare(one, should, self._org.of(one.span))
        except SalesforceError as error:
            if error.code != TIMEOUT:
                raise
            self._not_checked.append(f"counts and sums of {one.days}: {error}")
            return Compared(one, should, None, [])

    def _say_whether_indexed(self) -> None:
        """A field without an index makes each range as slow as the whole object."""
        ends = self._ends
        if self._partition is None or ends.totals.rows < EXPLAINED:
            return
        field = self._partition.field
        try:
            plans = self._asking.explain(
                f"SELECT Id FROM {ends.table.object}{self._ranges[0].span.where}"
            )
        except SalesforceError as error:
            self._notes.append(f"whether {field} is indexed could not be asked: {error}")
            return
        notes = plans[0]["notes"] if plans else []
        if any("unindexed" in note["description"] and field in note["fields"] for note in notes):
            self._notes.append(
                f"{field} should be indexed and is not: each of the {len(self._ranges)} ranges "
                f"reads all of {ends.table.object}. Ask Salesforce support for a custom index on it"
            )

    def _count(self, compared: list[Compared]) -> tuple[str, int]:
        """How the org was counted and why so, and its rows."""
        table = self._ends.table
        by_job = table.count_by == "query_job" or self._partition is None
        why = "as tables.toml says" if table.count_by != "auto" else ""
        if not by_job and all(one.found is not None for one in compared):
            field = self._partition.field if self._partition else ""
            count = len(compared)
            ranges = f"{count} range{'' if count == 1 else 's'} of {field}"
            found = sum(one.found.rows for one in compared if one.found)
            return f"{ranges}{', ' if why else ''}{why}", found
        if not why:
            why = (
                f"{table.partition_column} is not mapped as a date"
                if self._partition is None
                else "the org did not count every range in time"
            )
        low, high = self._ranges[0].span, self._ranges[-1].span
        span = Span(low.field, low.low, high.high)
        return f"a query job: {why}", self._count_by_job(span)

    def _count_by_job(self, span: Span) -> int:
        ends = self._ends
        found = 0
        select = f"SELECT Id FROM {ends.table.object}"
        for info in run_query_jobs(ends.client, select, span, rules=ends.rules, tell=ends.tell):
            found += info.records
            delete_query_job(ends.client, info.id)
        return found

    # -- level 3

    def _sample(self) -> Sampled:
        ends = self._ends
        ends.tell(f"{len(ends.totals.sample):,} sampled rows", 0)
        return sampled_rows(
            self._asking,
            self._source,
            ends.totals,
            ends.folder,
            self._key,
            self._fields,
            last_sent=self._sent.last_sent(),
        )

    def _days_of(self, sampled: Sampled) -> list[Range]:
        """The days of the sampled rows that differ."""
        if not sampled.suspects.height:
            return []
        if self._partition is None:
            return self._ranges
        texts = sampled.suspects[self._partition.field]
        days = {day for text in texts if (day := self._partition.day_of(text or "")) is not None}
        return [one for day in sorted(days) for one in self._within(day, day)]

    # -- level 4

    def _compared_before(self) -> list[Range]:
        """The days of rows that differed, or were repaired: no total need show what is wrong."""
        folder = self._ends.folder
        known: list[ComparedBefore | RepairSource | None] = [
            read_marker(folder.repair_source(attempt), RepairSource) for attempt in folder.repaired
        ]
        known.append(read_marker(folder.compared_before, ComparedBefore))
        found: list[Range] = []
        for one in known:
            if one is None:
                continue
            if not one.ranges or self._partition is None:
                return self._ranges
            for text in one.ranges:
                start, _, end = text.partition("..")
                found += self._within(date.fromisoformat(start), date.fromisoformat(end or start))
        return found

    def _within(self, start: date, end: date) -> list[Range]:
        """Days from one to another, cut as the ranges are."""
        assert self._partition is not None
        return [
            Range(days, self._partition.span(days.start, days.end))
            for one in self._ranges
            if (days := one.days.between(start, end)) is not None
        ]

    def _narrowed(self, one: Compared) -> list[Compared]:
        """The days of a range in which something differs, as far as a few more queries tell."""
        halves = one.days.halves()
        if self._partition is None or one.found is None or halves is None:
            return [one]
        if self._narrowing < len(halves):
            return [one]
        self._narrowing -= len(halves)
        found: list[Compared] = []
        for days in halves:
            piece = Range(days, self._partition.span(days.start, days.end))
            compared = self._ask(piece)
            if compared.differs:
                found += self._narrowed(compared)
        return found or [one]

    def _compare_rows(
        self, differing: list[Compared], suspects: list[Range]
    ) -> tuple[ComparedRows | None, list[Difference], list[str]]:
        """The rows of what differs, or of everything; and where Oracle contradicts what was sent.

        None where nothing is to be compared, or cannot be: why stands in `not_checked` then.
        """
        ends = self._ends
        pieces = distinct([*(one.range for one in differing), *suspects])
        ranges = self._ranges if self._every_row else pieces
        if not ranges:
            return None, [], []
        reason = self._why_not(ranges)
        if reason:
            self._not_checked.append(f"rows: {reason}")
            return None, [], []
        comparison = RowComparison(
            ends.client,
            ends.table,
            self._sent,
            ranges=ranges,
            measures=self._measures,
            key=self._key,
            fields=self._fields,
            rules=ends.rules,
            tell=ends.tell,
        )
        rows, named = comparison.run(all_rows=self._every_row)
        refused = KnownRows.rejected(ends.folder, ends.table, self._measures)
        contradictions: list[str] = []
        for one in ranges if differing or self._too_many else []:
            should = expected(one.days, self._measures, refused)
            staged = compare(one, should, comparison.staged_totals.of(one))
            contradictions += [
                f"{d.range}: {d.field or 'rows'} {d.measure}: Oracle {d.expected}, sent {d.found}"
                for d in staged.differences
            ]
        return rows, named, contradictions

    def _why_not(self, ranges: list[Range]) -> str:
        """Why rows cannot be compared; empty where they can."""
        if gone := self._sent.missing_files():
            shown = ", ".join(map(str, gone[:5])) + ("" if len(gone) <= 5 else ", …")
            return (
                f"the files of {len(gone)} chunks ({shown}) were deleted after their load, as "
                f"`after_load` under [staging] says"
            )
        left = limits(self._ends.client)
        self._asking.requests += 1
        jobs = sum(1 for _ in spans_of_jobs(ranges))
        megabytes = sum(one.days.rows for one in ranges) * RECORD_BYTES / 1e6
        for name, needed, what in (
            ("DailyBulkV2QueryJobs", jobs, "query jobs"),
            ("DailyBulkV2QueryFileStorageMB", megabytes, "MB of query results"),
        ):
            allowance = left.get(name)
            if allowance is None:
                continue
            spare = allowance["Remaining"] - RESERVE * allowance["Max"]
            if needed > spare:
                return (
                    f"they need about {needed:,.0f} {what}, and the org has "
                    f"{allowance['Remaining']:,} left of its {allowance['Max']:,} in 24 hours; run "
                    f"the same command again later"
                )
        return ""
