"""Differences planted one by one among 200,000 rows: each is found and named, and none invented."""

from __future__ import annotations

import gzip
from datetime import datetime, timedelta

import pytest

from kpcluigi.markers import Difference, Reconciled
from tests.reconciling.bed import DAYS, Bed

MIDDLE = 100_003
"""A row in the middle of its day, and of the range."""


def of_rows(found: Reconciled) -> list[Difference]:
    return [difference for difference in found.differences if difference.level == 4]


def require_named(
    found: Reconciled, kind: str, key: str, field: str = "", expected: str | None = None,
    there: str | None = None,
) -> None:  # fmt: skip
    """This one row, and nothing else, is named by key, field and both values."""
    assert found.verdict == "FAIL"
    (named,) = of_rows(found)
    assert (named.kind, named.key, named.field) == (kind, key, field)
    assert (named.expected, named.found) == (expected, there)
    rows = found.rows
    assert rows is not None
    counts = {
        name: getattr(rows, name)
        for name in ("modified", "missing", "extra", "changed_since", "dead_lettered")
    }
    assert counts == {**dict.fromkeys(counts, 0), kind: 1}
    assert rows.identical == rows.staged - (kind != "extra")


def test_a_table_that_arrived_passes_on_every_level_and_row_by_row(bed: Bed) -> None:
    found = bed.reconcile(full=True)
    assert found.verdict == "PASS"
    assert {check.verdict for check in found.checks} == {"PASS"}
    assert {check.level for check in found.checks} == {1, 2, 3, 4, 5}
    assert found.differences == []
    assert found.not_checked == []
    assert found.sampled == 1000
    assert found.rows is not None
    assert found.rows.identical == found.rows.staged == found.rows.salesforce == bed.rows
    assert not bed.folder.differences.exists()
    assert found.requests <= 10 * bed.rows / 1_000_000 + 100
    assert found.sample_checksum == bed.reconcile().sample_checksum


def test_a_missing_row(bed: Bed) -> None:
    key = bed.key(bed.rows - 1)
    with bed.planted(f"DELETE FROM Sale__c WHERE External_ID__c = '{key}'", key):
        found = bed.reconcile()
    require_named(found, "missing", key)
    assert (found.source, found.salesforce, found.difference) == (bed.rows, bed.rows - 1, 1)
    assert found.match_percentage < 100
    send_again = gzip.decompress((bed.folder.differences / "send_again.csv.gz").read_bytes())
    assert send_again.decode().splitlines()[1].startswith(key)


def test_a_row_deleted_in_the_middle_of_a_range(bed: Bed) -> None:
    key = bed.key(MIDDLE)
    with bed.planted(f"DELETE FROM Sale__c WHERE External_ID__c = '{key}'", key):
        found = bed.reconcile()
    require_named(found, "missing", key)
    assert found.rows is not None
    assert found.rows.staged == bed.rows // DAYS, "only the rows of its day were looked up"


def test_an_extra_row(bed: Bed) -> None:
    key = "77"
    twin = (
        "INSERT INTO Sale__c SELECT * REPLACE ('a0S990000000001AAA' AS Id, '77' AS External_ID__c) "
        f"FROM before WHERE External_ID__c = '{bed.key(MIDDLE)}'"
    )
    with bed.planted(twin, key):
        found = bed.reconcile()
    require_named(found, "extra", key)
    assert found.difference == -1


def test_one_cent(bed: Bed) -> None:
    key = bed.key(MIDDLE)
    cents = MIDDLE * 7919 % 1_000_000 - 30_000
    more = f"UPDATE Sale__c SET Amount__c = Amount__c + 0.01 WHERE External_ID__c = '{key}'"
    with bed.planted(more, key):
        found = bed.reconcile()
    require_named(
        found, "modified", key, "Amount__c", f"{cents / 100:.2f}", f"{(cents + 1) / 100:.2f}"
    )
    (summed,) = [d for d in found.differences if d.measure == "sum"]
    assert summed.expected is not None
    assert summed.found is not None
    assert summed.tolerance
    assert float(summed.tolerance) < 0.005
    assert summed.range == "2024-01-01..2024-01-20"


@pytest.mark.parametrize("field", ["Sold_At__c", "Created__c"])
def test_the_latest_date_shifted_by_an_hour(bed: Bed, field: str) -> None:
    """Of the partition column this moves the row out of the window, where it is looked for."""
    step, there = (61, 13) if field == "Sold_At__c" else (37, 1)
    rows = [i for i in range(bed.rows) if i % there or there == 1]
    key = bed.key(max(rows, key=lambda i: (i % DAYS, i * step % 86400)))
    later = f"UPDATE Sale__c SET {field} = {field} + INTERVAL 1 HOUR"
    with bed.planted(f"{later} WHERE External_ID__c = '{key}'", key):
        found = bed.reconcile()
    assert found.verdict == "FAIL"
    (named,) = of_rows(found)
    assert (named.kind, named.key, named.field) == ("modified", key, field)
    assert seconds(named.found) - seconds(named.expected) == 3600


