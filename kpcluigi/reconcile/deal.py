"""Rows of several sides, dealt out to files by the hash of their key.

Rows of one key lie in files of one number, whatever side they are of, so that each number fits into
memory by itself, whatever the size of the table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from kpcluigi.reconcile.alike import KEY

BUCKET_ROWS = 125_000
"""Rows of one side that are joined at once, about."""
FLUSH_ROWS = 125_000
"""Rows that are held before they are dealt out. With as many of both, the largest group of ranges
makes files of 1,000 rows, of which each costs half a millisecond besides its rows."""


@dataclass
class Deal:
    """The rows of several sides, in files by the hash of their key."""

    folder: Path
    rows: int
    """Of one side, about."""
    _held: dict[str, list[pl.DataFrame]] = field(default_factory=dict)
    _files: int = 0

    @property
    def buckets(self) -> int:
        return max(1, -(-self.rows // BUCKET_ROWS))

    def add(self, side: str, frame: pl.DataFrame) -> None:
        """Hold the rows; deal them out once there are enough."""
        held = self._held.setdefault(side, [])
        held.append(frame)
        if sum(f.height for f in held) >= FLUSH_ROWS:
            self.flush(side)

    def flush(self, side: str) -> None:
        """Deal out what is held."""
        held = self._held.pop(side, [])
        if not held:
            return
        self._files += 1
        whole = pl.concat(held)
        numbers = (whole[KEY].hash(0) % self.buckets).alias("bucket")
        for (bucket,), part in whole.group_by(numbers):
            path = self.folder / side / f"{bucket}" / f"{self._files:06d}.arrow"
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_ipc_stream(path, compression="lz4")

    def of(self, side: str, bucket: int) -> pl.DataFrame | None:
        """All rows of a bucket, in the order in which they came; None where there are none."""
        self.flush(side)
        paths = sorted((self.folder / side / f"{bucket}").glob("*.arrow"))
        return pl.concat(map(pl.read_ipc_stream, paths)) if paths else None
