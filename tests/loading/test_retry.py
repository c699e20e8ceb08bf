"""Dead-lettered rows are sent again: as they are or corrected, through kill -9, and only they."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from kpcluigi.errors import StagingError
from kpcluigi.load import open_attempt
from kpcluigi.markers import RetryResult
from kpcluigi.staging import read_marker
from tests.loading import load_chunk
from tests.loading.process import finish, kill, kill_when, start, wait_for
from tests.loading.staged import Items, Row, rows_of
from tests.loading.test_kills import Reached, after_create, before_close, results, stall
from tests.loading.test_rows import AWKWARD

LONG = "too long for this field, by far"
DEAD = len(AWKWARD)


@pytest.fixture
def dead(items: Items) -> Items:
    """Two rows arrived, the others did not: they are awkward, and too long."""
    rows = [items.row(i, Note__c=note, Short__c=LONG) for i, note in enumerate(AWKWARD)]
    result = load_chunk(
        items.client,
        items.table,
        items.stage([*rows, *items.rows(DEAD, DEAD + 2)]),
        items.run,
    )
    assert (result.created, result.failed) == (2, DEAD)
    return items


def corrected(items: Items, chosen: int = DEAD, **values: str) -> list[Row]:
    """The first rows of the dead letter as somebody corrected them; the source becomes so too."""
    found = rows_of(items.folder.dead_letter(1))
    rows = []
    for row in sorted(found, key=lambda row: int(row["External_ID__c"].partition("-")[2]))[:chosen]:
        rows.append(row | {"Short__c": "good"} | values)
        items.staged[row["External_ID__c"]] = {name: rows[-1][name] for name in items.table.fields}
    return rows


def as_csv(rows: list[Row], **options: str) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), **{"lineterminator": "\n", **options})  # type: ignore[arg-type]
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def sent_again(items: Items, file: Path | None, attempt: int = 1) -> RetryResult:
    assert finish(items.command(n=0, corrected=file)) == 0
    result = read_marker(items.folder.retry_result(attempt), RetryResult)
    assert result is not None
    return result


SHAPES: dict[str, Callable[[list[Row]], bytes]] = {
    "as it was": as_csv,
    "from a spreadsheet": lambda rows: b"\xef\xbb\xbf" + as_csv(rows, lineterminator="\r\n"),
    "packed": lambda rows: gzip.compress(as_csv(rows)),
    "columns in another order": lambda rows: as_csv([dict(reversed(row.items())) for row in rows]),
    "without the errors": lambda rows: as_csv(
        [{name: value for name, value in row.items() if name != "sf__Error"} for row in rows]
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_corrected_rows_arrive_as_they_stand_in_the_file(
    dead: Items, tmp_path: Path, shape: str
) -> None:
    file = tmp_path / "corrected"
    file.write_bytes(SHAPES[shape](corrected(dead)))
    result = sent_again(dead, file)
    assert (result.rows, result.created, result.corrected) == (DEAD, DEAD, "corrected")
    assert dead.dead() == {}
    dead.require_sound(attempts=1)


def _more(rows: list[Row], **values: str) -> bytes:
    return as_csv([*rows, rows[0] | values])


NONSENSE: dict[str, tuple[Callable[[list[Row]], bytes], str]] = {
    "a column is missing": (
        lambda rows: as_csv([{k: v for k, v in row.items() if k != "Note__c"} for row in rows]),
        "lacks the column Note__c",
    ),
    "a column is unknown": (
        lambda rows: as_csv([row | {"Extra__c": "1"} for row in rows]),
        "unknown column Extra__c",
    ),
    "a column stands twice": (
        lambda rows: as_csv(rows).replace(b"Short__c", b"Note__c", 1),
        "twice the column Note__c",
    ),
    "another delimiter": (lambda rows: as_csv(rows, delimiter=";"), "lacks the column"),
    "a row is not dead": (lambda rows: _more(rows, External_ID__c="x"), "x is not in the dead"),
    "a key stands twice": (lambda rows: _more(rows), "stands there twice"),
    "a key is empty": (lambda rows: _more(rows, External_ID__c=" "), "External_ID__c is empty"),
    "a value is missing": (
        lambda rows: as_csv(rows) + b"one,two\n",
        "more or fewer values than the header",
    ),
    "a value too many": (
        lambda rows: as_csv(rows) + b"1,2,3,4,5,6,7\n",
        "more or fewer values than the header",
    ),
    "a quote is open": (lambda rows: as_csv(rows) + b'"one', "no CSV in UTF-8"),
    "not UTF-8": (lambda rows: as_csv(rows).decode().encode("utf-16"), "no CSV in UTF-8"),
    "Latin-1": (lambda rows: as_csv(rows) + "é".encode("latin-1"), "no CSV in UTF-8"),
    "empty": (lambda rows: b"", "lacks the column"),
    "no rows": (lambda rows: as_csv(rows).split(b"\n")[0] + b"\n", "has no rows"),
    "a truncated gzip": (lambda rows: gzip.compress(as_csv(rows))[:-20], "no CSV in UTF-8"),
    "a damaged gzip": (
        lambda rows: gzip.compress(as_csv(rows))[:10] + b"\xff" * 60,
        "no CSV in UTF-8",
    ),
    "no gzip": (lambda rows: b"\x1f\x8b" + as_csv(rows), "no CSV in UTF-8"),
}


def test_nonsense_is_refused_by_name(dead: Items, tmp_path: Path) -> None:
    before = dead.org.stats()["jobs"]
    rows = corrected(dead)
    file = tmp_path / "corrected.csv"
    for name, (make, words) in NONSENSE.items():
        file.write_bytes(make(rows))
        with pytest.raises(StagingError, match=words) as refused:
            open_attempt(dead.folder, dead.table, file)
        assert str(file) in str(refused.value), name
        assert not list(dead.folder.retries.glob("*")), name
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(StagingError, match="is no file"):
            open_attempt(dead.folder, dead.table, path)
    assert finish(dead.command(n=0, corrected=file)) == 1
    assert "no CSV in UTF-8" in dead.command().said.read_text("utf-8")
    assert dead.org.stats()["jobs"] == before


def test_rows_that_were_not_corrected_stay_dead_and_attempts_are_kept(
    dead: Items, tmp_path: Path
) -> None:
    file = tmp_path / "corrected.csv"
    file.write_bytes(as_csv(corrected(dead, 4)))
    first = sent_again(dead, file)
    assert (first.rows, first.created) == (4, 4)
    assert dead.dead().keys() == {dead.key(i) for i in range(4, DEAD)}
    dead.require_sound(attempts=1)

    second = sent_again(dead, None, attempt=2)
    assert (second.rows, second.created, second.failed) == (DEAD - 4, 0, DEAD - 4)
    assert dead.folder.dead_letters == [dead.folder.dead_retry(2)]
    dead.require_sound(attempts=2)

    found = {row["External_ID__c"]: row for row in rows_of(dead.folder.dead_retry(2))}
    rows = [found[dead.key(i)] | {"Short__c": "good"} for i in (5, 6)]
    rows.append(found[dead.key(7)] | {"Short__c": f"still {LONG}"})
    for row in rows:
        dead.staged[row["External_ID__c"]] = {name: row[name] for name in dead.table.fields}
    file.write_bytes(as_csv(rows))
    third = sent_again(dead, file, attempt=3)
    assert (third.created, third.failed) == (2, 1)
    assert dead.dead().keys() == {dead.key(i) for i in (4, *range(7, DEAD))}
    assert read_marker(dead.folder.retry_result(1), RetryResult) == first
    assert read_marker(dead.folder.retry_result(2), RetryResult) == second
    dead.require_sound(attempts=3)


@pytest.mark.parametrize("arm", [after_create, before_close, results])
def test_the_same_command_goes_on_with_an_attempt_that_was_killed(
    dead: Items, tmp_path: Path, arm: Callable[[Items], Reached]
) -> None:
    file = tmp_path / "corrected.csv"
    file.write_bytes(as_csv(corrected(dead, 4)))
    reached = arm(dead)
    kill_when(dead.command(n=0, corrected=file, stalls=True), reached)
    dead.org.disarm()
    assert sent_again(dead, file).created == 4
    dead.require_sound(attempts=1)


def test_another_file_does_not_take_over_an_attempt_under_way(dead: Items, tmp_path: Path) -> None:
    first, other = tmp_path / "first.csv", tmp_path / "other.csv"
    first.write_bytes(as_csv(corrected(dead, 4)))
    other.write_bytes(as_csv(corrected(dead, 5)))
    assert open_attempt(dead.folder, dead.table, first) == 1
    with pytest.raises(StagingError, match="attempt 1 is under way"):
        open_attempt(dead.folder, dead.table, other)
    assert open_attempt(dead.folder, dead.table, first) == 1
    assert open_attempt(dead.folder, dead.table, None) == 1


def test_an_attempt_that_was_killed_before_its_marker_sends_nothing_again(
    dead: Items, tmp_path: Path
) -> None:
    file = tmp_path / "corrected.csv"
    rows = corrected(dead, 4)
    rows[3] |= {"Short__c": LONG}
    dead.staged[rows[3]["External_ID__c"]]["Short__c"] = LONG
    file.write_bytes(as_csv(rows))
    process = start(dead.command(n=0, corrected=file))
    assert process.pid is not None
    stall(dead.folder.retry_result(1), process.pid)
    wait_for(dead.folder.dead_retry(1).exists)
    kill(process)
    before = len(dead.org.log())
    result = sent_again(dead, file)
    assert (result.created, result.failed) == (3, 1)
    assert {e["kind"] for e in dead.org.log(before)} <= {"token"}
    dead.require_sound(attempts=1)
