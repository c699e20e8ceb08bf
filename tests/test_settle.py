"""The rows of an ended job are sorted by what its results say, each to where it belongs."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest

from kpcluigi.chunkfile import JobBody
from kpcluigi.load import settle as settling
from kpcluigi.load.results import JobResults
from kpcluigi.load.settle import Patience, Places, Settled, sent_keys, settle
from kpcluigi.tables import Table, parse_tables

CREATED, UPDATED, UNPROCESSED, UNNAMED = "created", "updated", "unprocessed", "unnamed"
LOCK = "UNABLE_TO_LOCK_ROW:unable to obtain exclusive access to this record:--"
NO_TENANT = (
    "INVALID_FIELD:Foreign key external ID: T1 not found for field Tenant_Code__c in entity "
    "Account:--"
)


@pytest.fixture(scope="module")
def table() -> Table:
    section = {
        "phase": 1,
        "object": "Thing__c",
        "external_id": "External_ID__c",
        "key": ["ID"],
        "partition_column": "D",
        "on_missing_parent": "blank",
        "columns": {
            "ID": {"field": "External_ID__c", "type": "text"},
            "NOTE": {"field": "Note__c", "type": "text"},
        },
        "lookups": {"TENANT": "Account__r.Tenant_Code__c"},
    }
    return parse_tables({"tables": {"THINGS": section}})["THINGS"]


class Ended:
    """A job that has ended: what was sent, and what its results say of each row by its key."""

    def __init__(self, table: Table, folder: Path, outcomes: dict[str, str]) -> None:
        self._table = table
        header = ",".join(table.fields) + "\n"
        self.body = JobBody(
            folder / "chunk.csv.gz",
            header_bytes=len(header),
            start=len(header),
            end=_write(folder / "chunk.csv.gz", header, [_row(key) for key in outcomes]),
        )
        self.places = Places(folder / "again", folder / "dead", folder / "blanked")
        self.results = JobResults(folder, table, "750000000000001AAA")
        successful, failed, unprocessed = [], [], []
        for key, outcome in reversed(outcomes.items()):  # in no order that was promised
            if outcome in (CREATED, UPDATED):
                successful.append(f"a00,{str(outcome == CREATED).lower()},{_row(key)}")
            elif outcome == UNPROCESSED:
                unprocessed.append(_row(key))
            elif outcome != UNNAMED:
                failed.append(f',"{outcome}",{_row(key)}')
        _write(self.results.files["successful"], f"sf__Id,sf__Created,{header}", successful)
        _write(self.results.files["failed"], f"sf__Id,sf__Error,{header}", failed)
        _write(self.results.files["unprocessed"], header, unprocessed)

    def settle(self, *, passing: bool = True, orphans: bool = True) -> Settled:
        return settle(
            self._table,
            self.body,
            sent_keys(self.body, self._table.external_id),
            self.results,
            self.results.survey(),
            self.places,
            Patience(passing, orphans),
        )


def _row(key: str) -> str:
    return f'{key},"said ""{key}"",\nthen left",T1\n'


def _write(path: Path, header: str, rows: list[str]) -> int:
    data = (header + "".join(rows)).encode()
    path.write_bytes(gzip.compress(data))
    return len(data)


def _read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode())))


def test_each_row_is_counted_once_and_lies_where_it_belongs(table: Table, tmp_path: Path) -> None:
    outcomes = {
        "k1": CREATED, "k2": UPDATED, "k3": "TOO_BAD:of k3:Note__c --", "k4": LOCK,
        "k5": NO_TENANT, "k6": UNPROCESSED, "k7": UNNAMED, "k8": CREATED,
    }  # fmt: skip
    ended = Ended(table, tmp_path, outcomes)
    settled = ended.settle()
    assert (settled.created, settled.updated, settled.failed, settled.unprocessed) == (2, 1, 1, 0)
    assert settled.rows == len(outcomes)
    again = _read(ended.places.again)
    tenants = {row["External_ID__c"]: row["Account__r.Tenant_Code__c"] for row in again}
    assert tenants == {"k4": "T1", "k5": "#N/A", "k6": "T1", "k7": "T1"}
    (dead,) = _read(ended.places.dead)
    assert (dead["External_ID__c"], dead["sf__Error"]) == ("k3", "TOO_BAD:of k3:Note__c --")
    assert dead["Note__c"] == 'said "k3",\nthen left'
    (blanked,) = _read(ended.places.blanked)
    assert (blanked["External_ID__c"], blanked["sf__Error"]) == ("k5", NO_TENANT)
    assert blanked["Account__r.Tenant_Code__c"] == "T1", "as it was sent"


def test_without_patience_nothing_is_sent_again(table: Table, tmp_path: Path) -> None:
    outcomes = {"k1": CREATED, "k2": LOCK, "k3": NO_TENANT, "k4": UNPROCESSED, "k5": UNNAMED}
    ended = Ended(table, tmp_path, outcomes)
    settled = ended.settle(passing=False, orphans=False)
    assert (settled.created, settled.failed, settled.unprocessed) == (1, 2, 2)
    assert settled.again is None
    assert not ended.places.again.exists()
    assert not ended.places.blanked.exists()
    dead = _read(ended.places.dead)
    assert {row["External_ID__c"]: row["sf__Error"].partition(":")[0] for row in dead} == {
        "k2": "UNABLE_TO_LOCK_ROW", "k3": "INVALID_FIELD", "k4": "UNPROCESSED", "k5": "UNPROCESSED",
    }  # fmt: skip


def test_more_dead_rows_than_are_held_at_once_keep_their_own_errors(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "DEAD_AT_ONCE", 5_000)  # two frames of the results, then one
    said = f"TOO_BAD:{'.' * 200} of"
    outcomes = {f"k{i}": CREATED if i % 3 == 0 else f"{said} k{i}:--" for i in range(15_000)}
    ended = Ended(table, tmp_path, outcomes)
    settled = ended.settle()
    dead = {row["External_ID__c"]: row["sf__Error"] for row in _read(ended.places.dead)}
    assert dead == {key: outcome for key, outcome in outcomes.items() if outcome != CREATED}
    assert settled.failed == len(dead)
