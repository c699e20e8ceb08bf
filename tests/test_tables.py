"""tables.toml: the project's own file, and how mistakes in such a file are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kpcluigi.errors import ConfigurationError
from kpcluigi.tables import Table, load_tables, parse_tables

TABLES_TOML = Path(__file__).parents[1] / "tables.toml"

PHASES = {
    1: {"KPS_R_EMAIL_SUPPLIER", "KPS_R_EMAIL_TENANT", "KPS_R_POS_SUPPLIER"},
    2: {"KPS_T_PREINV", "KPS_T_PREINV_MIN", "KPS_T_PREINV_REVGUA"},
    3: {"KPS_T_PREINV_DETAIL", "KPS_T_PREINV_REVSALES_D", "KPS_T_PREINV_REVSALES_M"},
    4: {"KPS_T_SALES_M"},
    5: {"KPS_T_SALES_MD"},
    6: {"KPS_T_SALESPAY_MD"},
    7: {"KPS_T_SALES_APPRV", "KPS_T_SALES_APPRV_DETAIL", "KPS_T_SALESBANK_MD", "KPS_WEB_SALES"},
}
LARGE = {
    "KPS_T_SALES_M": "SALES_M_ID",
    "KPS_T_SALES_MD": "SALES_ID",
    "KPS_T_SALESPAY_MD": "SALESPAY_ID",
}


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    return load_tables(TABLES_TOML)


def test_the_sixteen_tables_stand_in_the_order_of_their_phases(tables: dict[str, Table]) -> None:
    assert len(tables) == 16
    found: dict[int, set[str]] = {}
    for table in tables.values():
        found.setdefault(table.phase, set()).add(table.name)
    assert found == PHASES
    assert list(found) == sorted(found)


@pytest.mark.parametrize("name", LARGE)
def test_a_large_table_has_its_chunks_fetch_size_and_hint(
    tables: dict[str, Table], name: str
) -> None:
    table = tables[name]
    assert table.key == (LARGE[name],)
    assert (table.chunk_size, table.fetch_size, table.parallel_degree) == (500_000, 50_000, 8)


def test_every_other_table_takes_the_defaults(tables: dict[str, Table]) -> None:
    for table in tables.values():
        if table.name not in LARGE:
            sizes = (table.chunk_size, table.fetch_size, table.parallel_degree)
            assert sizes == (1_000_000, 10_000, 0), table.name


def test_every_window_is_of_created_date_in_bangkok(tables: dict[str, Table]) -> None:
    for table in tables.values():
        assert table.partition_column == "CREATED_DATE"
        assert table.columns[table.partition_column].field == "Oracle_Created_Date__c"
        created = table.columns["CREATED_DATE"]
        assert created.type == "datetime"
        assert table.zone_of(created).key == "Asia/Bangkok"


def test_the_sales_lines_map_as_agreed(tables: dict[str, Table]) -> None:
    table = tables["KPS_T_SALES_MD"]
    assert (table.object, table.external_id) == ("KPS_Sales__c", "External_ID__c")
    assert {name: (c.field, c.type, c.scale) for name, c in table.columns.items()} == {
        "SALES_ID": ("External_ID__c", "text", None),
        "TENANT_CODE": ("Tenant_Code__c", "text", None),
        "STORE_CODE": ("Store_Code__c", "text", None),
        "SALES_DATE": ("Sales_Date__c", "datetime", None),
        "SALES_AMOUNT": ("Sales_Amount__c", "decimal", 2),
        "TAX_AMOUNT": ("Tax_Amount__c", "decimal", 2),
        "DISCOUNT_AMOUNT": ("Discount_Amount__c", "decimal", 2),
        "NET_AMOUNT": ("Net_Amount__c", "decimal", 2),
        "PAYMENT_TYPE": ("Payment_Type__c", "text", None),
        "CREATED_DATE": ("Oracle_Created_Date__c", "datetime", None),
        "UPDATED_DATE": ("Oracle_Updated_Date__c", "datetime", None),
    }
    assert table.lookups == {
        "TENANT_CODE": "Account__r.Tenant_Code__c",
        "STORE_CODE": "Store__r.Store_Code__c",
    }


def test_every_guessed_table_is_marked_for_completion() -> None:
    lines = TABLES_TOML.read_text(encoding="utf-8").splitlines()
    for phase in PHASES.values():
        for name in phase - {"KPS_T_SALES_MD"}:
            header = lines.index(f"[tables.{name}]")
            above = " ".join(line for line in lines[header - 2 : header] if line.startswith("#"))
            assert above.startswith("# to be completed: "), name
            assert name in above


def _table(**changes: Any) -> dict[str, Any]:
    """A small valid section, with changes."""
    section: dict[str, Any] = {
        "phase": 1,
        "object": "Thing__c",
        "external_id": "Key__c",
        "key": ["ID"],
        "partition_column": "CREATED_DATE",
        "columns": {
            "ID": {"field": "Key__c", "type": "text", "length": 20},
            "AMOUNT": {"field": "Amount__c", "type": "decimal", "scale": 2},
            "CREATED_DATE": {"field": "Created__c", "type": "datetime"},
        },
    }
    return {**section, **changes}


def _mistakes(document: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse_tables(document)
    head, *lines = str(caught.value).splitlines()
    assert head.startswith(f"tables.toml has {len(lines)} mistake")
    return [line.removeprefix("  - ") for line in lines]


def test_six_mistakes_of_one_table_are_all_named() -> None:
    section = _table(
        chunksize=20_000,
        chunk_size=15_000,
        external_id="Missing__c",
        key=["ID", "LINE_NO"],
        columns={
            "ID": {"field": "Name__c", "type": "text"},
            "CODE": {"field": "Name__c", "type": "text"},
            "AMOUNT": {"field": "Amount__c", "type": "number"},
        },
    )
    mistakes = _mistakes({"tables": {"KPS_T": section}})
    assert len(mistakes) == 6
    for expected in (
        "KPS_T: chunksize: unknown key",
        "KPS_T: chunk_size: 15000 is not a multiple of 10,000",
        "KPS_T: columns.AMOUNT.type: unknown type 'number'",
        "KPS_T: columns: ID and CODE both map to Name__c",
        "KPS_T: external_id: no column maps to Missing__c",
        "KPS_T: key: LINE_NO is not among the columns",
    ):
        assert any(mistake.startswith(expected) for mistake in mistakes), expected


def test_mistakes_of_several_tables_and_sections_come_together() -> None:
    document = {
        "default": {},
        "tables": {"A": _table(phase=0), "B": _table(object="Other__c", key=[]), "C": 3},
    }
    assert [mistake.split(":")[0] for mistake in _mistakes(document)] == ["default", "A", "B", "C"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"object": None}, "T: object: "),
        ({"source_zone": "Bangkok"}, "T: source_zone: "),
        ({"lookups": {"ID": "Account__r"}}, "T: lookups.ID: "),
        ({"columns": {}}, "T: columns: "),
        ({"records_per_job": 12_345}, "T: records_per_job: 12345 is not a multiple of 10,000"),
        ({"owner": "TMS; DROP TABLE X"}, "T: owner: "),
        ({"max_failed_rows": -1}, "T: max_failed_rows: "),
        ({"max_failed_rows": "1"}, "T: max_failed_rows: "),
        ({"max_failed_rows": "101%"}, "T: max_failed_rows: "),
        ({"on_missing_parent": "ignore"}, "T: on_missing_parent: "),
        (
            {"lookups": {f"C{i}": f"P{i}__r.{'x' * 300}" for i in range(110)}},
            "T: (table): Value error, columns: the names of its fields make a header of 33,",
        ),
    ],
)
def test_a_mistake_names_table_and_key(changes: dict[str, Any], expected: str) -> None:
    assert any(m.startswith(expected) for m in _mistakes({"tables": {"T": _table(**changes)}}))


@pytest.mark.parametrize(
    ("option", "kind"),
    [({"length": 5}, "decimal"), ({"scale": 0}, "text"), ({"trim": True}, "date"),
     ({"zone": "UTC"}, "date"), ({"on_overflow": "truncate"}, "base64"),
     ({"out_of_range": "blank"}, "text"), ({"null_as": "false"}, "decimal")],
)  # fmt: skip
def test_an_option_of_another_type_is_refused(option: dict[str, Any], kind: str) -> None:
    section = _table()
    section["columns"]["EXTRA"] = {"field": "Extra__c", "type": kind, **option}
    (mistake,) = _mistakes({"tables": {"T": section}})
    assert mistake.startswith("T: columns.EXTRA: ")


def test_two_tables_cannot_share_an_object() -> None:
    (mistake,) = _mistakes({"tables": {"A": _table(), "B": _table(object="THING__C")}})
    assert mistake == "B: object: THING__C is already the object of A"


def test_a_missing_key_is_named() -> None:
    section = _table()
    del section["partition_column"]
    assert _mistakes({"tables": {"T": section}}) == [
        "T: partition_column: missing; expected a value"
    ]


@pytest.mark.parametrize("document", [{}, {"tables": {}}, {"tables": []}])
def test_a_file_without_tables_is_a_mistake(document: dict[str, Any]) -> None:
    assert _mistakes(document) == ["tables: no table; expected at least one section [tables.NAME]"]


def test_defaults_hold_until_a_table_says_otherwise() -> None:
    tables = parse_tables(
        {
            "defaults": {"chunk_size": 20_000, "source_zone": "Asia/Bangkok"},
            "tables": {"B": _table(phase=2, chunk_size=30_000), "A": _table(object="Other__c")},
        }
    )
    assert list(tables) == ["A", "B"]
    assert {name: t.chunk_size for name, t in tables.items()} == {"A": 20_000, "B": 30_000}
    assert {t.source_zone for t in tables.values()} == {"Asia/Bangkok"}


def test_a_missing_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "tables.toml"
    with pytest.raises(ConfigurationError, match=r"is missing: run in the folder") as caught:
        load_tables(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"[tables", b"[tables.T]\nphase = 1\nphase = 2\n", b"\xff\xfe"]
)
def test_what_is_no_toml_is_named_with_its_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tables.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="is not valid TOML") as caught:
        load_tables(path)
    assert str(path) in str(caught.value)


def test_the_fingerprint_follows_the_mapping_and_not_the_pace(tables: dict[str, Table]) -> None:
    table = tables["KPS_T_SALES_MD"]
    faster = table.model_copy(update={"fetch_size": 100, "parallel_degree": 0, "phase": 9})
    other = table.model_copy(update={"source_zone": "UTC"})
    assert faster.fingerprint("2022") == table.fingerprint("2022")
    assert other.fingerprint("2022") != table.fingerprint("2022")
    assert table.fingerprint("2023") != table.fingerprint("2022")


def test_failed_rows_are_allowed_as_a_number_or_a_share() -> None:
    def allowed(value: int | str, rows: int) -> int:
        tables = parse_tables({"tables": {"T": _table(max_failed_rows=value)}})
        return tables["T"].failed_rows_allowed(rows)

    assert allowed(7, 1_000_000) == 7
    assert allowed("0.1%", 1_000_000) == 1_000
    assert allowed("0.1%", 500) == 0
