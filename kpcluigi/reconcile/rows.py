"""Level 4: every row of some ranges, or of all, against what was sent.

Query jobs fetch the org's records. Both sides are dealt out to files by the hash of their key, so
that each pair of files fits into memory, whatever the size of the table; then pair after pair is
joined.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from kpcluigi.csvframes import read_frames
from kpcluigi.errors import JobFailedError
from kpcluigi.markers import ComparedRows, Difference
from kpcluigi.reconcile.aggregates import Asking, Tell
from kpcluigi.reconcile.alike import KEY, Alike, as_key
from kpcluigi.reconcile.deal import Deal
from kpcluigi.reconcile.measures import SECONDS, Measure
from kpcluigi.reconcile.named import (
    CHANGED_AT,
    DIFFERS,
    KIND,
    ORG,
    RECORD_ID,
    Named,
)
from kpcluigi.reconcile.queryjobs import QueryRules, run_query_jobs
from kpcluigi.reconcile.records import records_of
from kpcluigi.reconcile.spans import Range, Span, grouped, spans_of_jobs
from kpcluigi.reconcile.staged import CLOCKS, CORRECTED, INSIDE, LOST, SENT, Sent, StagedTotals
from kpcluigi.salesforce import (
    Client,
    delete_query_job,
    download_query_results,
)
from kpcluigi.tables import Table

HELD_ROWS = 100_000
"""Missing and extra rows that are held, to see whether one is the other in another range."""
ASKED_BY_KEY = 2_000
"""Missing rows, and rows without known days, that are looked for by their key."""

_HERE = " here"
_DEAD = " dead"
ONE_SIDED = ("missing", "extra")


@dataclass
class Tally:
    """Rows by what became of them."""

    staged: int = 0
    salesforce: int = 0
    identical: int = 0
    modified: int = 0
    missing: int = 0
    extra: int = 0
    changed_since: int = 0
    dead_lettered: int = 0
    trimmed: int = 0
    duplicates: int = 0


class RowComparison:
    """The rows of a table, as they were sent, against the records of the org.

    Args:
        sent: the rows as they were sent.
        ranges: what is compared.
        measures: what is added up of the staged rows, range by range.
        key: the external id, as the org tells records apart by it.
        fields: every column of the chunk files.
        tell: receives a line and the share done, 0 to 1.
    """

    def __init__(
        self,
        client: Client,
        table: Table,
        sent: Sent,
        *,
        ranges: Sequence[Range],
        measures: Sequence[Measure],
        key: Alike,
        fields: Sequence[Alike],
        rules: QueryRules,
        tell: Tell,
    ) -> None:
        self._client = client
        self._table = table
        self._sent = sent
        self._ranges = ranges
        self._key = key
        self._fields = fields
        self._rules = rules
        self._tell = tell
        self._tally = Tally()
        self._jobs = 0
        self._rows = sum(one.days.rows for one in ranges)
        self._held: dict[str, list[pl.DataFrame]] = {kind: [] for kind in ONE_SIDED}
        self._too_many = False
        self.staged_totals = StagedTotals(table, measures, ranges)
        """What the chunk files hold of each range, once the rows are compared."""

    def run(self, *, all_rows: bool) -> tuple[ComparedRows, list[Difference]]:
        """Compare the ranges, and name what differs in `differences/`.

        Raises:
            StagingError: a chunk file is gone, or is not the one that was sent.
            JobFailedError, JobTimeoutError: the org did not give its records.
        """

        def compare(scratch: Path) -> None:
            for group in grouped(self._ranges):
                shutil.rmtree(scratch, ignore_errors=True)
                self._compare(group, scratch)

        return self._run(compare, [] if all_rows else [str(one.days) for one in self._ranges])

    def run_by_key(self) -> tuple[ComparedRows, list[Difference]]:
        """Compare every row that was sent, looked up by its key, since its days are not known.

        Records of other keys are nothing to it. Raises as `run`.
        """
        return self._run(self._compare_by_key, [])

    def _run(
        self, compare: Callable[[Path], None], ranges: list[str]
    ) -> tuple[ComparedRows, list[Difference]]:
        started = time.monotonic()
        folder = self._sent.folder
        scratch, new = folder.scratch
        self._sent.verify()
        try:
            with ExitStack() as stack:
                self._named = Named(folder.differences, new, self._table, self._key, stack)
                compare(scratch)
                self._pair_up()
                self._named.close()
            self._named.publish(ranges)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        compared = ComparedRows(
            ranges=ranges,
            **vars(self._tally),
            query_jobs=self._jobs,
            seconds=round(time.monotonic() - started, 3),
            folder=folder.differences.name if self._named.rows else "",
        )
        return compared, self._named.first

    def _compare(self, group: Sequence[Range], scratch: Path) -> None:
        deal = Deal(scratch, sum(one.days.rows for one in group))
        scratch.mkdir(parents=True)
        for span in spans_of_jobs(group):
            self._fetch(span, scratch, deal)
        self._sent.deal(group, deal, self._key, self.staged_totals)
        for bucket in range(deal.buckets):
            self._join(deal, bucket)
            done = self._tally.staged
            self._tell(f"{done:,} of {self._rows:,} rows compared", done / max(1, self._rows))

    def _compare_by_key(self, scratch: Path) -> None:
        deal = Deal(scratch, self._rows)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        self._sent.deal(self._ranges, deal, self._key, self.staged_totals)
        if self._rows > ASKED_BY_KEY:
            # All that was sent has been changed since; few others have
            start = self._sent.first_sent() + self._client.clock_ahead - CLOCKS
            tomorrow = datetime.now(UTC) + self._client.clock_ahead + timedelta(days=1)
            self._fetch(Span(CHANGED_AT, start, tomorrow), scratch, deal)
        for bucket in range(deal.buckets):
            self._join(deal, bucket, only_sent=True)
            done = self._tally.staged
            self._tell(f"{done:,} of {self._rows:,} rows compared", done / max(1, self._rows))

    def _fetch(self, span: Span, scratch: Path, deal: Deal) -> None:
        """The records of a span, by a query job."""
        paths = list(dict.fromkeys([RECORD_ID, *(f.name for f in self._fields), CHANGED_AT]))
        select = f"SELECT {', '.join(paths)} FROM {self._table.object}"
        for info in run_query_jobs(self._client, select, span, rules=self._rules, tell=self._tell):
            self._jobs += 1
            path = scratch / f"{info.id}.csv.gz"
            records = download_query_results(self._client, info.id, path)
            if records != info.records:
                raise JobFailedError(
                    f"Query job {info.id} found {info.records:,} records and gave {records:,}"
                )
            for frame in read_frames(path, paths):
                self._tally.salesforce += frame.height
                deal.add("org", self._of_org(frame))
            path.unlink()
            delete_query_job(self._client, info.id)

    def _join(self, deal: Deal, bucket: int, *, only_sent: bool = False) -> None:
        """One bucket of each side.

        Args:
            only_sent: records of other keys are nothing to it.
        """
        staged = deal.of("staged", bucket)
        later, dead = deal.of("later", bucket), deal.of("dead", bucket)
        rows = with_later(self._nothing_staged() if staged is None else staged, later)
        last = rows[KEY].is_last_distinct()
        twins, rows = rows.filter(~last), rows.filter(last)
        org = deal.of("org", bucket)
        org = self._nothing_in_org() if org is None else org
        if only_sent:
            org = org.join(rows, on=KEY, how="semi")
        never_sent = 0
        for side in (dead, deal.of("refused", bucket)):
            if side is not None:
                absent = side.join(rows.select(KEY), on=KEY, how="anti")
                never_sent += absent.height if side is dead else side.height
                # A record of such a row is of an earlier load; the dead letter names the row
                org = org.join(absent, on=KEY, how="anti")
        self._tally.staged += rows.height + twins.height + never_sent
        self._tally.dead_lettered += never_sent
        self._tally.duplicates += twins.height
        self._named.twins(twins)
        # A second record of a key is one too many, even where it is the same
        first = org[KEY].is_first_distinct()
        copies = org.filter(~first)
        rows, org = self._without_identical(rows, org.filter(first))
        rows = with_lost(rows.with_columns(is_in(dead).alias(_DEAD)), deal.of("blanked", bucket))
        classified = self._classified(rows, org)
        for kind in ONE_SIDED:
            self._hold(kind, classified.filter(pl.col(KIND) == kind))
        if copies.height:
            self._hold("extra", self._classified(rows.clear(), copies))
        self._settle(classified.filter(~pl.col(KIND).is_in(ONE_SIDED)))

    def _without_identical(
        self, staged: pl.DataFrame, org: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Both sides, one row for each key, without the rows that are the same; counts those.

        One field after another, since both sides in one frame would take twice the memory.
        """
        places = staged.select(KEY).with_row_index("place")
        paired = org.select(KEY).join(places, on=KEY, how="left", maintain_order="left")["place"]
        differs = paired.is_null()
        for field in self._fields:
            sent = staged.select(field.of_staged()).to_series().gather(paired)
            differs |= sent.ne_missing(org.select(field.of_org(ORG)).to_series())
        same = org.select(KEY).filter(~differs)
        self._tally.identical += same.height
        return staged.join(same, on=KEY, how="anti"), org.join(same, on=KEY, how="anti")

    def _hold(self, kind: str, rows: pl.DataFrame) -> None:
        """Keep rows of one side; where they get too many to be paired up, name them."""
        held = self._held[kind]
        held.append(rows)
        if sum(frame.height for frame in held) > HELD_ROWS:
            self._too_many = True
        if self._too_many:
            for frames in self._held.values():
                for frame in frames:
                    self._settle(frame)
                frames[:] = [rows.clear()]

    def _pair_up(self) -> None:
        """A row may be missing in one range and extra in another, or where nothing was compared."""
        missing, extra = (pl.concat(held) for held in self._held.values())
        if 0 < missing.height <= HELD_ROWS and extra.height <= HELD_ROWS:
            staged = missing.select(self._staged_columns)
            org = extra.select(self._org_columns)
            left = staged.join(org, on=KEY, how="anti")
            if 0 < left.height <= ASKED_BY_KEY:
                found = self._by_key(left)
                self._tally.salesforce += found.height
                org = pl.concat([org, found])
            missing, extra = self._classified(staged, org), extra.clear()
        self._settle(missing)
        self._settle(extra)

    def _by_key(self, staged: pl.DataFrame) -> pl.DataFrame:
        """Records with the keys of these rows, whatever their day."""
        names = [name.removeprefix(ORG) for name in self._org_columns if name != KEY]
        keys = staged[self._key.name].to_list()
        asking = Asking(self._client)
        return self._of_org(records_of(asking, self._table.object, names, keys, self._key))

    def _classified(self, staged: pl.DataFrame, org: pl.DataFrame) -> pl.DataFrame:
        """Both sides in one frame, with what became of each row, and which fields differ."""
        both = staged.with_columns(pl.lit(True).alias(_HERE)).join(
            org, on=KEY, how="full", coalesce=True
        )
        both = both.with_columns(self._differs(f).alias(DIFFERS + f.name) for f in self._fields)
        any_field = pl.any_horizontal(DIFFERS + f.name for f in self._fields)
        trimmed = pl.all_horizontal(
            ~pl.col(DIFFERS + f.name) | f.but_for_blanks(ORG) for f in self._fields
        )
        changed_at = pl.col(ORG + CHANGED_AT).str.slice(0, SECONDS).str.to_datetime(_MOMENT)
        since = changed_at - self._client.clock_ahead - CLOCKS > pl.col(SENT)
        here, there = pl.col(_HERE).is_not_null(), pl.col(ORG + RECORD_ID).is_not_null()
        kind = (
            pl.when(~here).then(pl.lit("extra"))
            .when(there & ~any_field).then(pl.lit("identical"))
            .when(pl.col(_DEAD)).then(pl.lit("dead_lettered"))
            .when(~there).then(pl.lit("missing"))
            .when(trimmed).then(pl.lit("trimmed"))
            .when(since).then(pl.lit("changed_since"))
            .otherwise(pl.lit("modified"))
        )  # fmt: skip
        return both.with_columns(kind.alias(KIND)).drop(_HERE)

    def _differs(self, field: Alike) -> pl.Expr:
        here, there = field.of_staged(), field.of_org(ORG)
        differs = here.ne_missing(there)
        if field.type == "lookup":
            lost = pl.col(LOST).str.contains(f"|{field.name}|", literal=True).fill_null(False)
            differs &= ~(lost & there.is_null())
        return differs

    def _settle(self, classified: pl.DataFrame) -> None:
        """Count the rows, and name those that differ."""
        for kind, rows in classified[KIND].value_counts().iter_rows():
            setattr(self._tally, kind, getattr(self._tally, kind) + rows)
        self._named.add(classified)

    def _of_org(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Records as the org gave them, under names of their own, with their key."""
        named = frame.rename({name: ORG + name for name in frame.columns})
        return named.with_columns(as_key(self._key.of_org(ORG))).select(self._org_columns)

    @property
    def _org_columns(self) -> list[str]:
        paths = dict.fromkeys([RECORD_ID, *(f.name for f in self._fields), CHANGED_AT])
        return [*(ORG + path for path in paths), KEY]

    @property
    def _staged_columns(self) -> list[str]:
        return [*self._table.fields, KEY, SENT, _DEAD, LOST]

    def _nothing_in_org(self) -> pl.DataFrame:
        return pl.DataFrame(schema=dict.fromkeys(self._org_columns, pl.String))

    def _nothing_staged(self) -> pl.DataFrame:
        texts = dict.fromkeys([*self._table.fields, KEY], pl.String())
        return pl.DataFrame(schema={**texts, SENT: pl.Datetime("us")})


_MOMENT = "%Y-%m-%dT%H:%M:%S"


def is_in(keys: pl.DataFrame | None) -> pl.Expr:
    """Whether a row's key is among these."""
    if keys is None:
        return pl.lit(False)
    return pl.col(KEY).is_in(keys[KEY].implode())


def with_lost(rows: pl.DataFrame, blanked: pl.DataFrame | None) -> pl.DataFrame:
    """The rows, with the lookups that they were sent without."""
    if blanked is None:
        return rows.with_columns(pl.lit("").alias(LOST))
    lost = blanked.group_by(KEY).agg(pl.col(LOST).str.join())
    return rows.join(lost, on=KEY, how="left").with_columns(pl.col(LOST).fill_null(""))


def with_later(rows: pl.DataFrame, later: pl.DataFrame | None) -> pl.DataFrame:
    """The rows as they were sent last: when, and with the values that somebody corrected.

    Args:
        later: rows that were sent again, oldest first.
    """
    if later is None:
        return rows
    corrected = later.filter(pl.col(CORRECTED)).unique(KEY, keep="last", maintain_order=True)
    left = rows.join(corrected, on=KEY, how="anti")
    last = later.group_by(KEY).agg(pl.col(SENT).max().alias("last"))
    whole = pl.concat([left, corrected.filter(INSIDE).select(rows.columns)])
    sent = pl.max_horizontal("last", SENT).alias(SENT)
    return whole.join(last, on=KEY, how="left").with_columns(sent).drop("last")
