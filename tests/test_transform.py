"""Oracle's values become CSV text: read from fixtures/transform.txt, one case a line."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kpcluigi import transform
from kpcluigi.errors import OracleError
from kpcluigi.tables import Table, parse_tables

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
    value: Any = None if text == "NULL" else text
    if kind.startswith("NUMBER("):
        _, scale = kind[7:-1].split(",")
        return pl.Decimal(38, int(scale)), None if value is None else Decimal(value)
    if kind.startswith(("DATE", "TIMESTAMP")):
        return pl.Datetime("us"), None if value is None else datetime.fromisoformat(value)
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

    text = transform.to_csv(transform.convert(mapped, frame, in_utc=in_utc, ledger=ledger))
    assert text.decode() == f"key-1,{expected}\n"
    changed = ledger.columns.get("V")
    found = {} if changed is None else changed.model_dump(exclude_defaults=True)
    assert found == ({fit: 1, "sample_keys": ["key-1"]} if fit else {})


def _cells(line: str) -> list[str]:
    """Cells keep their blanks but one on either side, which only separates them from the bars."""
    cells = [cell[1:] if cell.startswith(" ") else cell for cell in line.split("|")]
    return [cell.removesuffix(" ") for cell in cells]


def test_rows_without_a_usable_external_id_are_named() -> None:
    mapped = table({"field": "V__c", "type": "text"})
    short = mapped.columns["K"].model_copy(update={"length": 3})
    mapped = mapped.model_copy(update={"columns": {**mapped.columns, "K": short}})
    frame = pl.DataFrame({"K": ["a", None, " ", "abc", "abcd"], "V": ["1", "2", "3", "4", "5"]})
    reasons = transform.rejections(mapped, frame).to_list()
    assert reasons == [None, transform.NO_ID, transform.NO_ID, None, transform.LONG_ID]


def test_a_parent_key_loses_its_padding_and_its_emptiness() -> None:
    mapped = table({"field": "V__c", "type": "text"}).model_copy(
        update={"lookups": {"P": "Parent__r.Code__c"}}
    )
    frame = pl.DataFrame({"K": ["a", "b", "c"], "V": ["1", "2", "3"], "P": ["T1   ", "   ", None]})
    result = transform.convert(mapped, frame, in_utc=set(), ledger=transform.FitLedger())
    assert result["Parent__r.Code__c"].to_list() == ["T1", None, None]
    assert transform.header(mapped) == b"Ext__c,V__c,Parent__r.Code__c\n"
