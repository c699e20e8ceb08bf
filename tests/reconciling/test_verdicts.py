"""What is known to be different, what somebody else changed, and what cannot be compared."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from kpcluigi.csvframes import read_frames
from kpcluigi.errors import SalesforceError, StagingError
from kpcluigi.load import Standing, open_attempt
from kpcluigi.load.settle import write_rows
from kpcluigi.markers import Check, LoadResult, Reconciled, RetryResult
from kpcluigi.oracle import Window
from kpcluigi.reconcile import reconcile_increment
from kpcluigi.reconcile.spans import days_of
from kpcluigi.staging import write_marker
from tests.reconciling.bed import WINDOW, Bed, loaded

ROWS = 2_000
DEAD = "FIELD_CUSTOM_VALIDATION_EXCEPTION:The tenant is closed:--"


@pytest.fixture(scope="module")
def small_table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with loaded(tmp_path_factory.mktemp("small"), ROWS, sample_rows=100) as bed:
        yield bed


@pytest.fixture
def bed(small_table: Bed) -> Iterator[Bed]:
    """As it was loaded, ten minutes ago."""
    small_table.org.disarm()
    small_table.files_gone.clear()
    for n in range(1, len(small_table.plan.chunks) + 1):
        age(small_table, n, timedelta(minutes=10))
    yield small_table
    small_table.org.disarm()
    for name in ("dead_letter", "blanked", "retries", "repairs", "differences"):
        shutil.rmtree(small_table.folder.path / name, ignore_errors=True)


def age(bed: Bed, n: int, by: timedelta) -> None:
    """The chunk was loaded some time ago, so that what is changed now is surely later."""
    path = bed.folder.load_result(n)
    load = LoadResult.model_validate_json(path.read_bytes())
    ended = datetime.now(UTC) - by
    jobs = [job.model_copy(update={"ended_at": ended}) for job in load.jobs]
    write_marker(path, load.model_copy(update={"jobs": jobs}))


def staged(bed: Bed, *keys: str) -> pl.DataFrame:
    """Rows of the chunk files."""
    frames = [
        frame.filter(pl.col("External_ID__c").is_in(keys))
        for chunk in bed.plan.chunks
        for frame in read_frames(bed.folder.chunk_file(chunk.n), bed.table.fields)
    ]
    return pl.concat(frames)


def die(bed: Bed, *keys: str) -> Standing:
    """These rows were refused by the org, and are in the dead letter."""
    rows = staged(bed, *keys).insert_column(0, pl.Series("sf__Error", [DEAD] * len(keys)))
    columns = ["sf__Error", *bed.table.fields]
    write_rows(bed.folder.dead_letter(1), columns, iter([rows]))
    load = bed.ends().loads.finished[0]
    fewer = {"created": load.created - len(keys), "failed": len(keys)}
    return Standing([load.model_copy(update=fewer)], [])


def level(found: Reconciled, number: int) -> list[Check]:
    return [check for check in found.checks if check.level == number]


def test_rows_of_the_dead_letter_are_exceptions_and_nothing_else_differs(bed: Bed) -> None:
    keys = [bed.key(i) for i in (3, 41, 97, 1700)]
    where = f"External_ID__c IN ({', '.join(repr(key) for key in keys)})"
    with bed.planted(f"DELETE FROM Sale__c WHERE {where}", *keys):
        loads = die(bed, *keys)
        found = bed.reconcile(loads=loads)
        assert found.verdict == "EXCEPTIONS"
        assert found.differences == []
        assert {check.verdict for check in found.checks if check.level > 1} == {"PASS"}
        assert (found.dead_lettered, found.difference, found.accepted) == (4, 4, [])

        whole = bed.reconcile(loads=loads, full=True)
        assert whole.verdict == "EXCEPTIONS"
        assert whole.rows is not None
        assert (whole.rows.dead_lettered, whole.rows.identical) == (4, ROWS - 4)
        assert whole.rows.missing == 0

        accepting = bed.table.model_copy(update={"accept": ("dead_lettered",)})
        accepted = bed.reconcile(loads=loads, table=accepting)
        assert (accepted.verdict, accepted.accepted) == ("PASS", ["dead_lettered"])

        one_more = bed.key(500)
        with bed.planted(f"DELETE FROM Sale__c WHERE External_ID__c = '{one_more}'", one_more):
            worse = bed.reconcile(loads=loads)
        assert worse.verdict == "FAIL"
        assert [d.key for d in worse.differences if d.level == 4] == [one_more]


def test_dead_rows_that_an_earlier_load_left_in_the_org_are_exceptions_too(bed: Bed) -> None:
    """Also where their files are gone, so that rows cannot be compared."""
    same, older = bed.key(3), bed.key(41)
    absent = bed.key(97)
    loads = die(bed, same, older, absent)
    bed.files_gone.add(1)
    gone = f"DELETE FROM Sale__c WHERE External_ID__c = '{absent}'"
    change = "SET Amount__c = 0.5, Tenant__c = NULL, Sold_At__c = Sold_At__c - INTERVAL 9 DAY"
    spoilt = f"UPDATE Sale__c {change} WHERE External_ID__c = '{older}'"
    with bed.planted(spoilt, older), bed.planted(gone, absent):
        found = bed.reconcile(loads=loads)
    assert found.verdict == "EXCEPTIONS", found.differences
    assert found.differences == []
    assert "the org has 2 of the dead-lettered rows as an earlier load left them" in found.notes


def test_a_row_corrected_by_hand_is_expected_as_it_was_corrected(bed: Bed) -> None:
    key = bed.key(1234)
    loads = die(bed, key)
    row = staged(bed, key)
    corrected = bed.folder.path.parent / "corrected.csv"
    row.with_columns(pl.lit("9999.99").alias("Amount__c")).write_csv(corrected)
    attempt = open_attempt(bed.folder, bed.table, corrected)
    assert attempt == 1
    shutil.rmtree(bed.folder.dead_letter(1).parent)
    done = RetryResult(
        table=bed.table.name,
        attempt=1,
        rows=1,
        corrected="corrected.csv",
        created=1,
        updated=0,
        failed=0,
        unprocessed=0,
        jobs=[],
        seconds=0,
    )
    write_marker(bed.folder.retry_result(1), done)
    change = f"UPDATE Sale__c SET Amount__c = 9999.99 WHERE External_ID__c = '{key}'"
    with bed.planted(change, key):
        found = bed.reconcile(loads=Standing(loads.loads, [done]))
        assert (found.verdict, found.differences) == ("PASS", [])
    back = bed.reconcile(loads=Standing(loads.loads, [done]))
    assert back.verdict == "FAIL", "as it was before is now wrong"
    assert [d.expected for d in back.differences if d.level == 4] == ["9999.99"]


def test_an_edit_in_the_org_is_a_class_of_its_own(bed: Bed) -> None:
    key = bed.key(777)
    path = f"/sobjects/Sale__c/External_ID__c/{key}"
    bed.client.call("PATCH", path, json={"Amount__c": 5.5, "Note__c": "by hand"})
    try:
        found = bed.reconcile()
        assert found.verdict == "EXCEPTIONS"
        assert found.rows is not None
        assert (found.rows.changed_since, found.rows.modified) == (1, 0)
        named = {(d.kind, d.key, d.field) for d in found.differences if d.level == 4}
        assert named == {
            ("changed_since", key, "Amount__c"),
            ("changed_since", key, "Note__c"),
        }
        accepting = bed.table.model_copy(update={"accept": ("changed_since",)})
        accepted = bed.reconcile(table=accepting)
        assert (accepted.verdict, accepted.accepted) == ("PASS", ["changed_since"])
        age(bed, 1, -timedelta(minutes=1))
        assert bed.reconcile().verdict == "FAIL", "what changed before the load ended is no edit"
    finally:
        bed.put_back(key)


def test_extra_records_can_be_accepted(bed: Bed) -> None:
    twin = (
        "INSERT INTO Sale__c SELECT * REPLACE ('a0S990000000009AAA' AS Id, '77' AS External_ID__c) "
        f"FROM before WHERE External_ID__c = '{bed.key(3)}'"
    )
    accepting = bed.table.model_copy(update={"accept": ("extra",)})
    with bed.planted(twin, "77"):
        assert bed.reconcile().verdict == "FAIL"
        found = bed.reconcile(table=accepting)
    assert (found.verdict, found.accepted, found.difference) == ("PASS", ["extra"], -1)


@pytest.mark.parametrize("most", [1_500, 30])
def test_ranges_that_take_the_org_too_long_are_asked_for_in_pieces(bed: Bed, most: int) -> None:
    """Down to parts of a day, of which each has 50 rows. The org reads all 2,000 where a filter
    finds more than a tenth of them."""
    bed.org.arm(on="query", object="Sale__c", above_rows=most, times=-1)
    found = bed.reconcile(totals=bed.totals.model_copy(update={"sample": {}}))
    assert found.verdict == "PASS"
    assert found.not_checked == []
    assert level(found, 2)[1].verdict == "PASS"
    pieces = ROWS / min(most, ROWS / 10)
    assert pieces <= found.requests <= 6 * pieces + 10


def test_a_range_that_is_never_answered_is_compared_row_by_row(bed: Bed) -> None:
    bed.org.arm(on="query", object="Sale__c", above_rows=0, times=-1)
    totals = bed.totals.model_copy(update={"sample": {}})
    found = bed.reconcile(totals=totals)
    assert found.counted_by.startswith("a query job: the org did not count every range in time")
    assert found.not_checked
    assert "QUERY_TIMEOUT" in found.not_checked[0]
    assert found.rows is not None
    assert found.rows.identical == ROWS
    assert found.verdict == "PASS", "every row was compared instead"


def test_other_refusals_are_not_taken_for_a_lack_of_time(bed: Bed) -> None:
    bed.org.arm(on="query", times=-1, status=403, code="INSUFFICIENT_ACCESS", message="no")
    with pytest.raises(SalesforceError, match="INSUFFICIENT_ACCESS"):
        bed.reconcile()


def test_a_field_without_an_index_is_said(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kpcluigi.reconcile.table.EXPLAINED", 1)
    assert bed.reconcile().notes == []
    table = bed.table.model_copy(update={"partition_column": "SOLD_AT"})
    found = bed.reconcile(table=table)
    assert any("Sold_At__c should be indexed and is not" in note for note in found.notes)


def test_the_org_is_counted_by_a_query_job_where_that_is_asked_for(bed: Bed) -> None:
    found = bed.reconcile(table=bed.table.model_copy(update={"count_by": "query_job"}))
    assert found.verdict == "PASS"
    assert found.counted_by == "a query job: as tables.toml says"
    assert found.salesforce == ROWS
    assert bed.reconcile().counted_by == "1 range of Created__c"


def test_a_partition_column_without_a_field_leaves_one_range(bed: Bed) -> None:
    columns = {name: c for name, c in bed.table.columns.items() if name != "CREATED_DATE"}
    table = bed.table.model_copy(update={"columns": columns})
    totals = bed.totals.model_copy(
        update={"columns": [c for c in bed.totals.columns if c.name != "CREATED_DATE"]}
    )
    found = bed.reconcile(table=table, totals=totals)
    assert found.verdict == "PASS"
    assert found.counted_by == "a query job: CREATED_DATE is not mapped as a date"
    key = bed.key(5)
    with bed.planted(f"DELETE FROM Sale__c WHERE External_ID__c = '{key}'", key):
        assert bed.reconcile(table=table, totals=totals).verdict == "FAIL"


def test_rows_whose_files_are_gone_cannot_be_compared(bed: Bed) -> None:
    bed.files_gone.add(1)
    assert bed.reconcile().verdict == "PASS", "nothing differs"
    key = bed.key(12)
    with bed.planted(f"DELETE FROM Sale__c WHERE External_ID__c = '{key}'", key):
        found = bed.reconcile()
    assert (found.verdict, found.rows) == ("FAIL", None)
    assert "deleted after their load" in found.not_checked[0]
    full = bed.reconcile(full=True)
    assert full.verdict == "FAIL"
    assert [check.found for check in level(full, 4)] == [0]


def test_a_chunk_file_that_was_changed_is_not_compared_with(bed: Bed, tmp_path: Path) -> None:
    changed = tmp_path / "changed.csv.gz"
    changed.write_bytes(bed.folder.chunk_file(1).read_bytes() + b"x")
    with pytest.raises(StagingError, match="is not the file that was sent"):
        bed.reconcile(full=True, file_of=lambda n: changed)


def test_query_jobs_are_taken_of_what_the_org_has_left(bed: Bed) -> None:
    totals = [day.model_copy(update={"rows": day.rows * 10**7}) for day in bed.totals.ranges]
    found = bed.reconcile(full=True, totals=bed.totals.model_copy(update={"ranges": totals}))
    assert found.verdict == "FAIL"
    assert any("MB of query results, and the org has" in told for told in found.not_checked)


def test_oracle_and_what_was_sent_contradict_each_other(bed: Bed) -> None:
    """As where a row changed in Oracle between the chunks and the totals."""
    days = list(bed.totals.ranges)
    columns = dict(days[3].columns)
    amount = columns["AMOUNT"]
    assert amount.sum is not None
    columns["AMOUNT"] = amount.model_copy(update={"sum": str(float(amount.sum) + 1)})
    days[3] = days[3].model_copy(update={"columns": columns})
    found = bed.reconcile(totals=bed.totals.model_copy(update={"ranges": days}))
    assert found.verdict == "FAIL"
    (told,) = [check for check in level(found, 4) if check.name != "rows"]
    assert told.verdict == "FAIL"
    assert f"{days[3].day}: Amount__c sum" in told.detail
    assert found.rows is not None
    assert (found.rows.modified, found.rows.missing) == (0, 0)


def test_no_more_requests_than_promised(bed: Bed) -> None:
    since = bed.org.stats()["requests"]
    found = bed.reconcile()
    asked = bed.org.stats()["requests"] - since
    assert found.requests == asked <= 10 * ROWS / 1_000_000 + 100


def test_a_sampled_row_that_was_sent_otherwise_than_oracle_has_it(bed: Bed) -> None:
    """The org has what was sent; that is no reason for a PASS."""
    key = next(k for k, row in bed.totals.sample.items() if row["NOTE"])
    sample = {**bed.totals.sample, key: {**bed.totals.sample[key], "NOTE": "as Oracle has it"}}
    found = bed.reconcile(totals=bed.totals.model_copy(update={"sample": sample}))
    assert found.verdict == "FAIL"
    (told,) = [check for check in level(found, 4) if check.name != "rows"]
    assert f"sampled row {key}: Note__c: Oracle as Oracle has it" in told.detail


def test_accepting_dead_rows_accepts_no_edits(bed: Bed) -> None:
    key = bed.key(777)
    bed.client.call("PATCH", f"/sobjects/Sale__c/External_ID__c/{key}", json={"Amount__c": 5.5})
    try:
        accepting = bed.table.model_copy(update={"accept": ("dead_lettered",)})
        found = bed.reconcile(table=accepting)
        assert (found.verdict, found.accepted) == ("EXCEPTIONS", [])
    finally:
        bed.put_back(key)


SENTINELS = ("0001-01-01 or earlier", "9999-12-31 00:00:00", "0202-03-04 10:00:00")


@pytest.mark.parametrize("sentinel", SENTINELS)
def test_a_rejected_row_with_a_date_that_no_org_holds_is_an_exception(
    bed: Bed, sentinel: str
) -> None:
    """Oracle's extremes hold it; what the next value is, is not known."""
    day = bed.totals.ranges[4]
    sold = day.columns["SOLD_AT"]
    raw = f"{sentinel[:10]} 00:00:00" if "earlier" in sentinel else sentinel
    extreme = "max" if sentinel.startswith("9999") else "min"
    columns = {
        **day.columns,
        "SOLD_AT": sold.model_copy(update={"non_null": sold.non_null + 1, extreme: raw}),
    }
    for name in ("CREATED_DATE",):
        known = columns[name]
        columns[name] = known.model_copy(update={"non_null": known.non_null + 1})
    ranges = [
        one.model_copy(update={"rows": one.rows + 1, "columns": columns}) if one is day else one
        for one in bed.totals.ranges
    ]
    totals = bed.totals.model_copy(update={"rows": ROWS + 1, "ranges": ranges})
    row = dict.fromkeys(bed.table.fields, "") | {
        "External_ID__c": "refused",
        "Sold_At__c": sentinel,
        "Void__c": "false",
        "Created__c": f"{day.day}T03:00:00.000Z",
    }
    refused = pl.DataFrame([{"sf__Error": "REJECTED:SOLD_AT is outside …:Sold_At__c --", **row}])
    columns_of_file = ["sf__Error", *bed.table.fields]
    write_rows(bed.folder.rejected_rows(1), columns_of_file, iter([refused]))
    load = bed.ends().loads.finished[0]
    more = {"extracted": load.extracted + 1, "rejected": 1}
    loads = Standing([load.model_copy(update=more)], [])
    plan = bed.plan.model_copy(update={"rows": ROWS + 1})
    found = bed.reconcile(totals=totals, loads=loads, plan=plan)
    assert found.verdict == "EXCEPTIONS", found.differences
    assert {check.verdict for check in found.checks if check.level > 1} == {"PASS"}
    whole = bed.reconcile(totals=totals, loads=loads, plan=plan, full=True)
    assert whole.verdict == "EXCEPTIONS", whole.differences
    assert whole.rows is not None
    assert (whole.rows.dead_lettered, whole.rows.identical) == (1, ROWS)


