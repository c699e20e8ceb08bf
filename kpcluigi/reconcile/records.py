"""Records of the org by their external ids, as many in a query as its URL can hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import quote

import polars as pl

from kpcluigi.reconcile.aggregates import QUERY_BYTES, Asking
from kpcluigi.reconcile.alike import Alike, as_texts

KEYS = 200
"""Keys per query at most."""


def records_of(
    asking: Asking, sobject: str, paths: Sequence[str], keys: Sequence[str], key: Alike
) -> pl.DataFrame:
    """Records with these external ids, as the text that a CSV would have."""
    select = f"SELECT {', '.join(paths)} FROM {sobject} WHERE {key.name} IN "
    records = [
        as_texts(record, paths)
        for batch in batches(list(keys), key, room=QUERY_BYTES - len(quote(select)))
        for record in asking.query(f"{select}({', '.join(batch)})")
    ]
    return pl.DataFrame(records, schema=dict.fromkeys(paths, pl.String))


def batches(keys: list[str], key: Alike, *, room: int) -> Iterator[list[str]]:
    """Keys as SOQL literals, as many as one query can ask for."""
    batch: list[str] = []
    size = 0
    for text in keys:
        literal = literal_of(text, key)
        length = len(quote(literal)) + 3
        if batch and (len(batch) == KEYS or size + length > max(room, 1000)):
            yield batch
            batch, size = [], 0
        batch.append(literal)
        size += length
    if batch:
        yield batch


def literal_of(text: str, key: Alike) -> str:
    """A key in SOQL."""
    if key.type == "decimal":
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"
