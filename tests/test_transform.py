"""Oracle's values become CSV text: read from fixtures/transform.txt, one case a line."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kpcluigi import fields, transform
from kpcluigi.errors import OracleError
from kpcluigi.tables import Column, Table, parse_tables

CASES = [
    line
    for line in (Path(__file__).parent / "fixtures/transform.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]


def table(mapping: dict[str, Any]) -> Table:
    document = {
        "tables": {
            "T": {
                "phase": 1,
                "object": "T__c",
                "external_id": "Ext__c",
                "key": ["K"],
                "partition_column": "D",
                "source_zone": "Asia/Bangkok",
                "columns": {"K": {"field": "Ext__c", "type": "text"}, "V": mapping},
            }
        }
    }
    return parse_tables(document)["T"]


def mapping_of(text: str) -> dict[str, Any]:
    kind, *options = text.split()
    mapping: dict[str, Any] = {"field": "V__c", "type": kind}
    for option in options:
        name, _, value = option.partition("=")
        mapping[name] = int(value) if value.isdigit() else value or True
    return mapping


def oracle_value(kind: str, text: str) -> tuple[pl.DataType | type[pl.DataType], Any]:
    """The value as it comes from `oracle.read_chunk` for a column of this type."""
    value: Any = None if text == "NULL" else text
    if kind.startswith("NUMBER("):
        precision, scale = (int(part) for part in kind[7:-1].split(","))
        if 0 <= scale <= precision:
            return pl.Decimal(precision, scale), None if value is None else Decimal(value)
    if kind.startswith(("DATE", "TIMESTAMP")):
        unit: Any = "ms" if kind == "DATE" else "us"
        return pl.Datetime(unit), None if value is None else datetime.fromisoformat(value)
    if kind in ("RAW", "BLOB"):
        return pl.Binary, None if value is None else bytes.fromhex(value)
    return pl.String, value


@pytest.mark.parametrize("case", CASES)
def test_value_becomes_text(case: str) -> None:
    unescaped = case.replace("\\n", "\n").replace("\\r", "\r")
    mapping_text, kind, value_text, expected, fit = _cells(unescaped)
    mapped = table(mapping_of(mapping_text))
    dtype, value = oracle_value(kind, value_text)
    frame = pl.DataFrame({"K": ["key-1"], "V": [value]}, schema={"K": pl.String, "V": dtype})
    ledger = transform.FitLedger()
    in_utc = {"V"} if kind == "TIMESTAMP WITH TIME ZONE" else set()

    if expected.startswith("!"):
        with pytest.raises(OracleError) as refused:
            transform.convert(mapped, frame, in_utc=in_utc, ledger=ledger)
        assert expected[1:] in str(refused.value)
        return

    converted = transform.convert(mapped, frame, in_utc=in_utc, ledger=ledger)
    if expected.startswith("REJECTED:"):
        assert converted.rows.height == 0
        assert ledger == transform.FitLedger(rejected_for={f"{expected}:V__c --": 1})
        assert converted.rejected is not None
        assert transform.to_csv(converted.rejected).decode().endswith(f",key-1,{fit}\n")
        return

    assert converted.rejected is None
    assert transform.to_csv(converted.rows).decode() == f"key-1,{expected}\n"
    changed = ledger.columns.get("V")
    found = {} if changed is None else changed.model_dump(exclude_defaults=True)
    assert found == ({fit: 1, "sample_keys": ["key-1"]} if fit else {})


def _cells(line: str) -> list[str]:
    """Cells keep their blanks but one on either side, which only separates them from the bars."""
    cells = [cell[1:] if cell.startswith(" ") else cell for cell in line.split("|")]
    return [cell.removesuffix(" ") for cell in cells]


def converted(
    mapped: Table, frame: pl.DataFrame
) -> tuple[transform.Converted, transform.FitLedger]:
    ledger = transform.FitLedger()
    return transform.convert(mapped, frame, in_utc=set(), ledger=ledger), ledger


def with_key(**mapping: Any) -> Table:
    mapped = table({"field": "V__c", "type": "text"})
    key = Column(field="Ext__c", **mapping)
    return mapped.model_copy(update={"columns": {**mapped.columns, "K": key}})


def test_rows_without_a_usable_external_id_are_named() -> None:
    keys = ["a", None, " ", "abc", "abcd", "#N/A", ""]
    frame = pl.DataFrame({"K": keys, "V": list("1234567")})
    result, ledger = converted(with_key(type="text", length=3), frame)
    assert result.rows["Ext__c"].to_list() == ["a", "abc"]
    assert result.rejected is not None
    no_id, long_id = fields.NO_ID, fields.LONG_ID
    assert result.rejected.rows() == [
        (no_id, None, "2"),
        (no_id, " ", "3"),
        (long_id, "abcd", "5"),
        (no_id, "#N/A", "6"),
        (no_id, None, "7"),
    ]
    assert ledger.rejected_for == {no_id: 4, long_id: 1}


def test_an_external_id_is_neither_rounded_nor_repaired() -> None:
    frame = pl.DataFrame(
        {"K": ["1.5", "2", "3"], "V": ["a", "b", "c"], "invalid_utf8 K": [False, False, True]}
    )
    result, ledger = converted(with_key(type="decimal", scale=0), frame)
    assert transform.to_csv(result.rows) == b"2,b\n"
    assert ledger.rejected_for == {
        "REJECTED:K has more than 0 places behind the point:Ext__c --": 1,
        "REJECTED:K holds bytes that are no UTF-8:Ext__c --": 1,
    }
    assert ledger.columns == {}


def test_an_external_id_that_reads_as_null_is_no_external_id() -> None:
    result, _ = converted(with_key(type="text"), pl.DataFrame({"K": ["#N/A"], "V": ["a"]}))
    assert result.rejected is not None
    assert result.rejected.rows() == [(fields.NO_ID, "#N/A", "a")]


def test_the_first_reason_in_the_order_of_the_columns_is_the_row_s() -> None:
    mapped = table({"field": "V__c", "type": "date"})
    more = {
        "W": Column(field="W__c", type="boolean"),
        "X": Column(field="X__c", type="text", length=2, on_overflow="reject"),
        "Y": Column(field="Y__c", type="decimal", scale=1),
    }
    mapped = mapped.model_copy(update={"columns": {**mapped.columns, **more}})
    frame = pl.DataFrame(
        {
            "K": ["a", "b", "c", "d"],
            "V": [datetime(9999, 12, 31), datetime(2024, 1, 1), datetime(2024, 1, 1), None],
            "W": [None, None, "1", "n"],
            "X": ["xxx", "xxx", "xxx", "xx"],
            "Y": [Decimal("1.25")] * 4,
        },
        schema_overrides={"Y": pl.Decimal(9, 2)},
    )
    result, ledger = converted(mapped, frame)
    assert transform.to_csv(result.rows) == b"d,#N/A,false,xx,1.3\n"
    assert result.rejected is not None
    assert [row[0].split(" ")[0] for row in result.rejected.rows()] == [
        "REJECTED:V",
        "REJECTED:W",
        "REJECTED:X",
    ]
    assert result.rejected.rows()[0][1:] == ("a", "9999-12-31 00:00:00", None, "xxx", "1.25")
    assert sum(ledger.rejected_for.values()) == 3
    assert ledger.columns["Y"].rounded == 1, "what was rejected was not rounded"


def test_five_keys_at_most_stand_for_all_that_was_changed() -> None:
    mapped = table({"field": "V__c", "type": "text", "length": 2})
    ledger = transform.FitLedger()
    for batch in range(3):
        keys = [f"{batch}-{i}" for i in range(4)]
        frame = pl.DataFrame({"K": keys, "V": ["abc", "ab", "abc", "abc"]})
        transform.convert(mapped, frame, in_utc=set(), ledger=ledger)
    fitted = ledger.columns["V"]
    assert (fitted.truncated, fitted.sample_keys) == (9, ["0-0", "0-2", "0-3", "1-0", "1-2"])


def test_an_unreadable_value_is_named_among_rejected_and_null_ones() -> None:
    mapped = table({"field": "V__c", "type": "boolean", "null_as": "false"})
    frame = pl.DataFrame({"K": [None, "a", "b", "c"], "V": ["maybe", "y", None, "x "]})
    with pytest.raises(OracleError, match=r"row c holds 'x ' \(1 such"):
        converted(mapped, frame)


def test_a_rejected_row_shows_what_could_not_be_read() -> None:
    mapped = table({"field": "V__c", "type": "boolean"})
    result, _ = converted(mapped, pl.DataFrame({"K": [None, "a"], "V": ["maybe", "y"]}))
    assert result.rejected is not None
    assert result.rejected.rows() == [(fields.NO_ID, None, "MAYBE")]


def test_replaced_bytes_are_counted_or_cost_the_row() -> None:
    frame = pl.DataFrame({"K": ["a", "b"], "V": ["x\ufffd", "y"], "invalid_utf8 V": [True, False]})
    result, ledger = converted(table({"field": "V__c", "type": "text"}), frame)
    assert transform.to_csv(result.rows).decode() == "a,x\ufffd\nb,y\n"
    assert ledger.columns["V"].model_dump(exclude_defaults=True) == {
        "invalid_utf8": 1,
        "sample_keys": ["a"],
    }
    strict = table({"field": "V__c", "type": "text", "on_overflow": "reject"})
    result, ledger = converted(strict, frame)
    assert transform.to_csv(result.rows) == b"b,y\n"
    assert ledger.rejected_for == {"REJECTED:V holds bytes that are no UTF-8:V__c --": 1}


def test_a_parent_key_loses_its_padding_and_its_emptiness() -> None:
    mapped = table({"field": "V__c", "type": "text"}).model_copy(
        update={"lookups": {"P": "Parent__r.Code__c", "N": "Other__r.Number__c"}}
    )
    frame = pl.DataFrame(
        {
            "K": ["a", "b", "c"],
            "V": ["1", "2", "3"],
            "P": ["T1   ", "   ", None],
            "N": [Decimal("7.00"), Decimal("7.50"), None],
        },
        schema_overrides={"N": pl.Decimal(9, 2)},
    )
    result, _ = converted(mapped, frame)
    assert result.rows["Parent__r.Code__c"].to_list() == ["T1", None, None]
    assert result.rows["Other__r.Number__c"].to_list() == ["7", "7.5", None]
    assert transform.header(mapped) == b"Ext__c,V__c,Parent__r.Code__c,Other__r.Number__c\n"


def test_frames_with_and_without_odd_values_can_be_joined() -> None:
    mappings: list[tuple[dict[str, Any], pl.DataType, list[Any]]] = [
        ({"type": "text", "length": 2}, pl.String(), ["a", "abc", "", "a\r\nb"]),
        ({"type": "text"}, pl.Decimal(9, 2), [Decimal("1"), Decimal("1.5")]),
        ({"type": "decimal", "scale": 2}, pl.String(), ["1", "1.005", ".5", " "]),
        ({"type": "decimal", "scale": 0}, pl.Decimal(9, 2), [Decimal("1"), Decimal("1.5")]),
        ({"type": "decimal", "scale": 3}, pl.Decimal(9, 2), [Decimal("1"), None]),
        ({"type": "decimal"}, pl.String(), ["1", "1e5"]),
        ({"type": "date", "out_of_range": "blank"}, pl.Datetime("ms"),
         [datetime(2024, 1, 1), datetime(1, 1, 1)]),
        ({"type": "datetime", "out_of_range": "blank"}, pl.Datetime("us"),
         [datetime(2024, 1, 1), datetime(1950, 1, 1), datetime(9999, 12, 31)]),
        ({"type": "datetime"}, pl.Datetime("ms"), [datetime(2024, 1, 1), datetime(1950, 1, 1)]),
        ({"type": "boolean", "null_as": "false"}, pl.String(), ["y", None]),
    ]  # fmt: skip
    for mapping, kind, values in mappings:
        mapped = table({"field": "V__c", **mapping})
        frames = [
            converted(mapped, pl.DataFrame({"K": ["k"], "V": pl.Series([v], dtype=kind)}))[0].rows
            for v in values
        ]
        assert pl.concat(frames).height == len(values), mapping


def convert_texts(texts: dict[str, list[str]], **columns: dict[str, Any]) -> transform.Converted:
    mapped = {"K": {"field": "Ext__c", "type": "text"}, **columns}
    wide = table({"field": "V__c", "type": "text"}).model_copy(
        update={"columns": {name: Column.model_validate(column) for name, column in mapped.items()}}
    )
    ledger = transform.FitLedger()
    return transform.convert(wide, pl.DataFrame(texts), in_utc=(), ledger=ledger)


def test_a_text_that_no_field_takes_is_rejected_by_name() -> None:
    found = convert_texts(
        {"K": ["1", "2"], "V": ["é" * 131_072, "é" * 131_073]},
        V={"field": "V__c", "type": "text"},
    )
    assert found.rows["Ext__c"].to_list() == ["1"]
    assert found.rejected is not None
    assert found.rejected.row(0)[:2] == (
        "REJECTED:V is longer than the 131072 characters of any field:V__c --",
        "2",
    )
    assert len(found.rejected["V__c"][0]) == 131_073, "uncut"


def test_a_record_that_salesforce_does_not_take_is_rejected_by_name() -> None:
    columns = {f"V{i}": {"field": f"V{i}__c", "type": "text"} for i in range(4)}
    texts = {f"V{i}": ["x" * 100_000, "x" * 100_000, "x"] for i in range(4)}
    texts["V3"][0] = "x" * 99_000
    found = convert_texts({"K": ["1", "2", "3"], **texts}, **columns)
    assert found.rows["Ext__c"].to_list() == ["1", "3"]
    assert found.rejected is not None
    assert found.rejected["sf__Error"].to_list() == [transform.LONG_RECORD]