def test_a_sum_of_many_digits_costs_no_more_ranges_than_promised(bed: Bed) -> None:
    """Its doubles leave a difference open, and the report says so."""
    ranges = []
    for day in bed.totals.ranges:
        amount = day.columns["AMOUNT"].model_copy(update={"sum": "2" + "0" * 20})
        ranges.append(day.model_copy(update={"columns": {**day.columns, "AMOUNT": amount}}))
    units = {"AMOUNT": Decimal("0.01")}
    years = [
        ranges[0].model_copy(update={"day": str(date(2022, 1, 1) + timedelta(days=i))})
        for i in range(1000)
    ]
    window = Window(date(2022, 1, 1), date(2024, 12, 31))
    assert len(days_of(window, years, units=units)) == 1
    assert len(days_of(WINDOW, ranges, units=units)) == 40, "few enough"


@pytest.mark.parametrize("asked_by_key", [ROWS, 100], ids=["by key", "by query job"])
def test_an_increment_is_compared_row_by_row(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, asked_by_key: int
) -> None:
    """Whatever else the org holds: an update that never took effect is seen."""
    monkeypatch.setattr("kpcluigi.reconcile.rows.ASKED_BY_KEY", asked_by_key)
    age(bed, 1, -timedelta(minutes=1))  # so that nothing was changed since
    found = reconcile_increment(bed.ends())
    assert found.verdict == "PASS", found.differences
    assert found.rows is not None
    assert (found.rows.identical, found.salesforce, found.sampled) == (ROWS, ROWS, 100)
    assert found.rows.query_jobs == (0 if asked_by_key == ROWS else 1)
    stale, lost, other = bed.key(11), bed.key(12), "77"
    extra = (
        "INSERT INTO Sale__c SELECT * REPLACE ('a0S990000000008AAA' AS Id, '77' AS External_ID__c) "
        f"FROM before WHERE External_ID__c = '{stale}'"
    )
    with (
        bed.planted(extra, other),
        bed.planted(f"UPDATE Sale__c SET Note__c = 'old' WHERE External_ID__c = '{stale}'", stale),
        bed.planted(f"DELETE FROM Sale__c WHERE External_ID__c = '{lost}'", lost),
    ):
        found = reconcile_increment(bed.ends())
    assert found.verdict == "FAIL"
    named = {(d.kind, d.key) for d in found.differences if d.level == 4}
    assert named == {("modified", stale), ("missing", lost)}
    assert found.salesforce == ROWS - 1


def test_an_increment_whose_chunk_file_is_gone_is_not_compared(bed: Bed) -> None:
    """Its rows cannot be told from others: no PASS, and the command that brings them back."""
    bed.files_gone.add(1)
    with pytest.raises(StagingError, match=r"kpcluigi reextract --table SALES --chunk 1 --loaded"):
        reconcile_increment(bed.ends())


def test_what_only_a_comparison_of_rows_shows_is_not_forgotten(bed: Bed) -> None:
    """Until nothing differs there, its days are compared again, with --full or without."""
    key = bed.key(1)
    assert key not in bed.totals.sample
    subtle = f"UPDATE Sale__c SET Note__c = Note__c || ' ' WHERE External_ID__c = '{key}'"
    with bed.planted(subtle, key):
        assert bed.reconcile().verdict == "PASS", "no total shows it, and it is not sampled"
        assert bed.reconcile(full=True).verdict != "PASS"
        again = bed.reconcile()
        assert again.verdict != "PASS"
        assert [d.key for d in again.differences if d.level == 4] == [key]
    assert bed.reconcile().verdict == "PASS"
    assert not bed.folder.differences.exists()
