"""What the driver refuses before the server sees it, the parser refuses by itself."""

from __future__ import annotations

import pytest

from kpcluigi.rehearsal.oracle.errors import OraError
from kpcluigi.rehearsal.oracle.parser import parse


@pytest.mark.parametrize(
    ("sql", "number"),
    [
        ("SELECT 'abc FROM dual", 1756),
        ('SELECT "abc FROM dual', 1740),
        ("SELECT id::VARCHAR2 FROM sale", 923),
        ("SELECT 1 /* FROM dual", 1742),
        ("SELECT a FROM t WHERE a = 1 LIMIT 5", 933),
        ("SELECT a FROM t x y", 933),
        ("INSERT ledger VALUES (1)", 925),
        ("UPDATE ledger id = 1", 971),
        ("SELECT a FROM t FOR UPDATE", 3001),
        ("SELECT LEVEL FROM dual CONNECT BY LEVEL < 3", 3001),
    ],
)
def test_parser_refuses_with_oracles_number(sql: str, number: int) -> None:
    with pytest.raises(OraError) as refused:
        parse(sql)
    assert refused.value.number == number


def test_hints_are_kept() -> None:
    assert parse("SELECT /*+ PARALLEL(t, 4) */ 1 FROM t").hints == ("PARALLEL(t, 4)",)
