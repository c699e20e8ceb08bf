"""What a table adds up to, and when a load is stopped because it is clearly wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kpcluigi.errors import TooManyFailedRowsError
from kpcluigi.load import require_sane, standing
from kpcluigi.markers import (
    Chunk,
    JobOutcome,
    LoadJournal,
    LoadResult,
    Part,
    Plan,
    RetryResult,
    RetrySource,
)
from kpcluigi.staging import RunFolder, TableFolder, write_marker
from kpcluigi.tables import Table

TABLE = "KPS_R_POS_SUPPLIER"
ROWS = 100_000
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
START = NOW - timedelta(hours=1)

PLAN = Plan(
    table=TABLE,
    owner="TMS",
    partition_column="CREATED_DATE",
    window="",
    scn=1,
    snapshot_at=datetime(2025, 6, 1, tzinfo=UTC),
    fingerprint="f",
    strategy="key_range",
    key=["POS_NO"],
    key_types=["number"],
    rows=3 * ROWS,
    sql="",
    seconds=0,
    columns=[],
    notes=[],
    chunks=[Chunk(n=n, rows=ROWS) for n in (1, 2, 3)],
)


@pytest.fixture
def folder(tmp_path: Path) -> TableFolder:
    return RunFolder(tmp_path).table(TABLE)


def loaded(
    folder: TableFolder, n: int, *, failed: int, rejected: int = 0, hours_ago: float = 0
) -> None:
    result = LoadResult(
        table=TABLE,
        n=n,
        object="T__c",
        chunk_sha256="",
        extracted=ROWS,
        created=ROWS - failed - rejected,
        updated=0,
        failed=failed,
        unprocessed=0,
        rejected=rejected,
        changed_to_fit=0,
        jobs=[
            JobOutcome(
                id=f"750{n}",
                state="JobComplete",
                rows=ROWS - rejected,
                created=ROWS - failed - rejected,
                failed=failed,
                ended_at=NOW - timedelta(hours=hours_ago),
            )
        ],
        seconds=0,
    )
    write_marker(folder.load_result(n), result)


def retried(folder: TableFolder, attempt: int, *, rows: int, arrived: int) -> None:
    source = RetrySource(
        table=TABLE,
        attempt=attempt,
        rows=rows,
        invocation="",
        corrected="",
        raw_bytes=0,
        sha256="",
        header_bytes=0,
        cuts=[],
    )
    result = RetryResult(
        table=TABLE,
        attempt=attempt,
        rows=rows,
        corrected="",
        created=0,
        updated=arrived,
        failed=rows - arrived,
        unprocessed=0,
        jobs=[],
        seconds=0,
    )
    write_marker(folder.retry_source(attempt), source)
    write_marker(folder.retry_result(attempt), result)


def test_retried_rows_leave_the_dead_and_join_the_arrived(folder: TableFolder) -> None:
    loaded(folder, 1, failed=100, rejected=10)
    loaded(folder, 2, failed=0)
    assert not standing(folder, PLAN).is_loaded
    loaded(folder, 3, failed=50)
    retried(folder, 1, rows=150, arrived=90)
    retried(folder, 2, rows=60, arrived=60)
    now = standing(folder, PLAN)
    assert now.is_loaded
    assert (now.dead, now.updated) == (10, 150)
    assert now.extracted == now.arrived + now.dead == 3 * ROWS


def test_a_new_start_tries_again_what_an_earlier_one_stopped(
    folder: TableFolder, tables: dict[str, Table]
) -> None:
    """The cause may have been mended; the next job tells."""
    loaded(folder, 1, failed=90_000, hours_ago=2)
    require_sane(folder, tables[TABLE], PLAN, since=START, remedy="")
    loaded(folder, 2, failed=0)
    require_sane(folder, tables[TABLE], PLAN, since=START, remedy="")
    loaded(folder, 2, failed=90_000)
    with pytest.raises(TooManyFailedRowsError, match=r"180,000 in all"):
        require_sane(folder, tables[TABLE], PLAN, since=START, remedy="")


@pytest.mark.parametrize(
    ("failed", "allowed", "stops"),
    [
        (9_000, 0, False),  # over max_failed_rows, which holds the next phase; but it may go on
        (11_000, 0, True),
        (11_000, 11_000, False),
        (11_000, "3%", True),
        (11_000, "4%", False),
    ],
)
def test_a_load_stops_when_many_more_rows_fail_than_may(
    folder: TableFolder, tables: dict[str, Table], failed: int, allowed: int | str, stops: bool
) -> None:
    table = tables[TABLE].model_copy(update={"max_failed_rows": allowed})
    loaded(folder, 1, failed=failed)
    if stops:
        with pytest.raises(TooManyFailedRowsError, match=r"11,000 of the 100,000 .*Do this"):
            require_sane(folder, table, PLAN, since=START, remedy="Do this")
    else:
        require_sane(folder, table, PLAN, since=START, remedy="Do this")


def test_rows_of_a_chunk_under_way_count_as_well(
    folder: TableFolder, tables: dict[str, Table]
) -> None:
    outcome = JobOutcome(
        id="750", state="JobComplete", rows=10_000, failed=6_000, again=4_000, ended_at=NOW
    )
    parts = [Part(rows=10_000, start=0, end=1, outcome=outcome), Part(rows=4_000, start=0, end=1)]
    journal = LoadJournal(table=TABLE, n=2, chunk_sha256="", parts=parts)
    write_marker(folder.load_journal(2), journal)
    with pytest.raises(TooManyFailedRowsError, match="6,000 of the 6,000 rows"):
        require_sane(folder, tables[TABLE], PLAN, since=START, remedy="")
    retried(folder, 1, rows=6_000, arrived=6_000)
    require_sane(folder, tables[TABLE], PLAN, since=START, remedy="")
