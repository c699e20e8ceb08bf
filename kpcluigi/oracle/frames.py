"""Batches as the driver gives them, as frames whose texts are valid."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from kpcluigi.fields import INVALID_UTF8


def to_frame(batch: pa.Table) -> pl.DataFrame:
    """A batch as the driver gives it, as a frame whose texts are UTF-8 throughout.

    The driver passes the bytes of texts on unseen, and polars takes them for valid. Where some are
    not, each bad byte becomes U+FFFD, and a flag column `INVALID_UTF8 + name` marks the rows.
    """
    flags: dict[str, pa.Array] = {}
    for i, name in enumerate(batch.column_names):
        column = batch.column(i)
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            continue
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            texts, flags[INVALID_UTF8 + name] = _repaired(column)
            batch = batch.set_column(i, name, texts)
    for name, flag in flags.items():
        batch = batch.append_column(name, flag)
    return pl.DataFrame(batch)


def _repaired(column: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """The texts with U+FFFD for bad bytes, and which of them had any."""
    texts: list[str | None] = []
    bad: list[bool] = []
    binary = pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary()
    for raw in column.cast(binary).to_pylist():
        text = None if raw is None else raw.decode(errors="replace")
        texts.append(text)
        bad.append(text is not None and text.encode() != raw)
    return pa.array(texts, column.type), pa.array(bad)
