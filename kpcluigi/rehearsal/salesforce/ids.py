"""Salesforce record ids: 15 characters, and 18 with the suffix that survives case folding.

A 15-character id is the object's 3-character key prefix, the org's two characters, three zeros and
a base-62 number. The suffix has one character for each group of five: its bits say which of the
five are capital letters (Salesforce Help, "ID Field Type"; Object Reference, "ID Fields").
"""

from __future__ import annotations

import re

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SUFFIXES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
POD = "5i"
"""The two characters after the key prefix; every record of one org has the same."""
NUMBER_DIGITS = 7

_ID_15 = re.compile(r"[A-Za-z0-9]{15}")


def suffix(id15: str) -> str:
    """The three characters that make 15 into 18."""
    groups = (id15[0:5], id15[5:10], id15[10:15])
    bits = (sum(1 << i for i, c in enumerate(group) if "A" <= c <= "Z") for group in groups)
    return "".join(SUFFIXES[b] for b in bits)


def make_id(key_prefix: str, number: int) -> str:
    """The 18-character id of an object's Nth record."""
    digits = ""
    for _ in range(NUMBER_DIGITS):
        number, digit = divmod(number, 62)
        digits = DIGITS[digit] + digits
    id15 = f"{key_prefix}{POD}000{digits}"
    return id15 + suffix(id15)


def to_18(given: str) -> str | None:
    """The 18-character form of a 15- or 18-character id; None when it is neither."""
    if not _ID_15.fullmatch(given[:15]):
        return None
    full = given[:15] + suffix(given[:15])
    return full if given in (given[:15], full) else None


def id_sql(key_prefix: str, number: str) -> str:
    """A DuckDB expression that computes `make_id(key_prefix, number)` column-wise.

    `number` is a column name: it is repeated in the expression.
    """
    powers = [62**power for power in reversed(range(NUMBER_DIGITS))]
    values = [f"(({number} // {power}) % 62)" for power in powers]
    text = " || ".join(f"substr('{DIGITS}', ({v} + 1)::INTEGER, 1)" for v in values)

    def group(capitals: list[str]) -> str:
        bits = " + ".join(capitals)
        return f"substr('{SUFFIXES}', ({bits} + 1)::INTEGER, 1)"

    def capital(value: str, bit: int) -> str:
        return f"({value} BETWEEN 10 AND 35)::INTEGER * {1 << bit}"

    first = suffix(f"{key_prefix}{POD}0000000000")[0]
    second = group([capital(values[0], 3), capital(values[1], 4)])
    third = group([capital(value, bit) for bit, value in enumerate(values[2:])])
    return f"('{key_prefix}{POD}000' || {text} || '{first}' || {second} || {third})"
