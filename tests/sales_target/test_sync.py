"""A copy is whole and equal, or it is not made; who reads the target meanwhile notices nothing."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from decimal import Decimal
from typing import Any

import duckdb
import oracledb
import psycopg
import pytest
import sqlalchemy as sa

from kpcluigi.errors import MismatchError, OracleError, PostgresError
from kpcluigi.oracle import retrying
from kpcluigi.oracle.connection import passing as passing_in_oracle
from kpcluigi.oracle.connection import snapshot_lost
from kpcluigi.rehearsal.sample.targets import TARGETS, add_targets
from kpcluigi.sales_target import COLUMNS, OracleTable, passing
from tests.sales_target.copying import (
    OLD,
    PLAIN,
    ROWS,
    SMALL,
    SOURCE,
    TARGET,
    Copying,
    at_statement,
)


def sample_rows(rows: int) -> Counter[tuple[Decimal | None, ...]]:
    """What the stand-in was given, by itself."""
    with duckdb.connect() as con:
        add_targets(con, rows)
        names = ", ".join(f'"{column.name}"' for column in TARGETS.columns)
        found = con.execute(f"SELECT {names} FROM {TARGETS.engine_name}").fetchall()
    return Counter(tuple(None if v is None else Decimal(v) for v in row) for row in found)


def test_every_value_arrives_as_it_was(copying: Copying) -> None:
    synced = copying.sync()
    assert synced is not None
    assert (synced.content.rows, synced.batches) == (ROWS, 3)
    arrived = Counter(copying.rows())
    assert arrived == sample_rows(ROWS)
    values = [value for row in arrived for value in row]
    assert max(len(v.as_tuple().digits) for v in values if v is not None) == 38
    assert min(v for v in values if v is not None) < 0
    assert None in values
    assert max(arrived.values()) > 1, "rows that are there twice"


def test_again_it_ends_in_the_same_state(copying: Copying) -> None:
    first = copying.sync(PLAIN)
    seen = copying.seen()
    assert copying.sync(PLAIN) == first
    assert copying.seen() == seen


def test_schema_and_table_are_made_where_they_are_missing(copying: Copying) -> None:
    with copying.connect() as connection:
        connection.execute("DROP SCHEMA mb CASCADE")
    assert copying.sync(SMALL) is not None
    assert len(copying.rows()) == 3
    with copying.connect() as connection:
        types = connection.execute(
            "SELECT column_name::text, data_type::text FROM information_schema.columns "
            "WHERE table_schema = 'mb' ORDER BY ordinal_position"
        ).fetchall()
    assert types == [(column, "numeric") for column in COLUMNS]


def test_a_source_without_rows_empties_the_target(copying: Copying) -> None:
    synced = copying.sync("EMPTY_TARGETS")
    assert synced is not None
    assert synced.content.rows == 0
    assert copying.rows() == []


def test_count_sums_and_rows_are_of_one_snapshot(copying: Copying) -> None:
    """Rows that are committed in Oracle between the statements are not seen by any of them."""
    copying.oracle.grant(f"INSERT APPS.{SMALL}", f"DELETE APPS.{SMALL}")

    def change(sql: str) -> None:
        with copying.open_oracle() as other, other.cursor() as cursor:
            cursor.execute(sql)
            other.commit()

    insert = f"INSERT INTO APPS.{SMALL} (ID) VALUES (77)"
    try:
        synced = copying.sync(SMALL, show=at_statement("COPY", lambda: change(insert)))
    finally:
        change(f"DELETE FROM APPS.{SMALL} WHERE ID = 77")
    assert synced is not None
    assert synced.content.rows == 3


def test_the_rows_are_read_as_they_are_sent(copying: Copying) -> None:
    """Memory holds a batch: when the first is staged, Oracle has not been asked for the last."""
    at_first: list[int] = []

    def tell(line: str, share: float) -> None:
        if " 1 batches" in line:
            at_first.append(copying.oracle.stats()["rows"])

    copying.sync(tell=tell)
    assert at_first[0] < ROWS * 2 / 3


def test_what_is_not_copied_is_said(copying: Copying) -> None:
    synced = copying.sync(SMALL)
    assert synced is not None
    assert synced.notes == ("APPS.SMALL_TARGETS also has LAST_UPDATE_DATE; not copied",)


# -- readers


def test_readers_see_the_old_rows_until_the_commit_and_are_never_blocked(copying: Copying) -> None:
    old = copying.seen()
    committed = copying.connect(autocommit=True)
    repeatable = copying.connect()
    repeatable.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    moments: list[str] = []

    def look(statement: str) -> None:
        moments.append(statement.split()[0])
        assert copying.seen(committed) == old
        assert copying.seen(repeatable) == old

    with committed, repeatable:
        copying.sync(show=look)
        assert {"COPY", "LOCK", "DELETE", "INSERT", "COMMIT"} <= set(moments)
        assert copying.seen(committed)[0] == ROWS
        assert copying.seen(repeatable) == old, "its snapshot is older than the commit"


def test_nothing_is_truncated_or_altered(copying: Copying) -> None:
    statements: list[str] = []
    copying.sync(SMALL, show=statements.append)
    verbs = {statement.split()[0] for statement in statements}
    assert not verbs & {"TRUNCATE", "ALTER", "DROP"}


def test_a_writer_waits_until_the_copy_is_committed(copying: Copying) -> None:
    writer = copying.connect(autocommit=True)

    def write() -> None:
        with pytest.raises(psycopg.errors.LockNotAvailable):
            writer.execute(f"SET lock_timeout = 100; INSERT INTO {TARGET} (id) VALUES (1)")

    with writer:
        copying.sync(SMALL, show=at_statement("COMMIT", write))
    assert len(copying.rows()) == 3


# -- two at once


def test_of_two_at_once_one_waits(copying: Copying) -> None:
    told: list[str] = []
    waits = threading.Event()
    outcomes: list[Any] = []

    def tell(line: str, share: float) -> None:
        told.append(line)
        waits.set()

    def second() -> None:
        outcomes.append(copying.sync(SMALL, tell=tell, is_needed=lambda: False))

    thread = threading.Thread(target=second)

    def begin_second() -> None:
        thread.start()
        assert waits.wait(20)
        assert not outcomes

    copying.sync(SMALL, show=at_statement("COMMIT", begin_second))
    thread.join(20)
    assert told[0] == "another run is replacing mb.sales_target; waits for it"
    assert outcomes == [None], "once it holds the lock, it sees that all is done"


def test_who_waits_too_long_is_told_so(copying: Copying) -> None:
    with copying.connect() as other:
        other.execute(f"SELECT pg_advisory_xact_lock({TARGET.lock_key})")
        with pytest.raises(PostgresError, match=r"has been replacing mb.sales_target for more"):
            copying.sync(lock_timeout=0.05)
    assert copying.oracle.stats()["logins"] == 0, "Oracle is opened under the lock only"


# -- values that change on the way

FALSIFIED = [
    ("id", b"111111", b"111112"),
    ("product_id", b"222222", b"222223"),
    ("target_month", b"333333", b"333334"),
    ("target_year", b"444444", b"444445"),
    ("target_amount", b"555555.5", b"555555.6"),
]


@pytest.mark.parametrize(("column", "value", "other"), FALSIFIED)
@pytest.mark.parametrize("end", ["oracle", "postgres"])
def test_a_value_changed_on_the_wire_rolls_back(
    copying: Copying, end: str, column: str, value: bytes, other: bytes
) -> None:
    old = copying.seen()
    relay = copying.to_oracle if end == "oracle" else copying.to_postgres
    relay.falsify(value, other)
    with pytest.raises(MismatchError, match=f"sum of {column}: "):
        copying.sync(SMALL)
    assert relay.falsified
    assert copying.seen() == old
    relay.reset()
    assert copying.sync(SMALL) is not None


@pytest.mark.parametrize("column", COLUMNS)
def test_a_value_changed_in_the_database_rolls_back(copying: Copying, column: str) -> None:
    old = copying.seen()
    with copying.connect() as connection:
        connection.execute(
            f"CREATE OR REPLACE FUNCTION mb.meddle() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN NEW.{column} = NEW.{column} + 1; RETURN NEW; END $$"
        )
        connection.execute(
            f"CREATE TRIGGER meddle BEFORE INSERT ON {TARGET} FOR EACH ROW "
            f"WHEN (NEW.id = 6 AND NEW.{column} IS NOT NULL OR NEW.id = 1) "
            f"EXECUTE FUNCTION mb.meddle()"
        )
    with pytest.raises(MismatchError, match=f"rows now in mb.sales_target .*sum of {column}"):
        copying.sync(SMALL)
    assert copying.seen() == old


def test_values_swapped_between_rows_roll_back(copying: Copying) -> None:
    """Count and sums are right; the checksum is not."""
    with copying.connect() as connection:
        connection.execute(
            f"CREATE RULE swap AS ON INSERT TO {TARGET} DO ALSO "
            f"UPDATE {TARGET} SET product_id = 9 - product_id WHERE id IN (1, 6)"
        )
    with pytest.raises(MismatchError) as mismatch:
        copying.sync(SMALL)
    assert "checksum: " in str(mismatch.value)
    assert "sum of" not in str(mismatch.value)


def test_a_target_that_rounds_rolls_back(copying: Copying) -> None:
    with copying.connect() as connection:
        connection.execute(f"ALTER TABLE {TARGET} ALTER target_amount TYPE NUMERIC(12, 0)")
    old = copying.seen()
    with pytest.raises(MismatchError, match=r"sum of target_amount: 555,560.5 / 555,561"):
        copying.sync(SMALL)
    assert copying.seen() == old


# -- lost connections


def tries_needed(copying: Copying) -> int:
    """A try that a cut may end: old or new, never between; and the next try completes."""
    old = copying.seen()
    tries = 0

    def attempt() -> None:
        nonlocal tries
        tries += 1
        if tries > 1:
            copying.to_oracle.reset()
            copying.to_postgres.reset()
        copying.sync(PLAIN)

    def passes(error: BaseException) -> bool:
        copying.wait_until_free()
        seen = copying.seen()
        assert seen == old or seen[0] == ROWS
        return passing(error) or passing_in_oracle(error)

    retrying(attempt, retries=1, delay=0.01, tell=lambda line: None, passes=passes)
    assert copying.seen()[0] == ROWS
    return tries


def test_a_connection_that_is_lost_at_any_moment(copying: Copying) -> None:
    rng = random.Random(int(os.environ.get("KPCLUIGI_TEST_SEED", "20261121")))
    copying.sync(PLAIN)
    totals = {
        ("oracle", "sent"): copying.to_oracle.sent,
        ("oracle", "received"): copying.to_oracle.received,
        ("postgres", "sent"): copying.to_postgres.sent,
        ("postgres", "received"): copying.to_postgres.received,
    }
    needed: list[int] = []
    for (end, direction), total in totals.items():
        for _ in range(int(os.environ.get("KPCLUIGI_TEST_CUTS", "2"))):
            copying.to_oracle.reset()
            copying.to_postgres.reset()
            copying.put_old_rows(OLD)
            relay = copying.to_oracle if end == "oracle" else copying.to_postgres
            relay.cut_at(**{direction: rng.randrange(total)})
            needed.append(tries_needed(copying))
    # A cut in the farewell to either end does no harm
    assert needed.count(2) > len(needed) / 2


def test_an_answer_to_the_commit_that_is_lost(copying: Copying) -> None:
    """The rows are in, but nobody was told: the next try puts the same rows there once more."""

    def deafen() -> None:
        copying.to_postgres.cut_at(received=copying.to_postgres.received)

    with pytest.raises((sa.exc.DBAPIError, psycopg.Error)) as lost:
        copying.sync(PLAIN, show=at_statement("COMMIT", deafen))
    assert passing(lost.value)
    copying.wait_until_free()
    new = copying.seen()
    assert new[0] == ROWS
    copying.to_postgres.reset()
    copying.sync(PLAIN)
    assert copying.seen() == new


def test_a_snapshot_that_oracle_forgets(copying: Copying) -> None:
    old = copying.seen()
    with pytest.raises(oracledb.DatabaseError) as lost:
        copying.sync(show=at_statement("COPY", copying.oracle.forget_undo))
    assert snapshot_lost(lost.value)
    assert copying.seen() == old


# -- tables that are not as they should be


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (OracleTable("APPS", "NOBODY"), "APPS.NOBODY does not exist, or KPC_READER has no privi"),
        (OracleTable("APPS", "ELSEWHERE"), r"but there is OTHER.ELSEWHERE \(table\): set source_o"),
        (OracleTable("APPS", "SYNONYM_ELSEWHERE"), r"is OTHER.SYNONYM_ELSEWHERE \(synonym\)"),
        (OracleTable("APPS", "BY_OLD_SYNONYM"), "ORA-00980"),
        (OracleTable("APPZ", "KHS"), "the database has no user APPZ"),
        (OracleTable("APPS", "WRONG_TYPES"), "TARGET_YEAR is DB_TYPE_VARCHAR"),
        (OracleTable("APPS", "WRONG_COLUMNS"), "has no column TARGET_YEAR, TARGET_AMOUNT; it has"),
    ],
)
def test_a_source_that_is_not_there(copying: Copying, source: OracleTable, says: str) -> None:
    old = copying.seen()
    with pytest.raises(OracleError, match=says):
        copying.sync(source=source)
    assert copying.seen() == old


def test_a_source_without_the_privilege(copying: Copying) -> None:
    copying.oracle.revoke(f"SELECT {SOURCE}")
    with pytest.raises(OracleError, match=f"GRANT SELECT ON {SOURCE} TO KPC_READER"):
        copying.sync()


def test_a_source_by_its_synonym(copying: Copying) -> None:
    synced = copying.sync("BY_SYNONYM")
    assert synced is not None
    assert synced.content.rows == 3
    copying.oracle.revoke("SELECT OTHER.GUARDED")
    with pytest.raises(OracleError, match=r"leads to OTHER\.GUARDED.* GRANT SELECT ON OTHER\.GUAR"):
        copying.sync("BY_PUBLIC_SYNONYM")


def test_a_target_that_lacks_a_column(copying: Copying) -> None:
    with copying.connect() as connection:
        connection.execute(f"ALTER TABLE {TARGET} DROP COLUMN target_year")
    with pytest.raises(PostgresError, match=r"mb\.sales_target has no column target_year"):
        copying.sync()


# -- what a later try gets past


@pytest.mark.parametrize(
    ("url", "passes"),
    [
        ("postgresql+psycopg://postgres@127.0.0.1:9/postgres", True),
        ("postgresql+psycopg://postgres@127.0.0.1:{port}/nowhere", False),
        ("postgresql+psycopg://nobody@127.0.0.1:{port}/postgres", False),
        ("postgresql+psycopg://postgres@127.0.0.1:{port}/postgres?sslmode=require", False),
        ("postgresql+psycopg://postgres@127.0.0.1:{port}/postgres?sslmode=sometimes", False),
    ],
)
def test_connections_that_are_refused(copying: Copying, url: str, passes: bool) -> None:
    engine = sa.create_engine(url.format(port=copying.to_postgres.port))
    with pytest.raises(sa.exc.DBAPIError) as refused:
        engine.connect()
    assert passing(refused.value) is passes


@pytest.mark.parametrize(
    ("state", "passes"),
    [("57P01", True), ("53300", True), ("40P01", True), ("53100", False), ("42501", False)],
)
def test_errors_of_the_server(copying: Copying, state: str, passes: bool) -> None:
    with copying.connect() as connection, pytest.raises(psycopg.Error) as raised:
        connection.execute(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$")
    assert passing(raised.value) is passes
