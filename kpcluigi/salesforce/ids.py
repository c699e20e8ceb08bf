"""Record ids of 15 and 18 characters, which name the same record."""

from __future__ import annotations

import re

_ID = re.compile(r"[A-Za-z0-9]{15}(?:[A-Z0-5]{3})?")
_SUFFIXES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


def to_18(record_id: str) -> str:
    """The 18-character form of an id, which survives where case is folded.

    Each of the last three characters says which of five are capital letters (Salesforce Help, "ID
    Field Type"). Error messages of Salesforce have ids of 15, its JSON has ids of 18.

    Raises:
        ValueError: it has the shape of neither.
    """
    if not _ID.fullmatch(record_id):
        raise ValueError(f"{record_id!r} is no Salesforce id of 15 or 18 characters")
    short = record_id[:15]
    groups = (short[0:5], short[5:10], short[10:15])
    bits = (sum(1 << i for i, c in enumerate(group) if "A" <= c <= "Z") for group in groups)
    return short + "".join(_SUFFIXES[b] for b in bits)
