"""What becomes of each row: counted once, and byte for byte what was staged wherever it goes."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from kpcluigi.chunkfile import JobBody, writing
from kpcluigi.csvframes import header_line
from kpcluigi.load.results import JobResults
from kpcluigi.load.row_errors import ERROR
from kpcluigi.load.settle import Patience, Places, sent_keys, settle, write_rows
from kpcluigi.markers import LoadResult
from tests.loading import load_chunk
from tests.loading.staged import Items, Row, item_table, rows_of

AWKWARD = (
    'a "quoted" word',
    '"',
    "two\nlines",
    "a, comma",
    " blanks around ",
    "#N/A",
    "ภาษาไทย 🎉 é",
    "tab\tand 'apostrophe'",
    '""\n,""',
    "=1+1",
)
LOCKED = "UNABLE_TO_LOCK_ROW:locked:--"


def lines_of(path: Path) -> list[bytes]:
    """Whole rows, as bytes; those of a dead letter without their error."""
    data = gzip.decompress(path.read_bytes())
    rows: list[bytes] = []
    for line in data.split(b"\n")[1:-1]:
        if rows and rows[-1].count(b'"') % 2:
            rows[-1] += b"\n" + line
        else:
            rows.append(line)
    return rows


def load(items: Items, rows: list[Row]) -> LoadResult:
    return load_chunk(items.client, items.table, items.stage(rows), items.run)


def awkward_rows(items: Items, **values: str) -> list[Row]:
    return [items.row(i, Note__c=note, **values) for i, note in enumerate(AWKWARD)]


def test_rows_arrive_as_they_are_by_a_follow_up_and_by_halves(items: Items) -> None:
    rows = [*awkward_rows(items), items.row(10, Note__c="poison")]
    items.org.arm(on="job", unreadable="poison", times=-1)
    items.org.arm(on="row", times=5, row_error=LOCKED)
    result = load(items, rows)
    assert (result.created, result.failed) == (10, 1)
    items.require_sound()


def test_follow_ups_and_dead_letters_have_the_bytes_that_were_staged(items: Items) -> None:
    rows = awkward_rows(items, Short__c="too long for this field, by far")
    items.org.arm(on="row", times=5, row_error=LOCKED)
    result = load(items, rows)
    assert result.failed == len(rows)
    staged = lines_of(items.folder.chunk_file(1))
    dead = [line.split(b':Short__c --",', 1)[1] for line in lines_of(items.folder.dead_letter(1))]
    assert sorted(dead) == sorted(staged)
    items.require_sound()


def test_on_missing_parent_reject_dead_letters_the_row(items: Items) -> None:
    rows = [
        items.row(0),
        items.row(1, **{"First__r.Code__c": "nobody"}),
        items.row(2, **{"Second__r.Code__c": 'no "body"'}),
    ]
    result = load(items, rows)
    assert (result.created, result.failed, result.blanked) == (1, 2, 0)
    assert items.dead().keys() == {items.key(1), items.key(2)}
    items.require_sound()


def test_on_missing_parent_blank_empties_that_lookup_alone(items: Items) -> None:
    first, second = "First__r.Code__c", "Second__r.Code__c"
    items.table = item_table(on_missing_parent="blank")
    rows = [
        items.row(0),
        items.row(1, **{first: "nobody", second: "S"}),
        items.row(2, **{first: "S", second: 'no "body",\nat all'}),
        items.row(3, **{first: "one", second: "two"}),
        items.row(4, **{first: "same", second: "same"}),
    ]
    result = load(items, rows)
    assert (result.created, result.failed) == (5, 0)
    found = {key: (row[first], row[second]) for key, row in items.in_org().items()}
    assert found == {
        items.key(0): ("N", "N"),
        items.key(1): ("#N/A", "S"),
        items.key(2): ("S", "#N/A"),
        items.key(3): ("#N/A", "#N/A"),
        items.key(4): ("#N/A", "#N/A"),
    }
    blanked = {row["External_ID__c"]: row for row in rows_of(items.folder.blanked(1))}
    for row in blanked.values():
        assert row.pop(ERROR).startswith("INVALID_FIELD:Foreign key external ID: ")
    assert blanked == {row["External_ID__c"]: row for row in rows[1:]}
    assert (result.blanked, len(rows_of(items.folder.blanked(1)))) == (4, 4)


def test_a_row_that_lost_its_parent_and_failed_is_dead_as_it_was(items: Items) -> None:
    items.table = item_table(on_missing_parent="blank")
    lost = {"First__r.Code__c": "nobody", "Short__c": "too long for this field, by far"}
    items.org.arm(on="row", match="1$", row_error=LOCKED)
    result = load(items, [items.row(0, **lost), items.row(1)])
    assert (result.created, result.failed, result.blanked) == (1, 1, 0)
    items.require_sound()


OUTCOMES = ("created", "updated", "failed", "passing", "orphan", "unprocessed", "unnamed")
ERRORS = {
    "failed": "STRING_TOO_LONG:too long: x:Short__c --",
    "passing": LOCKED,
    "orphan": "INVALID_FIELD:Foreign key external ID: A not found for field Code__c in entity "
    "Parent__c:--",
}


@settings(max_examples=30, deadline=None)
@given(
    outcomes=st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=12),
    patience=st.builds(Patience, passing=st.booleans(), orphans=st.booleans()),
    order=st.randoms(use_true_random=False),
)
def test_every_row_is_counted_once(outcomes: list[str], patience: Patience, order: object) -> None:
    table = item_table(on_missing_parent="blank")
    rows = [
        dict.fromkeys(table.fields, "A") | {"External_ID__c": f"k{i}", "Note__c": AWKWARD[i % 10]}
        for i in range(len(outcomes))
    ]
    with TemporaryDirectory() as name:
        folder = Path(name)
        with writing(folder / "sent.csv.gz", header_line(table.fields)) as writer:
            writer.add(pl.DataFrame(rows))
            written = writer.close()
        body = JobBody(
            folder / "sent.csv.gz",
            header_bytes=written.header_bytes,
            start=written.header_bytes,
            end=written.raw_bytes,
        )
        results = JobResults(folder, table, "750")
        shuffled = list(zip(rows, outcomes, strict=True))
        order.shuffle(shuffled)  # type: ignore[attr-defined]
        write_results(results, table.fields, shuffled)
        places = Places(folder / "again.gz", folder / "dead.gz", folder / "blanked.gz")
        sent = sent_keys(body, table.external_id)
        settled = settle(table, body, sent, results, results.survey(), places, patience)
        again = rows_of(places.again) if settled.again else []
        dead = rows_of(places.dead) if places.dead.exists() else []

    count = Counter(outcomes)
    assert (settled.created, settled.updated) == (count["created"], count["updated"])
    assert settled.rows == len(rows)
    assert settled.failed + settled.unprocessed == len(dead)
    assert sum(error.rows for error in settled.errors) == len(dead)
    for row in dead:
        assert row.pop(ERROR)
    arrived = [row for row, outcome in shuffled if outcome in ("created", "updated")]
    kept = {row["External_ID__c"]: row for row in rows}
    for row in again:  # what was sent again without its parent is otherwise as it was
        if outcomes[int(row["External_ID__c"][1:])] == "orphan":
            assert (row["First__r.Code__c"], row["Second__r.Code__c"]) == ("#N/A", "#N/A")
            row |= {"First__r.Code__c": "A", "Second__r.Code__c": "A"}
    parted = [*arrived, *again, *dead]
    assert len(parted) == len(rows)
    assert {row["External_ID__c"]: row for row in parted} == kept


def write_results(
    results: JobResults, fields: tuple[str, ...], rows: list[tuple[Row, str]]
) -> None:
    """The three files as Salesforce would give them."""
    columns = {
        "successful": ["sf__Id", "sf__Created", *fields],
        "failed": ["sf__Id", ERROR, *fields],
        "unprocessed": [*fields],
    }
    for kind, path in results.files.items():
        chosen = []
        for row, outcome in rows:
            own = {"sf__Id": "a0I", "sf__Created": str(outcome == "created").lower()}
            own[ERROR] = ERRORS.get(outcome, "")
            where = {"created": "successful", "updated": "successful", "unnamed": ""}.get(
                outcome, "unprocessed" if outcome == "unprocessed" else "failed"
            )
            if where == kind:
                chosen.append({**row, **own})
        frame = pl.DataFrame(chosen, schema=dict.fromkeys(columns[kind], pl.String))
        write_rows(path, columns[kind], [frame])
