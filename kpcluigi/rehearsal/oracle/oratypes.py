"""Oracle's column types: their text, what a describe says of them, and how DuckDB stores them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal[
    "NUMBER",
    "VARCHAR2",
    "CHAR",
    "DATE",
    "TIMESTAMP",
    "TSTZ",
    "RAW",
    "CLOB",
    "BLOB",
    "LONG",
    "ROWID",
]

MAX_DECIMAL = 38
"""The most digits of a DuckDB DECIMAL, and of an Oracle NUMBER(p)."""

MAX_FLOAT = 126
"""Binary digits of a FLOAT, which is a NUMBER all the same."""

MAX_VARCHAR2 = 4000
"""Bytes in a VARCHAR2 with MAX_STRING_SIZE=STANDARD, the default of 19c."""


@dataclass(frozen=True)
class OraType:
    """The type of a column or of an expression.

    Attributes:
        precision, scale: of a NUMBER as described; 0 and -127 say "any". Of a TIMESTAMP `scale` is
            the number of fractional digits.
        size: bytes, as described. chars: characters, when the length is counted so.
        fixed: digits and scale of the DuckDB DECIMAL that carries a NUMBER; None says that it is
            carried as canonical text.
    """

    kind: Kind
    precision: int = 0
    scale: int = 0
    size: int = 0
    chars: int = 0
    by_char: bool = False
    fixed: tuple[int, int] | None = None

    @property
    def rounds_elsewhere(self) -> bool:
        """A NUMBER whose declared digits no DECIMAL has: NUMBER(5,-2), NUMBER(2,5), FLOAT."""
        return self.kind == "NUMBER" and self.precision > 0 and self.fixed is None

    @property
    def is_text(self) -> bool:
        return self.kind in ("VARCHAR2", "CHAR", "CLOB", "LONG")

    @property
    def is_time(self) -> bool:
        return self.kind in ("DATE", "TIMESTAMP", "TSTZ")

    @property
    def is_lob(self) -> bool:
        return self.kind in ("CLOB", "BLOB")


def number(fixed: tuple[int, int] | None) -> OraType:
    """A computed NUMBER: described without precision, whatever carries it."""
    return OraType("NUMBER", 0, -127, 22, fixed=fixed)


def varchar2(size: int, chars: int | None = None) -> OraType:
    return OraType("VARCHAR2", size=min(size, MAX_VARCHAR2), chars=chars or min(size, MAX_VARCHAR2))


def char(size: int) -> OraType:
    return OraType("CHAR", size=size, chars=size)


NUMBER = number(None)
DATE = OraType("DATE", size=7)
TIMESTAMP = OraType("TIMESTAMP", scale=6, size=11)
TSTZ = OraType("TSTZ", scale=6, size=13)
CLOB = OraType("CLOB", size=4000)
BLOB = OraType("BLOB", size=4000)
LONG = OraType("LONG")
ROWID = OraType("ROWID", size=10)

_NUMBER = re.compile(r"NUMBER(?:\((\*|\d+)(?:,\s*(-?\d+))?\))?$")
_FLOAT = re.compile(r"FLOAT(?:\((\d+)\))?$")
_TEXT = re.compile(r"(VARCHAR2|CHAR)(?:\((\d+)(?:\s+(CHAR|BYTE))?\))?$")
_TIME = re.compile(r"TIMESTAMP(?:\((\d)\))?( WITH TIME ZONE)?$")
_RAW = re.compile(r"RAW\((\d+)\)$")


def parse_type(text: str) -> OraType:
    """The type that `text`, as in a CREATE TABLE, stands for.

    Raises:
        ValueError: the stand-in has no such type.
    """
    given = " ".join(text.upper().split())
    if given in ("INTEGER", "INT"):
        given = "NUMBER(38)"
    if found := _NUMBER.match(given):
        return _parse_number(found, text)
    if found := _FLOAT.match(given):
        return OraType("NUMBER", int(found[1] or MAX_FLOAT), -127, 22)
    if found := _TEXT.match(given):
        return _parse_text(found, text)
    if found := _TIME.match(given):
        base = TSTZ if found[2] else TIMESTAMP
        return replace(base, scale=6 if found[1] is None else int(found[1]))
    if found := _RAW.match(given):
        return OraType("RAW", size=int(found[1]))
    simple = {"DATE": DATE, "CLOB": CLOB, "BLOB": BLOB, "LONG": LONG}.get(given)
    if simple is None:
        raise ValueError(f"the Oracle stand-in has no column type {text!r}")
    return simple


def _parse_number(found: re.Match[str], text: str) -> OraType:
    if found[1] is None:
        return NUMBER
    precision = MAX_DECIMAL if found[1] == "*" else int(found[1])
    scale = int(found[2] or 0)
    if not 1 <= precision <= MAX_DECIMAL or not -84 <= scale <= 127:
        raise ValueError(f"the Oracle stand-in has no column type {text!r}")
    fixed = (precision, scale) if 0 <= scale <= precision else None
    return OraType("NUMBER", precision, scale, 22, fixed=fixed)


def _parse_text(found: re.Match[str], text: str) -> OraType:
    length = int(found[2] or 1)
    limit = MAX_VARCHAR2 if found[1] == "VARCHAR2" else 2000
    if not 1 <= length <= limit or (found[1] == "VARCHAR2" and found[2] is None):
        raise ValueError(f"the Oracle stand-in has no column type {text!r}")
    by_char = found[3] == "CHAR"
    # AL32UTF8 takes up to four bytes a character.
    size = min(length * 4, limit) if by_char else length
    kind: Kind = "VARCHAR2" if found[1] == "VARCHAR2" else "CHAR"
    return OraType(kind, size=size, chars=length, by_char=by_char)


def storage(kind: OraType) -> str:
    """The DuckDB type of a column of Oracle type `kind`."""
    if kind.kind == "NUMBER":
        return "VARCHAR" if kind.fixed is None else f"DECIMAL({kind.fixed[0]},{kind.fixed[1]})"
    if kind.is_time:
        return "TIMESTAMP"
    return "BLOB" if kind.kind in ("RAW", "BLOB") else "VARCHAR"
