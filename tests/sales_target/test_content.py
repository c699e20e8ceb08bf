"""Canonical text and checksum: the same in Python and in PostgreSQL, whatever the number."""

from __future__ import annotations

import random
from decimal import Decimal

import polars as pl
import psycopg
import pytest

from kpcluigi.errors import OracleError
from kpcluigi.rehearsal.postgres import PostgresServer
from kpcluigi.sales_target.content import COLUMNS, Content, Tally, canonical, checksum_sql

CANONICAL = [
    ("0", "0"),
    ("12", "12"),
    ("-12", "-12"),
    (".5", "0.5"),
    ("-.5", "-0.5"),
    ("100", "100"),
    ("1.50", "1.5"),
    ("7.000", "7"),
    ("9" * 38, "9" * 38),
    ("." + "0" * 37 + "1", "0." + "0" * 37 + "1"),
    ("1E+125", "1" + "0" * 125),
    ("-1.0E-129", "-0." + "0" * 128 + "1"),
    (None, None),
]


@pytest.mark.parametrize(("given", "expected"), CANONICAL)
def test_canonical(given: str | None, expected: str | None) -> None:
    assert canonical(pl.Series([given], dtype=pl.String), "id").to_list() == [expected]


@pytest.mark.parametrize("text", ["1,5", "", " 1", "1\t2", "NaN", "1E5x", "\\N", "\ufffd1", "--1"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(OracleError, match=r"ID: .* is no number"):
        canonical(pl.Series(["1", text]), "id")


def frame(rows: list[tuple[str | None, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.String), orient="row")


def content(rows: list[tuple[str | None, ...]]) -> Content:
    tally = Tally()
    for at in range(0, len(rows), 7):
        tally.add(frame(rows[at : at + 7]))
    return tally.content


def awkward_rows(seed: int) -> list[tuple[str | None, ...]]:
    rng = random.Random(seed)
    values = [given for given, _ in CANONICAL]
    values += [str(Decimal(rng.randint(-(10**38), 10**38)).scaleb(-rng.randint(0, 38)))
               for _ in range(40)]  # fmt: skip
    rows = [tuple(rng.choice(values) for _ in COLUMNS) for _ in range(100)]
    return [*rows, *rows[:10], (None,) * len(COLUMNS)]


def test_python_and_postgresql_agree(postgres: PostgresServer) -> None:
    rows = awkward_rows(1)
    tally = Tally()
    data = tally.add(frame(rows))
    with psycopg.connect(postgres.url.replace("+psycopg", "")) as connection:
        columns = ", ".join(f"{column} numeric" for column in COLUMNS)
        connection.execute(f"CREATE TEMPORARY TABLE t ({columns})")
        with connection.cursor() as cursor, cursor.copy("COPY t FROM STDIN") as copy:
            copy.write(data)
        sums = ", ".join(f"count({column}), sum({column})" for column in COLUMNS)
        found = connection.execute(
            f"SELECT count(*), {sums}, {checksum_sql(COLUMNS)} FROM t"
        ).fetchone()
    mine = tally.content
    measures = [value for column in mine.columns for value in (column.non_null, column.sum)]
    assert found == (mine.rows, *measures, mine.checksum)


def test_the_order_of_rows_does_not_matter() -> None:
    rows = awkward_rows(2)
    assert content(rows) == content(rows[::-1])


ROW = ("1", "2", "3", "4", "5.5")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([ROW], [ROW, ROW]),
        ([ROW, ROW], [ROW, ROW, ROW, ROW]),
        ([("0", "2", "3", "4", "5")], [(None, "2", "3", "4", "5")]),
        ([("1", None, "3", "4", "5")], [(None, "1", "3", "4", "5")]),
        ([("11", "2", "3", "4", "5")], [("1", "12", "3", "4", "5")]),
        ([("1", "2", "3", "4", "5"), ("2", "1", "3", "4", "5")],
         [("1", "1", "3", "4", "5"), ("2", "2", "3", "4", "5")]),
        ([("1", "2", "3", "4", "5")], [("1", "2", "3", "4", "-5")]),
    ],
    ids=["twice", "pairs", "null is not 0", "null moved", "digits moved", "swapped", "sign"],
)  # fmt: skip
def test_other_rows_have_another_checksum(
    one: list[tuple[str | None, ...]], other: list[tuple[str | None, ...]]
) -> None:
    assert content(one).checksum != content(other).checksum
    assert "checksum: " in " ".join(content(one).differences(content(other)))


def test_differences_name_the_column_and_both_values() -> None:
    one, other = content([ROW]), content([("1", "2", "3", "4", "1000.25")])
    assert one.differences(other)[0] == "sum of target_amount: 5.5 / 1,000.25"
    assert content([ROW]).differences(content([ROW])) == []
