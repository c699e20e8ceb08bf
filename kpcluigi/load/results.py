"""The three result sets of a job: fetched once, counted in passing, matched by external id.

Salesforce promises no order, so rows are matched by their external id: by the sum of its hashes
where only equality is in question, which takes no memory, and by sets of hashes where single rows
are. The hashes never leave the process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from kpcluigi.csvframes import read_frames
from kpcluigi.load.row_errors import ERROR, is_passing, lookups_by, missing_parent_field
from kpcluigi.salesforce import Client, ResultKind, download
from kpcluigi.tables import Table

KINDS: tuple[ResultKind, ...] = ("successful", "failed", "unprocessed")
CREATED = "sf__Created"
_WRAP = 1 << 64

Hashes = np.ndarray[Any, np.dtype[np.uint64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]


def result_file(logs: Path, sobject: str, job_id: str, kind: ResultKind) -> Path:
    """Where one of a job's three result sets is kept."""
    return logs / f"{sobject}_{job_id}_{kind}.csv.gz"


@dataclass(frozen=True)
class KeySum:
    """How many rows there are and which, but for their order: equal sums are equal rows."""

    rows: int = 0
    hashes: int = 0

    def plus(self, keys: pl.Series) -> KeySum:
        added = int(keys.hash().sum() or 0) if len(keys) else 0
        return KeySum(self.rows + len(keys), (self.hashes + added) % _WRAP)


class KeySet:
    """A set of external ids, as 8 bytes each."""

    def __init__(self, keys: Iterable[pl.Series] = ()) -> None:
        self._hashes: Hashes = np.empty(0, np.uint64)
        self._added: list[Hashes] = []
        for series in keys:
            self.add(series)

    def add(self, keys: pl.Series) -> None:
        """Put more keys into the set."""
        if len(keys):
            self._added.append(keys.hash().to_numpy())

    def __bool__(self) -> bool:
        return self._hashes.size > 0 or bool(self._added)

    def has(self, keys: pl.Series) -> pl.Series:
        """For each of the keys, whether it is in the set."""
        if not self:
            return pl.repeat(False, len(keys), eager=True)
        if self._added:
            self._hashes = np.concatenate([self._hashes, *self._added])
            self._hashes.sort()
            self._added.clear()
        return pl.Series(places_of(keys, self._hashes)[1])


def places_of(keys: pl.Series, hashes: Hashes) -> tuple[np.ndarray[Any, Any], Flags]:
    """For each key, its place among sorted hashes, which are not empty, and whether it is there."""
    wanted = keys.hash().to_numpy()
    places = np.searchsorted(hashes, wanted).clip(max=hashes.size - 1)
    return places, hashes[places] == wanted


@dataclass
class Survey:
    """What the results of one job say, counted."""

    created: int = 0
    updated: int = 0
    failed: int = 0
    """For good."""
    passing: int = 0
    """Failed with an error that the same row gets past when it is sent again."""
    orphans: int = 0
    """Failed for want of a parent, where the mapping says to send them without."""
    unprocessed: int = 0
    named: KeySum = field(default_factory=KeySum)
    """All of these."""


class JobResults:
    """The result files of one job, beside each other in the folder of the logs."""

    def __init__(self, logs: Path, table: Table, job_id: str) -> None:
        self._table = table
        self._job_id = job_id
        self.files = {kind: result_file(logs, table.object, job_id, kind) for kind in KINDS}

    def fetch(self, client: Client) -> None:
        """Download what is not there yet. Raises `SalesforceError`; status 404: they are gone."""
        for kind, path in self.files.items():
            if not path.exists():
                download(client, self._job_id, kind, path)

    def forget(self) -> None:
        """Remove the files, so that they are fetched anew."""
        for path in self.files.values():
            path.unlink(missing_ok=True)

    def survey(self) -> Survey:
        """Count every row. Raises `StagingError` where a file is damaged."""
        found = Survey()
        external_id = self._table.external_id
        for frame in self.successful():
            created = int((frame[CREATED] == "true").sum())
            found.created += created
            found.updated += frame.height - created
            found.named = found.named.plus(frame[external_id])
        for frame in self.failed():
            passing = int(frame.select(self.passing).to_series().sum())
            orphans = int(frame.select(self.orphaned).to_series().sum())
            found.passing += passing
            found.orphans += orphans
            found.failed += frame.height - passing - orphans
            found.named = found.named.plus(frame[external_id])
        for keys in self.unprocessed_keys():
            found.unprocessed += len(keys)
            found.named = found.named.plus(keys)
        return found

    @property
    def passing(self) -> pl.Expr:
        """Of a failed row: it is worth another try as it is."""
        return is_passing(pl.col(ERROR))

    @property
    def orphaned(self) -> pl.Expr:
        """Of a failed row: it is to be sent again without the parent that the org does not have."""
        if self._table.on_missing_parent != "blank":
            return pl.lit(False)
        known = list(lookups_by(self._table))
        return missing_parent_field(pl.col(ERROR)).is_in(known).fill_null(False)

    def successful(self) -> Iterator[pl.DataFrame]:
        """`sf__Created` and the external id of the rows that arrived."""
        return self._frames("successful", [CREATED, self._table.external_id])

    def failed(self) -> Iterator[pl.DataFrame]:
        """`sf__Error` and the external id of the rows that were refused."""
        return self._frames("failed", [ERROR, self._table.external_id])

    def unprocessed_keys(self) -> Iterator[pl.Series]:
        """The external ids of the rows that Salesforce did not come to."""
        external_id = self._table.external_id
        for frame in self._frames("unprocessed", [external_id]):
            yield frame[external_id]

    def _frames(self, kind: ResultKind, columns: list[str]) -> Iterator[pl.DataFrame]:
        return read_frames(self.files[kind], columns)
