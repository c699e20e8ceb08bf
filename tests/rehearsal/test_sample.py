"""The sample data: counts, parents, edges, awkward values, and the org that it is moved to."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from kpcluigi.errors import ConfigurationError
from kpcluigi.rehearsal.salesforce.schema import Field, load_objects
from kpcluigi.rehearsal.sample import names
from kpcluigi.rehearsal.sample.data import window_counts, write_oracle
from kpcluigi.rehearsal.sample.org import org_objects, write_org
from kpcluigi.rehearsal.sample.rows import OUTSIDE
from kpcluigi.rehearsal.sample.schema import OWNER, TABLES
from kpcluigi.tables import Table, load_tables, parse_tables

ROWS = 5_000
IN_WINDOW = "CREATED_DATE >= TIMESTAMP '2022-01-01' AND CREATED_DATE < TIMESTAMP '2025-01-01'"
ROUNDED = ("KPS_T_PREINV_REVSALES_M", "AVERAGE_TICKET")
"""The one column with more places than its field."""

MAPPING = load_tables(Path(__file__).parents[2] / "tables.toml")
MAPPED = [(table, column) for table, t in MAPPING.items() for column in t.columns]
LOOKUPS = [(table, column) for table, t in MAPPING.items() for column in t.lookups]
SAME_PHASE = [("KPS_T_SALES_APPRV_DETAIL", "APPRV_ID", "KPS_T_SALES_APPRV", "APPRV_ID")]
UNMAPPED = [("KPS_T_SALES_MD", "SALES_M_ID", "KPS_T_SALES_M", "SALES_M_ID")]


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    path = tmp_path_factory.mktemp("sample") / "oracle.duckdb"
    assert write_oracle(path, ROWS) == window_counts(ROWS)
    with duckdb.connect(path, read_only=True) as con:
        yield con


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    path = tmp_path_factory.mktemp("sample") / "org.duckdb"
    write_org(path, MAPPING)
    with duckdb.connect(path) as con:
        yield con


def _one(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[object, ...]:
    row = con.execute(sql).fetchone()
    assert row is not None
    return tuple(row)


def _number(con: duckdb.DuckDBPyConnection, sql: str) -> int:
    value = _one(con, sql)[0]
    assert isinstance(value, int)
    return value


def _name(table: str) -> str:
    return f'"{OWNER}"."{table}"'


@pytest.mark.parametrize("rows", [1_000, 5_000, 123_457, 160_000, 20_000_000])
def test_the_tables_have_exactly_as_many_rows_as_asked_for(rows: int) -> None:
    assert sum(window_counts(rows).values()) == rows


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1,000 rows"):
        window_counts(999)


@pytest.mark.parametrize("rows", [150_000, 160_000, 170_000])
def test_a_usual_rehearsal_has_three_tables_of_five_chunks(rows: int) -> None:
    assert sum(count > 40_000 for count in window_counts(rows).values()) >= 3


@pytest.mark.parametrize("table", TABLES)
def test_the_window_holds_the_rows_that_were_promised(
    oracle: duckdb.DuckDBPyConnection, table: str
) -> None:
    promised = window_counts(ROWS)[table]
    assert _number(oracle, f"SELECT count(*) FROM {_name(table)} WHERE {IN_WINDOW}") == promised
    assert _number(oracle, f"SELECT count(*) FROM {_name(table)}") == promised + 2 * OUTSIDE


@pytest.mark.parametrize("table", TABLES)
def test_rows_lie_on_both_edges_of_the_window_and_beside_them(
    oracle: duckdb.DuckDBPyConnection, table: str
) -> None:
    edges = "'2021-12-31 23:59:59', '2022-01-01 00:00:00', '2024-12-31 23:59:59', '2025-01-01'"
    seconds = "date_trunc('second', CREATED_DATE)"
    found = f"SELECT count(DISTINCT {seconds}) FROM {_name(table)} WHERE {seconds} IN ({edges})"
    assert _number(oracle, found) == 4


def test_the_last_microsecond_of_the_window_is_in_it(oracle: duckdb.DuckDBPyConnection) -> None:
    last = f"SELECT max(CREATED_DATE)::VARCHAR FROM {_name('KPS_WEB_SALES')} WHERE {IN_WINDOW}"
    assert _one(oracle, last) == ("2024-12-31 23:59:59.999999",)


def test_the_leap_day_has_sales(oracle: duckdb.DuckDBPyConnection) -> None:
    leap = "CREATED_DATE >= '2024-02-29' AND CREATED_DATE < '2024-03-01'"
    for table in ("KPS_T_SALES_M", "KPS_T_SALES_MD", "KPS_T_SALESPAY_MD"):
        assert _number(oracle, f"SELECT count(*) FROM {_name(table)} WHERE {leap}")


@pytest.mark.parametrize("table", TABLES)
def test_keys_and_external_ids_are_unique(oracle: duckdb.DuckDBPyConnection, table: str) -> None:
    mapped = MAPPING[table]
    for columns in (mapped.key, (mapped.external_id_column,), TABLES[table].primary_key):
        distinct = f"count(DISTINCT ({', '.join(columns)}))"
        assert _one(oracle, f"SELECT {distinct} = count(*) FROM {_name(table)}") == (True,)


@pytest.mark.parametrize("table", ["KPS_T_SALES_M", "KPS_T_SALES_MD", "KPS_T_SALESPAY_MD"])
def test_large_tables_have_gaps_and_strangers_among_their_keys(
    oracle: duckdb.DuckDBPyConnection, table: str
) -> None:
    (key,) = MAPPING[table].key
    gaps = f"SELECT max({key}) - min({key}) > 3 * count(*) FROM {_name(table)} WHERE {IN_WINDOW}"
    assert _one(oracle, gaps) == (True,)
    assert _one(oracle, f"SELECT min({key}) > 9007199254740993 FROM {_name(table)}") == (True,)
    early = f"SELECT count(*) FROM {_name(table)} WHERE CREATED_DATE < TIMESTAMP '2022-01-01'"
    least = f"(SELECT min({key}) FROM {_name(table)} WHERE {IN_WINDOW})"
    assert _number(oracle, f"{early} AND {key} > {least}") == OUTSIDE


@pytest.mark.parametrize(("table", "column"), LOOKUPS)
def test_every_lookup_finds_its_parent(
    oracle: duckdb.DuckDBPyConnection, table: str, column: str
) -> None:
    relationship, field = MAPPING[table].lookups[column].split(".")
    if field == "Tenant_Code__c":
        known = ", ".join(f"'{code}'" for code, _ in names.tenants())
    elif field == "Store_Code__c":
        known = ", ".join(f"'{code}'" for code, _, _ in names.stores())
    else:
        wanted = f"KPS_{relationship.removesuffix('__r')}__c"
        parent = next(t for t in MAPPING.values() if t.object == wanted)
        assert parent.phase < MAPPING[table].phase
        known = f"SELECT {parent.external_id_column} FROM {_name(parent.name)} WHERE {IN_WINDOW}"
    orphans = (
        f"SELECT count(*) FROM {_name(table)} WHERE {IN_WINDOW} "
        f"AND {column} IS NOT NULL AND {column} NOT IN ({known})"
    )
    assert _number(oracle, orphans) == 0


@pytest.mark.parametrize(("table", "column", "parent", "key"), SAME_PHASE + UNMAPPED)
def test_what_is_no_lookup_has_its_parent_too(
    oracle: duckdb.DuckDBPyConnection, table: str, column: str, parent: str, key: str
) -> None:
    known = f"SELECT {key} FROM {_name(parent)} WHERE {IN_WINDOW}"
    orphans = f"SELECT count(*) FROM {_name(table)} WHERE {IN_WINDOW} AND {column} NOT IN ({known})"
    assert _number(oracle, orphans) == 0


def test_amounts_add_up(oracle: duckdb.DuckDBPyConnection) -> None:
    lines, receipts, payments = map(_name, ("KPS_T_SALES_MD", "KPS_T_SALES_M", "KPS_T_SALESPAY_MD"))
    wrong = "NET_AMOUNT <> SALES_AMOUNT - DISCOUNT_AMOUNT + TAX_AMOUNT"
    assert _number(oracle, f"SELECT count(*) FROM {lines} WHERE {wrong}") == 0
    for children, amount in ((lines, "NET_AMOUNT"), (payments, "PAID_AMOUNT")):
        assert _number(
            oracle,
            f"SELECT count(*) FROM {receipts} r LEFT JOIN (SELECT SALES_M_ID, sum({amount}) AS s "
            f"FROM {children} GROUP BY 1) c USING (SALES_M_ID) "
            "WHERE r.NET_AMOUNT IS DISTINCT FROM c.s",
        ) == 0  # fmt: skip
    for test in ("< 0", "= 0", "> 10000"):
        assert _number(oracle, f"SELECT count(*) FROM {lines} WHERE SALES_AMOUNT {test}")


@pytest.mark.parametrize(("table", "column"), MAPPED)
def test_a_mapped_column_exists_with_a_type_that_fits(table: str, column: str) -> None:
    mapped = MAPPING[table].columns[column]
    (described,) = [c for c in TABLES[table].columns if c.name == column]
    kind, *sizes = re.findall(r"\w+", described.type)
    match mapped.type:
        case "text":
            assert kind in ("VARCHAR2", "CHAR", "NUMBER", "CLOB")
            assert mapped.trim == (kind == "CHAR")
            if kind != "CLOB":
                assert int(sizes[0]) <= (mapped.length or 0)
        case "decimal":
            assert kind == "NUMBER"
            places = int(sizes[1]) if len(sizes) > 1 else 0
            assert (places > (mapped.scale or 0)) == ((table, column) == ROUNDED)
        case "boolean":
            assert (kind, sizes) in (("CHAR", ["1"]), ("NUMBER", ["1"]))
            assert not described.nullable
        case "date":
            assert kind == "DATE"
        case "datetime":
            assert kind in ("DATE", "TIMESTAMP")


@pytest.mark.parametrize("table", TABLES)
def test_every_value_fits_its_field(oracle: duckdb.DuckDBPyConnection, table: str) -> None:
    for column in TABLES[table].columns:
        mapped = MAPPING[table].columns.get(column.name)
        sql = f"SELECT DISTINCT CAST({column.name} AS VARCHAR) FROM {_name(table)}"
        texts = [
            row[0] for row in oracle.execute(f"{sql} WHERE {column.name} IS NOT NULL").fetchall()
        ]
        if mapped is not None and mapped.length is not None:
            # Counted in UTF-16, where an emoji takes two: the strictest way a field can count.
            assert all(len(text.encode("utf-16-le")) // 2 <= mapped.length for text in texts)
        if column.type.startswith("CHAR("):
            assert {len(text) for text in texts} == {int(column.type[5:-1])}


def test_only_the_documented_column_is_rounded(oracle: duckdb.DuckDBPyConnection) -> None:
    table, column = ROUNDED
    places = f"SELECT count(*) FROM {_name(table)} WHERE {column} <> round({column}, 2)"
    assert 0 < _number(oracle, places) < _number(oracle, f"SELECT count(*) FROM {_name(table)}") / 4
    assert _number(oracle, f"{places} AND {column} * 1000 % 10 = 5 AND {column} > 0")


def test_texts_hold_what_breaks_a_careless_csv(oracle: duckdb.DuckDBPyConnection) -> None:
    for table, column in (
        ("KPS_T_PREINV", "REMARK"),
        ("KPS_T_SALES_APPRV", "REMARK"),
        ("KPS_WEB_SALES", "DELIVERY_NOTE"),
    ):
        sql = f"SELECT DISTINCT {column} FROM {_name(table)}"
        found = {row[0] for row in oracle.execute(sql).fetchall()}
        assert found >= {None, *names.REMARKS}
    sql = f"SELECT DISTINCT SLIP_NO FROM {_name('KPS_T_SALESBANK_MD')}"
    assert {row[0] for row in oracle.execute(sql).fetchall()} >= set(names.SLIPS)


def test_the_largest_values_are_there(oracle: duckdb.DuckDBPyConnection) -> None:
    payments, approvals = _name("KPS_T_SALESPAY_MD"), _name("KPS_T_SALES_APPRV")
    assert _number(
        oracle, f"SELECT count(*) FROM {payments} WHERE length(GATEWAY_REF::VARCHAR) = 38"
    )
    assert _number(oracle, f"SELECT max(length(REMARK)) FROM {approvals}") > 19_000
    assert _number(
        oracle, f"SELECT max(length(REASON)) FROM {_name('KPS_T_SALES_APPRV_DETAIL')}"
    ) == 255  # fmt: skip


def test_nothing_reads_as_null_in_a_csv(oracle: duckdb.DuckDBPyConnection) -> None:
    for table, column in MAPPED:
        if MAPPING[table].columns[column].type == "text":
            text = f"trim(CAST({column} AS VARCHAR))"
            assert not _number(oracle, f"SELECT count(*) FROM {_name(table)} WHERE {text} = '#N/A'")


def _fingerprints(path: Path) -> dict[str, tuple[object, ...]]:
    """Rows in their stored order, as one digest per table."""
    with duckdb.connect(path, read_only=True) as con:
        return {
            name: _one(
                con, f"SELECT md5(string_agg(t::VARCHAR, '|' ORDER BY rowid)) FROM {_name(name)} t"
            )
            for name in TABLES
        }


def test_the_same_seed_gives_the_same_rows_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_oracle(tmp_path / name, 2_000, seed=seed)
    first, same, other = (_fingerprints(tmp_path / name) for name in "abc")
    assert first == same
    assert all(first[table] != other[table] for table in TABLES)


def test_an_existing_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "there"
    path.touch()
    with pytest.raises(FileExistsError):
        write_oracle(path, ROWS)
    with pytest.raises(FileExistsError):
        write_org(path, MAPPING)


@pytest.mark.parametrize("table", TABLES)
def test_the_org_has_a_field_for_every_mapped_column(
    org: duckdb.DuckDBPyConnection, table: str
) -> None:
    mapping, sobject = MAPPING[table], load_objects(org)[MAPPING[table].object]
    kinds = {
        "text": {"string", "textarea"},
        "decimal": {"double"},
        "boolean": {"boolean"},
        "date": {"date"},
        "datetime": {"datetime"},
    }
    for column in mapping.columns.values():
        field = sobject.field(column.field)
        assert field is not None
        assert field.type in kinds[column.type]
        assert (field.type == "textarea") == ((column.length or 0) > 255)
        assert field.external_id == field.unique == (column.field == mapping.external_id)
        if column.type == "text":
            assert field.length == column.length
        if column.type == "decimal":
            assert (field.precision, field.scale) == (18, column.scale)
    indexed = [field.name for field in sobject.fields if field.indexed]
    assert indexed == [mapping.columns[mapping.partition_column].field]
    for lookup in mapping.lookups.values():
        relationship, external_id = lookup.split(".")
        reference = sobject.lookup(relationship)
        assert reference is not None
        parent = load_objects(org)[reference.reference_to]
        key = parent.field(external_id)
        assert key is not None
        assert key.external_id


def test_accounts_and_stores_are_those_of_the_sales(
    oracle: duckdb.DuckDBPyConnection, org: duckdb.DuckDBPyConnection
) -> None:
    for column, parent, field in (
        ("TENANT_CODE", "Account", "Tenant_Code__c"),
        ("STORE_CODE", "Store__c", "Store_Code__c"),
    ):
        used = (
            f"SELECT DISTINCT {column} FROM {_name('KPS_T_SALES_M')} WHERE {IN_WINDOW} ORDER BY 1"
        )
        known = f'SELECT "{field}" FROM "{parent}" ORDER BY 1'
        assert oracle.execute(used).fetchall() == org.execute(known).fetchall()
    orphans = (
        'SELECT count(*) FROM "Store__c" WHERE "Account__c" NOT IN (SELECT "Id" FROM "Account")'
    )
    assert _number(org, orphans) == 0
    pairs = f"SELECT DISTINCT STORE_CODE, TENANT_CODE FROM {_name('KPS_T_SALES_MD')} ORDER BY 1"
    owned = (
        'SELECT "Store_Code__c", "Tenant_Code__c" FROM "Store__c" s '
        'JOIN "Account" a ON s."Account__c" = a."Id" ORDER BY 1'
    )
    assert set(oracle.execute(pairs).fetchall()) <= set(org.execute(owned).fetchall())


def _mapping(lookup: str, *, key_type: str = "text") -> dict[str, Table]:
    columns = {
        "ID": {"field": "External_ID__c", "type": key_type},
        "CREATED_DATE": {"field": "Created__c", "type": "datetime"},
    }
    section = {
        "external_id": "External_ID__c", "key": ["ID"], "partition_column": "CREATED_DATE",
        "columns": columns,
    }  # fmt: skip
    return parse_tables(
        {
            "tables": {
                "WEB": {**section, "phase": 1, "object": "KPS_Web_Sales__c"},
                "SALES": {**section, "phase": 2, "object": "KPS_Sales__c"},
                "LINE": {**section, "phase": 3, "object": "Line__c", "lookups": {"PARENT": lookup}},
            }
        }
    )


@pytest.mark.parametrize(
    ("lookup", "field", "parent"),
    [
        ("Sales__r.External_ID__c", "Sales__c", "KPS_Sales__c"),
        ("KPS_Sales__r.External_ID__c", "KPS_Sales__c", "KPS_Sales__c"),
        ("Web_Sales__r.External_ID__c", "Web_Sales__c", "KPS_Web_Sales__c"),
        ("Account__r.Tenant_Code__c", "Account__c", "Account"),
        ("Account.Tenant_Code__c", "AccountId", "Account"),
    ],
)
def test_a_lookup_leads_to_the_object_it_is_named_after(
    lookup: str, field: str, parent: str
) -> None:
    reference = org_objects(_mapping(lookup))[-1].fields[-1]
    relationship = lookup.split(".")[0]
    expected = Field(field, "reference", 18, reference_to=parent, relationship=relationship)
    assert reference == expected


def test_a_lookup_without_a_parent_is_a_mistake_in_the_mapping() -> None:
    with pytest.raises(
        ConfigurationError, match=r"LINE: lookups.PARENT: no object for Contract__r"
    ):
        org_objects(_mapping("Contract__r.Contract_Number__c"))


def test_a_numeric_external_id_and_open_lengths_can_be_made() -> None:
    web = org_objects(_mapping("Sales__r.External_ID__c", key_type="decimal"))[2]
    assert web.fields[0] == replace(
        Field("External_ID__c", "double"), precision=18, scale=6, external_id=True, unique=True
    )


def test_importing_the_package_is_light() -> None:
    code = "import sys, kpcluigi.rehearsal.sample; sys.exit('duckdb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_org_has_the_file_tracker_and_the_setting(org: duckdb.DuckDBPyConnection) -> None:
    tracker = load_objects(org)["TMS_Daily_Sales_File__c"]
    key = tracker.field("TMS_External_File_Ref__c")
    assert key == Field("TMS_External_File_Ref__c", "string", 255, external_id=True, unique=True)
    status = tracker.field("TMS_Status__c")
    assert status is not None
    assert status.values.split("|")[:2] == ["Pending", "Uploading"]
    setting = load_objects(org)["KPC_Automation__c"]
    assert setting.custom_setting
    assert setting.field("Bypass_All__c") == Field("Bypass_All__c", "boolean")
