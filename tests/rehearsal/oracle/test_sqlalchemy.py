"""SQLAlchemy's inspector and pandas work over the stand-in as over Oracle."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import pytest
from sqlalchemy import TIMESTAMP, Engine, Numeric, create_engine, inspect, text

from kpcluigi.rehearsal.oracle import OracleStandIn

from .conftest import BIG_ROWS, PASSWORD


@pytest.fixture
def engine(oracle: OracleStandIn) -> Iterator[Engine]:
    host, _, service = oracle.dsn.partition("/")
    made = create_engine(
        f"oracle+oracledb://kpc:{PASSWORD}@{host}/?service_name={service}", arraysize=5000
    )
    yield made
    made.dispose()


def test_inspector_names_tables_and_keys(engine: Engine) -> None:
    found = inspect(engine)
    assert sorted(found.get_table_names()) == ["big", "branch", "doc", "ledger", "sale"]
    assert found.get_table_names(schema="hr") == ["place"]
    assert found.has_table("sale")
    assert not found.has_table("nowhere")
    assert found.has_table("place", schema="hr")
    assert found.get_pk_constraint("sale")["constrained_columns"] == ["id"]
    assert found.get_view_names() == []
    assert found.get_foreign_keys("sale") == []
    assert found.get_indexes("sale") == []


def test_inspector_tells_column_types(engine: Engine) -> None:
    found = inspect(engine)
    columns = {c["name"]: (str(c["type"]), c["nullable"]) for c in found.get_columns("sale")}
    amount = next(c["type"] for c in found.get_columns("sale") if c["name"] == "amount")
    assert isinstance(amount, Numeric)
    assert (amount.precision, amount.scale) == (18, 2)
    assert columns["id"] == ("NUMBER", False)
    assert columns["sold"] == ("DATE", True)
    zoned = next(c["type"] for c in found.get_columns("sale") if c["name"] == "zoned")
    assert isinstance(zoned, TIMESTAMP)
    assert zoned.timezone
    assert columns["note"] == ("VARCHAR(20)", True)
    several = found.get_multi_columns(schema="kpc", filter_names=["sale", "branch"])
    assert {name for _, name in several} == {"sale", "branch"}


def test_pandas_reads_in_chunks(engine: Engine) -> None:
    with engine.connect() as connection:
        chunks = pd.read_sql(
            text("SELECT id, amount, name FROM big WHERE id > :low ORDER BY id"),
            connection,
            params={"low": 10},
            chunksize=20_000,
        )
        frames = list(chunks)
    assert sum(len(f) for f in frames) == BIG_ROWS - 10
    assert list(frames[0].columns) == ["id", "amount", "name"]
    assert frames[0]["id"].iloc[0] == 11