def seconds(text: str | None) -> float:
    assert text is not None
    return datetime.fromisoformat(text.replace("+0000", "+00:00")).timestamp()


CARD = "left(Card_No__c, 29) || ((right(Card_No__c, 1)::INTEGER + 1) % 10)"
SUBTLE = {
    "an hour in mid-range": ("Sold_At__c", "Sold_At__c - INTERVAL 1 HOUR", 1),
    "trailing blanks": ("Note__c", "Note__c || '  '", 1),
    "NULL against a value": ("Note__c", "NULL", 1),
    "a Thai character": ("Note__c", "replace(Note__c, 'ร้าน', 'ร้าม')", 3),
    "the last digit of 30": ("Card_No__c", CARD, 1),
    "another parent": (
        "Tenant__r.Code__c",
        "(SELECT Id FROM Tenant__c WHERE Code__c = 'T7')",
        1,
    ),
}
"""What is planted: the field, its new value, and a number that the row's own is a multiple of."""


def a_row_for(multiple: int, *, rows: list[int]) -> int:
    """The first of these rows that has a value in every field that is changed."""
    return next(
        i
        for i in rows
        if i % multiple == 0
        and i % 7
        and (multiple != 1 or (i % 3 and i % 13 and i % 17 and i % 50 != 7))
    )


@pytest.mark.parametrize("full", [True, False], ids=["full", "sample"])
@pytest.mark.parametrize("what", SUBTLE)
def test_what_no_total_shows(bed: Bed, what: str, full: bool) -> None:
    """Comparing all rows finds it; and so does the sample, when the row is in it."""
    field, value, multiple = SUBTLE[what]
    sampled = {int(key) - 8_000_000_000 for key in bed.totals.sample}
    middle = range(MIDDLE, MIDDLE + 10_000)
    i = a_row_for(multiple, rows=[i for i in middle if (i in sampled) != full])
    column = "Tenant__c" if "." in field else field
    key = bed.key(i)
    change = f"UPDATE Sale__c SET {column} = {value} WHERE External_ID__c = '{key}'"
    with bed.planted(change, key):
        found = bed.reconcile(full=full)
    assert found.verdict == "FAIL"
    (named,) = of_rows(found)
    assert (named.kind, named.key, named.field) == ("modified", key, field)
    assert named.expected != named.found
    (level_3,) = [check for check in found.checks if check.level == 3]
    assert level_3.verdict == ("PASS" if full else "FAIL")
    in_sample = [d for d in found.differences if d.level == 3]
    assert [(d.key, d.field) for d in in_sample] == ([] if full else [(key, field)])
    assert found.rows is not None
    assert (found.rows.modified, found.rows.identical) == (1, found.rows.staged - 1)


def test_a_lookup_that_is_empty_in_the_org(bed: Bed) -> None:
    key = bed.key(MIDDLE)
    orphan = f"UPDATE Sale__c SET Tenant__c = NULL WHERE External_ID__c = '{key}'"
    with bed.planted(orphan, key):
        found = bed.reconcile()
    (level_5,) = [check for check in found.checks if check.level == 5]
    assert level_5.verdict == "FAIL"
    assert (level_5.name, int(level_5.expected) - int(level_5.found)) == ("Tenant__c", 1)
    assert [d.kind for d in found.differences if d.level == 5] == ["no_parent"]
    require_named(found, "modified", key, "Tenant__r.Code__c", f"T{MIDDLE % 50}", None)


def test_an_org_whose_clock_is_ahead_makes_no_edits_of_its_own(bed: Bed) -> None:
    """A row that was changed before the load ended, by this host's clock, is not taken for one."""
    bed.org.advance(3600)
    key = bed.key(MIDDLE)
    moved = "SystemModstamp = SystemModstamp + INTERVAL 1 HOUR"
    spoilt = f"UPDATE Sale__c SET Amount__c = 1, {moved} WHERE External_ID__c = '{key}'"
    with bed.planted(spoilt, key):
        found = bed.reconcile()
    assert found.rows is not None
    assert (found.rows.modified, found.rows.changed_since) == (1, 0)
    assert bed.client.clock_ahead > timedelta(minutes=59)
