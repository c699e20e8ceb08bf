"""Whether an org takes gzip on the upload: nobody documents it, so one small job proves it.

The first job of at most 10,000 rows is sent compressed. When Salesforce then names each of its
rows, the org takes gzip, and all later jobs of the run are sent so; otherwise they are sent plain.
The verdict is a marker of the run, the proof itself is one process's at a time.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from isal import isal_zlib

from kpcluigi.files import COMPRESSION
from kpcluigi.markers import GzipVerdict
from kpcluigi.staging import read_marker, write_marker

PROBE_ROWS = 10_000
"""One internal batch of a job (Bulk API 2.0 Developer Guide, "Limits")."""
_GZIP = 31
"""zlib's window bits for the largest window, with a gzip header."""


class Compression:
    """How this process's jobs are uploaded.

    Args:
        verdict: where the marker lies.
        wanted: False: always plain, and nothing is tried.
    """

    def __init__(self, verdict: Path, *, wanted: bool) -> None:
        self._path = verdict
        self._wanted = wanted
        self._lock: TextIO | None = None

    @property
    def verdict(self) -> bool | None:
        """Whether the org takes gzip; None until that is known."""
        known = read_marker(self._path, GzipVerdict)
        return None if known is None else known.accepted

    def wants_proof(self) -> bool:
        """Whether this process is to make the proof; then no other is, until it ends."""
        if not self._wanted or self.verdict is not None:
            return False
        if self._lock is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock = self._path.with_suffix(".lock").open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                return False
            self._lock = lock
        return self.verdict is None  # it may have been made before the lock was had

    def use_for(self, rows: int) -> bool:
        """Whether a job of so many rows is to be sent compressed."""
        if not self._wanted:
            return False
        verdict = self.verdict
        return rows <= PROBE_ROWS and self.wants_proof() if verdict is None else verdict

    def note(self, *, accepted: bool, job_id: str, reason: str) -> None:
        """What a compressed job showed; the first to say so is believed."""
        if self.verdict is None:
            self._write(GzipVerdict(accepted=accepted, job_id=job_id, reason=reason))

    def refuse(self, *, job_id: str, reason: str) -> None:
        """The org does not take gzip, whatever it did before."""
        self._write(GzipVerdict(accepted=False, job_id=job_id, reason=reason))

    def _write(self, verdict: GzipVerdict) -> None:
        write_marker(self._path, verdict)
        if self._lock is not None:
            self._lock.close()
            self._lock = None


class Compressed:
    """A body that is compressed while it is sent; it can be sent any number of times."""

    def __init__(self, body: Iterable[bytes]) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        packer = isal_zlib.compressobj(COMPRESSION, isal_zlib.DEFLATED, _GZIP)
        for block in self._body:
            if packed := packer.compress(block):
                yield packed
        yield packer.flush()
