"""What cannot be compared is no PASS."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from kpcluigi.errors import StagingError
from kpcluigi.load import Standing
from kpcluigi.markers import Chunk, LoadResult, Plan, SourceTotals
from kpcluigi.reconcile import reconcile_increment
from kpcluigi.salesforce import Client
from kpcluigi.staging import RunFolder
from kpcluigi.tables import load_tables

TABLE = "KPS_WEB_SALES"


def test_an_increment_whose_chunk_file_is_gone_is_not_compared(tmp_path: Path) -> None:
    """No question is put to the org: there is nothing to ask for."""
    folder = RunFolder(tmp_path / "incremental_2022-01-01_20250601T114500Z").table(TABLE)
    plan = Plan(
        table=TABLE,
        owner="TMS",
        partition_column="CREATED_DATE",
        window="",
        scn=1,
        snapshot_at=datetime(2025, 6, 1, tzinfo=UTC),
        fingerprint="f",
        strategy="key_range",
        key=["WEB_ORDER_NO"],
        key_types=["text"],
        rows=3,
        sql="",
        seconds=0,
        columns=[],
        notes=[],
        chunks=[Chunk(n=1, rows=3)],
    )
    totals = SourceTotals(
        table=TABLE,
        scn=1,
        rows=3,
        ranges=[],
        total={},
        sample_limit="G",
        sample={},
        duplicate_keys=[],
        sql="",
        seconds=0,
    )
    load = LoadResult(
        table=TABLE,
        n=1,
        object="KPS_Web_Sales__c",
        chunk_sha256="",
        extracted=3,
        created=3,
        updated=0,
        failed=0,
        unprocessed=0,
        rejected=0,
        changed_to_fit=0,
        jobs=[],
        seconds=0,
    )
    with pytest.raises(StagingError, match=r"0 different keys of the 3 .*--mode incremental"):
        reconcile_increment(
            cast(Client, None),
            load_tables(Path("tables.toml"))[TABLE],
            plan=plan,
            totals=totals,
            loads=Standing([load], []),
            folder=folder,
            tell=lambda line, share: None,
        )
