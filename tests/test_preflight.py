"""What the preflight warns of before anything moves."""

from __future__ import annotations

from datetime import date
from typing import Any

from kpcluigi.markers import OracleColumn
from kpcluigi.oracle import Source, Window
from kpcluigi.oracle.source import source_of
from kpcluigi.preflight import Findings, _check_types
from kpcluigi.tables import parse_tables


def source(column: dict[str, Any], **declared: Any) -> Source:
    """A table with an id, a date, and one column more."""
    section = {
        "phase": 1,
        "object": "T__c",
        "external_id": "Ext__c",
        "key": ["ID"],
        "partition_column": "DAY",
        "columns": {
            "ID": {"field": "Ext__c", "type": "text"},
            "DAY": {"field": "Day__c", "type": "date"},
            "C": {"field": "C__c", **column},
        },
    }
    plain = {"precision": None, "scale": None, "nullable": True}
    described = [
        OracleColumn(name="ID", type="DB_TYPE_VARCHAR", **plain),
        OracleColumn(name="DAY", type="DB_TYPE_DATE", **plain),
        OracleColumn(name="C", **{**plain, **declared}),
    ]
    table = parse_tables({"tables": {"T": section}})["T"]
    window = Window(date(2024, 1, 1), date(2024, 1, 31))
    return source_of(described, owner="TMS", table=table, window=window)


def warnings(of: Source) -> list[str]:
    findings = Findings()
    _check_types([of], findings)
    return findings.warnings


def test_a_flag_that_may_be_null_is_pointed_out() -> None:
    (warning,) = warnings(source({"type": "boolean"}, type="DB_TYPE_CHAR"))
    assert "TMS.T.C may be NULL" in warning
    assert warnings(source({"type": "boolean"}, type="DB_TYPE_CHAR", nullable=False)) == []
    assert warnings(source({"type": "boolean", "null_as": "false"}, type="DB_TYPE_CHAR")) == []


def test_a_number_longer_than_its_field_keeps_is_pointed_out() -> None:
    number = {"type": "DB_TYPE_NUMBER", "precision": 18, "scale": 4}
    (warning,) = warnings(source({"type": "decimal"}, **number))
    assert "TMS.T.C may hold 18 digits, a number field keeps 15" in warning
    assert warnings(source({"type": "text"}, **number)) == []
