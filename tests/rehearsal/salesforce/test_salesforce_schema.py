"""What a sample database is prepared with: objects, seeded rows, record ids."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace

import duckdb
import pytest

from kpcluigi.rehearsal.salesforce.ids import id_sql, make_id, suffix, to_18
from kpcluigi.rehearsal.salesforce.schema import Field, SObject, create_object, insert_rows
from tests.rehearsal.salesforce.standin_org import SALES


def test_the_suffix_of_ids_seen_in_public() -> None:
    # Ids of the Bulk API bodies recorded by forcedotcom/sf-fx-runtime-nodejs.
    assert suffix("7508Z00000lSXvx") == "QAG"
    assert suffix("0058Z000007lKMA") == "QA2"
    assert to_18("7508Z00000lSXvx") == "7508Z00000lSXvxQAG"
    assert to_18("7508Z00000lSXvxQAH") is None
    assert to_18("7508Z00000") is None


def test_duckdb_makes_the_same_ids() -> None:
    chance = random.Random(1)
    numbers = [0, 1, 61, 62, 62**7 - 1, *(chance.randrange(62**7) for _ in range(500))]
    with duckdb.connect() as con:
        con.execute("CREATE TABLE numbers AS SELECT unnest(?) AS n", [numbers])
        rows = con.execute(f"SELECT n, {id_sql('a01', 'n')} FROM numbers").fetchall()
    assert rows == [(n, make_id("a01", n)) for n in numbers]


def test_seeded_rows_get_ids_and_system_fields() -> None:
    with duckdb.connect() as con:
        create_object(con, SALES)
        select = "SELECT 'x' || i AS External_ID__c, 1.005 AS Net_Amount__c FROM range(3) t(i)"
        assert insert_rows(con, SALES.name, select) == 3
        assert insert_rows(con, SALES.name, "SELECT 'y' AS External_ID__c") == 1
        rows = con.execute(
            "SELECT Id, Name, External_ID__c, Net_Amount__c::DOUBLE, Is_Void__c, "
            "SystemModstamp IS NOT NULL FROM KPS_Sales__c ORDER BY Id"
        ).fetchall()
    ids = [make_id("a01", n) for n in (1, 2, 3, 4)]
    assert [row[:2] for row in rows] == [(i, i) for i in ids]
    assert rows[0][2:] == ("x0", 1.01, False, True)
    assert rows[3][2:] == ("y", None, False, True)


def test_rows_of_unknown_fields_are_refused() -> None:
    with duckdb.connect() as con:
        create_object(con, SALES)
        with pytest.raises(ValueError, match="no field to insert into: Foo__c"):
            insert_rows(con, SALES.name, "SELECT 1 AS Foo__c")
        with pytest.raises(KeyError):
            insert_rows(con, "Foo__c", "SELECT 1 AS External_ID__c")


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        (Field("A__c", "text", length=5), "no such type: text"),
        (Field("A__c", "string"), "a text has a length"),
        (Field("A__c", "double"), "a double has a precision"),
        (Field("A__c", "double", precision=19, scale=2), "precision and scale do not fit 0..18"),
        (Field("A__c", "reference", reference_to="Account"), "names its object"),
        (Field("A__c", "date", external_id=True), "neither external id nor unique"),
        (Field("A__c", "textarea", length=256, indexed=True), "gets a custom index"),
    ],
)
def test_fields_that_no_org_has_are_refused(field: Field, reason: str) -> None:
    with duckdb.connect() as con, pytest.raises(ValueError, match=reason):
        create_object(con, replace(SALES, fields=(field,)))


def test_a_key_prefix_has_three_characters() -> None:
    with duckdb.connect() as con, pytest.raises(ValueError, match="three letters or digits"):
        create_object(con, SObject("A__c", (), "a0"))


def test_importing_the_package_loads_no_server() -> None:
    code = (
        "import sys, kpcluigi.rehearsal.salesforce; "
        "print([m for m in ('duckdb', 'tornado.web') if m in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"
