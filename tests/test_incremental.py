"""From where an increment goes on, told from the markers that earlier runs left."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from kpcluigi.errors import ConfigurationError
from kpcluigi.incremental import Rules, increment_folder, open_increment, read_scope
from kpcluigi.markers import IncrementScope, Plan, Reconciled, Verdict
from kpcluigi.staging import RunFolder, write_marker
from kpcluigi.tables import Table, parse_tables

START = date(2022, 1, 1)
FULL = "full_2022-01-01_2024-12-31"
WINDOW_END = datetime(2024, 12, 31, 17, tzinfo=UTC)  # midnight in Bangkok
NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
RULES = Rules(overlap=3600, lag=900)


def tables(**incremental: str) -> dict[str, Table]:
    sections = {
        name: {
            "phase": 1,
            "object": f"{name}__c",
            "external_id": "Ext__c",
            "key": ["ID"],
            "partition_column": "CREATED_DATE",
            "source_zone": "Asia/Bangkok",
            "incremental": mode,
            "columns": {"ID": {"field": "Ext__c", "type": "text"}},
        }
        for name, mode in incremental.items()
    }
    return parse_tables({"tables": sections})


def reconciled(
    org: Path, run: str, table: str, snapshot_at: datetime, verdict: Verdict = "PASS"
) -> None:
    """What a run leaves of a table that it brought to its end."""
    folder = RunFolder(org / run).table(table)
    plan = Plan(
        table=table,
        owner="TMS",
        partition_column="CREATED_DATE",
        window="",
        scn=1,
        snapshot_at=snapshot_at,
        fingerprint="f",
        strategy="key_range",
        key=["ID"],
        key_types=["number"],
        rows=0,
        sql="",
        seconds=0,
        columns=[],
        notes=[],
        chunks=[],
    )
    write_marker(folder.plan, plan)
    done = Reconciled(
        table=table,
        object="T__c",
        fingerprint="f",
        verdict=verdict,
        source=0,
        extracted=0,
        created=0,
        updated=0,
        dead_lettered=0,
        salesforce=0,
        difference=0,
        match_percentage=100,
        chunks=0,
        changed_to_fit=0,
        checks=[],
    )
    write_marker(folder.reconciled, done)


def opened(org: Path, wanted: dict[str, Table], now: datetime = NOW) -> IncrementScope:
    until = open_increment(org, wanted, START, rules=RULES, now=now)
    return read_scope(increment_folder(org, START, until))


def test_it_goes_on_from_the_earlier_of_window_and_snapshot(tmp_path: Path) -> None:
    early = WINDOW_END - timedelta(days=30)
    reconciled(tmp_path, FULL, "A", WINDOW_END + timedelta(days=100))
    reconciled(tmp_path, FULL, "B", early)
    scope = opened(tmp_path, tables(A="watermark", B="watermark"))
    hour = timedelta(hours=1)
    assert scope.since == {"A": WINDOW_END - hour, "B": early - hour}
    assert scope.until == NOW - timedelta(minutes=15)
    assert scope.after == {"A": FULL, "B": FULL}


def test_the_next_goes_on_from_the_last_that_passed(tmp_path: Path) -> None:
    wanted = tables(A="watermark")
    reconciled(tmp_path, FULL, "A", WINDOW_END)
    first = opened(tmp_path, wanted)
    run = f"incremental_{START}_20250601T114500Z"
    reconciled(tmp_path, run, "A", first.until - timedelta(minutes=5), "FAIL")
    assert opened(tmp_path, wanted, NOW + timedelta(days=1)).until == first.until, "not finished"
    reconciled(tmp_path, run, "A", first.until - timedelta(minutes=5))
    second = opened(tmp_path, wanted, NOW + timedelta(days=1))
    assert second.until == first.until + timedelta(days=1)
    assert second.since == {"A": first.until - timedelta(minutes=65)}
    assert second.after == {"A": run}


def test_tables_without_a_watermark_are_carried_whole_or_left_out(tmp_path: Path) -> None:
    for name in "ABC":
        reconciled(tmp_path, FULL, name, WINDOW_END)
    scope = opened(tmp_path, tables(A="watermark", B="full", C="skip"))
    assert scope.since["B"] is None
    assert scope.skipped == ["C"]
    with pytest.raises(ConfigurationError, match=r"tables\.toml leaves them out"):
        opened(tmp_path, tables(C="skip"))


def test_rows_in_the_dead_letter_do_not_hold_up_later_ones(tmp_path: Path) -> None:
    wanted = tables(A="watermark")
    reconciled(tmp_path, FULL, "A", WINDOW_END, "EXCEPTIONS")
    first = opened(tmp_path, wanted)
    run = f"incremental_{START}_20250601T114500Z"
    reconciled(tmp_path, run, "A", first.until, "EXCEPTIONS")
    assert opened(tmp_path, wanted, NOW + timedelta(days=1)).after == {"A": run}


def test_a_table_that_is_skipped_since_holds_nothing_up(tmp_path: Path) -> None:
    for name in "AB":
        reconciled(tmp_path, FULL, name, WINDOW_END)
    first = opened(tmp_path, tables(A="watermark", B="watermark"))
    run = f"incremental_{START}_20250601T114500Z"
    reconciled(tmp_path, run, "A", first.until)
    later = NOW + timedelta(days=1)
    assert opened(tmp_path, tables(A="watermark", B="watermark"), later).until == first.until
    assert opened(tmp_path, tables(A="watermark", B="skip"), later).until > first.until


def test_a_table_that_was_never_moved_whole_is_named(tmp_path: Path) -> None:
    reconciled(tmp_path, FULL, "A", WINDOW_END)
    reconciled(tmp_path, FULL, "B", WINDOW_END, "FAIL")
    with pytest.raises(ConfigurationError, match=r"^B: no reconciled run"):
        opened(tmp_path, tables(A="watermark", B="watermark"))
