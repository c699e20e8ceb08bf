"""One Oracle stand-in and one real PostgreSQL server for all tests of the sales targets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from kpcluigi.rehearsal.oracle import OracleStandIn
from kpcluigi.rehearsal.oracle.catalog import Column, Table, create_synonym, create_table
from kpcluigi.rehearsal.postgres import PostgresServer
from kpcluigi.rehearsal.sample.targets import TARGETS, add_targets
from tests.sales_target.copying import OLD, PASSWORD, PLAIN, ROWS, SMALL, USER, Copying
from tests.sales_target.relay import Relay


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def oracle_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OracleStandIn]:
    """The sample's sales targets, and a few small tables beside them."""
    database = tmp_path_factory.mktemp("targets") / "oracle.duckdb"
    with duckdb.connect(str(database)) as con:
        add_targets(con, ROWS)
        names = [column.name for column in TARGETS.columns]
        small = Table("APPS", SMALL, (*TARGETS.columns, Column("LAST_UPDATE_DATE", "DATE")))
        create_table(con, small)
        con.execute(
            f"INSERT INTO {small.engine_name} ({', '.join(names)}) VALUES "
            "('111111', '222222', '333333', '444444', '555555.5'), ('1', '2', '3', '4', '5'), "
            "('6', '7', '8', '9', NULL)"
        )
        plain = Table("APPS", PLAIN, TARGETS.columns)
        create_table(con, plain)
        con.execute(
            f"INSERT INTO {plain.engine_name} ({', '.join(names)}) "
            f"SELECT i, i % 7, i % 12 + 1, 2026, i || '.25' FROM range({ROWS}) r(i)"
        )
        create_table(con, Table("APPS", "EMPTY_TARGETS", TARGETS.columns))
        wrong = (*TARGETS.columns[:3], Column("TARGET_YEAR", "VARCHAR2(4)"), TARGETS.columns[4])
        create_table(con, Table("APPS", "WRONG_TYPES", wrong))
        create_table(con, Table("APPS", "WRONG_COLUMNS", TARGETS.columns[:3]))
        create_table(con, Table("OTHER", "ELSEWHERE", TARGETS.columns))
        create_synonym(con, "APPS", "BY_SYNONYM", ("APPS", SMALL))
        create_synonym(con, "PUBLIC", "BY_PUBLIC_SYNONYM", ("OTHER", "GUARDED"))
        create_synonym(con, "APPS", "BY_OLD_SYNONYM", ("OTHER", "DROPPED"))
        create_synonym(con, "OTHER", "SYNONYM_ELSEWHERE", ("APPS", SMALL))
        create_table(con, Table("OTHER", "GUARDED", TARGETS.columns))
    with OracleStandIn(database, user=USER, password=PASSWORD) as oracle:
        yield oracle


@pytest.fixture
def oracle(oracle_process: OracleStandIn) -> Iterator[OracleStandIn]:
    oracle_process.disarm()
    oracle_process.reset()
    yield oracle_process
    oracle_process.disarm()
    oracle_process.reset()


@pytest.fixture(scope="session")
def relays(postgres: PostgresServer, oracle_process: OracleStandIn) -> Iterator[dict[str, Relay]]:
    """A relay before either end."""
    with (
        Relay(postgres.socket) as to_postgres,
        Relay(("127.0.0.1", oracle_process.port)) as to_oracle,
    ):
        yield {"postgres": to_postgres, "oracle": to_oracle}


@pytest.fixture
def copying(
    postgres: PostgresServer, oracle: OracleStandIn, relays: dict[str, Relay]
) -> Iterator[Copying]:
    """Copies by the relays, into a target that holds old rows."""
    for relay in relays.values():
        relay.reset()
    copying = Copying(postgres, oracle, relays["oracle"], relays["postgres"])
    copying.put_old_rows(OLD)
    yield copying
    for relay in relays.values():
        relay.reset()
    copying.engine.dispose()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the project's luigi.cfg, without pauses between tries."""
    cfg = Path("luigi.cfg").read_text("utf-8")
    before, after = cfg.split("[sales_target]")
    after = after.replace("retry_delay = 300", "retry_delay = 0.05", 1)
    core = f"[core]\nlock_pid_dir = {tmp_path / 'locks'}"
    text = f"{before}[sales_target]{after}".replace("[core]", core, 1)
    (tmp_path / "luigi.cfg").write_text(text, "utf-8")
    return tmp_path
