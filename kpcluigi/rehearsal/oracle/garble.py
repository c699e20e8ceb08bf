"""An armed fault: text on the wire that is not UTF-8, as a database with bad bytes sends it."""

from __future__ import annotations

import re

import pyarrow as pa

from kpcluigi.rehearsal.oracle.queries import Block

BAD_BYTE = b"\xff"


def garbled(batch: pa.RecordBatch, block: Block, columns: re.Pattern[str]) -> pa.RecordBatch | None:
    """`batch` with the first byte of the first text in a matching column spoiled; None when there
    is none."""
    for i, (name, typed) in enumerate(zip(block.names, block.columns, strict=True)):
        if not typed.type.is_text or not columns.fullmatch(name):
            continue
        texts = batch.column(i).cast(pa.large_binary()).to_pylist()
        for row, text in enumerate(texts):
            if text:
                texts[row] = BAD_BYTE + text[1:]
                return batch.set_column(i, batch.field(i).name, pa.array(texts, pa.large_binary()))
    return None
