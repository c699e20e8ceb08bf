"""Sending dead-lettered rows again: as they are, or as somebody corrected them.

An attempt has its rows in a file of its own, is loaded like a chunk, and leaves a marker that is
never overwritten: the attempts are the history. The dead letter holds, before and after, exactly
the rows that are not in Salesforce.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from kpcluigi.chunkfile import writing
from kpcluigi.csvframes import header_line, read_frames
from kpcluigi.errors import StagingError
from kpcluigi.fields.text import FIELD_CHARACTERS
from kpcluigi.load.attempt import AttemptFiles, AttemptLoad, sha256_of
from kpcluigi.load.chunk import forget_journal
from kpcluigi.load.results import KeySet
from kpcluigi.load.row_errors import ERROR
from kpcluigi.load.settle import write_rows
from kpcluigi.markers import RetryResult, RetrySource
from kpcluigi.staging import TableFolder, read_marker, write_marker
from kpcluigi.tables import Table
from kpcluigi.transform import RECORD_CHARACTERS

REJECTED = ".rejected.csv.gz"
"""Ending of files of rows that were refused before the upload: as they are, they cannot be sent."""
_FRAME = 10_000
_NAMED = 5
_EXTRA = ("sf__Error", "sf__Id")
"""Columns of a dead letter, or of Salesforce's results, that a corrected file may still have."""


def under_way(folder: TableFolder) -> int | None:
    """The attempt that an earlier run left unfinished."""
    for attempt in folder.attempts[-1:]:
        if read_marker(folder.retry_result(attempt), RetryResult) is None:
            return attempt
    return None


def open_attempt(
    folder: TableFolder, table: Table, corrected: Path | None, *, invocation: str = ""
) -> int | None:
    """Begin an attempt, or take up the one under way; None where no row is to be sent.

    Args:
        invocation: the start of the command, which begins one attempt; empty: any number.
        corrected: a CSV, plain or gzip, with the header of the table's dead letter; only its rows
            are sent. None: every dead-lettered row that Salesforce refused, as it is.

    Raises:
        StagingError: the corrected file is not what it should be; all that is wrong is named.
    """
    attempt = under_way(folder)
    if attempt is not None:
        source = read_marker(folder.retry_source(attempt), RetrySource)
        begun_with = "" if source is None else source.corrected_sha256
        if corrected is not None and sha256_of(corrected) != begun_with:
            raise StagingError(
                f"{table.name}: attempt {attempt} is under way with other rows than those of "
                f"{corrected}; finish it first, with the same command without --corrected"
            )
        if source is not None:
            taken_up = source.model_copy(update={"invocation": invocation})
            write_marker(folder.retry_source(attempt), taken_up)
        return attempt
    for last in folder.attempts[-1:]:
        source = read_marker(folder.retry_source(last), RetrySource)
        if source is not None and invocation and source.invocation == invocation:
            return None  # Luigi runs a task again when what it asked for on the way is done
    attempt = len(folder.attempts) + 1
    begun_with = ""
    if corrected is None:
        frames = _as_they_are(folder, table)
    else:
        begun_with = sha256_of(corrected)
        dead = KeySet(_keys_of(folder, table))
        frames = _corrected(corrected, table, dead)
    folder.retry_before(attempt).unlink(missing_ok=True)
    header = header_line(table.fields)
    with writing(folder.retry_file(attempt), header) as writer:
        for frame in frames:
            # Null would become #N/A, which empties a field; an empty value leaves it alone
            writer.add(frame.fill_null(""))
        written = writer.close()
    if not written.rows:
        folder.retry_file(attempt).unlink()
        if corrected is not None:
            raise StagingError(f"{corrected} has no rows; nothing was sent")
        return None
    if corrected is not None:
        _keep_as_before(folder, table, attempt)
    write_marker(
        folder.retry_source(attempt),
        RetrySource(
            table=table.name,
            attempt=attempt,
            rows=written.rows,
            invocation=invocation,
            corrected="" if corrected is None else corrected.name,
            corrected_sha256=begun_with,
            raw_bytes=written.raw_bytes,
            sha256=written.sha256,
            header_bytes=written.header_bytes,
            cuts=written.cuts,
        ),
    )
    return attempt


def _keep_as_before(folder: TableFolder, table: Table, attempt: int) -> None:
    """The dead-lettered rows that an attempt corrects, as they are without it."""
    key, columns = table.external_id, [ERROR, *table.fields]
    sent = KeySet(frame[key] for frame in read_frames(folder.retry_file(attempt), [key]))
    frames = (
        frame.filter(sent.has(frame[key]))
        for path in folder.settled_dead_letters
        for frame in read_frames(path, columns)
    )
    write_rows(folder.retry_before(attempt), columns, frames)


def _as_they_are(folder: TableFolder, table: Table) -> Iterator[pl.DataFrame]:
    for path in folder.settled_dead_letters:
        if not path.name.endswith(REJECTED):
            yield from read_frames(path, table.fields)


def _keys_of(folder: TableFolder, table: Table) -> Iterator[pl.Series]:
    for path in folder.settled_dead_letters:
        for frame in read_frames(path, [table.external_id]):
            yield frame[table.external_id]


def _corrected(path: Path, table: Table, dead: KeySet) -> Iterator[pl.DataFrame]:
    """The rows of a corrected file, as spreadsheets write them too: BOM, CRLF, plain or gzip."""
    key = table.external_id
    seen: set[str] = set()
    faults: list[str] = []
    try:
        raw = path.open("rb")
    except OSError as error:
        raise StagingError(f"{path} cannot be read: {error.strerror}") from None
    with raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = gzip.open(raw) if packed else raw  # noqa: SIM115  # closed with `raw`
        text = io.TextIOWrapper(stream, "utf-8-sig", newline="")
        try:
            rows = csv.DictReader(text, strict=True)
            _require_header(path, table, rows.fieldnames or [])
            held: list[dict[str, str]] = []
            for row in rows:
                fault = _fault_of(row, key, seen)
                if fault:
                    faults.append(f"line {rows.line_num}: {fault}")
                    continue
                seen.add(row[key])
                held.append({name: row[name] for name in table.fields})
                if len(held) == _FRAME:
                    yield _known(held, key, dead, faults)
                    held = []
            if held:
                yield _known(held, key, dead, faults)
        except (UnicodeDecodeError, csv.Error, OSError, EOFError, zlib.error) as error:
            raise StagingError(f"{path} is no CSV in UTF-8: {error}; nothing was sent") from None
    if faults:
        more = f" (and {len(faults) - _NAMED} more)" if len(faults) > _NAMED else ""
        raise StagingError(f"{path}: nothing was sent: {'; '.join(faults[:_NAMED])}{more}")


def _require_header(path: Path, table: Table, header: object) -> None:
    names = list(header) if isinstance(header, list | tuple) else []
    missing = [name for name in table.fields if name not in names]
    unknown = [name for name in names if name not in (*table.fields, *_EXTRA)]
    twice = sorted({name for name in names if names.count(name) > 1})
    faults = [
        f"{what} {', '.join(found)}"
        for what, found in (
            ("it lacks the column", missing),
            ("it has the unknown column", unknown),
            ("it has twice the column", twice),
        )
        if found
    ]
    if faults:
        raise StagingError(
            f"{path}: nothing was sent: {'; '.join(faults)}. Its header is to be that of the dead "
            f"letter: {','.join(table.fields)}"
        )


def _fault_of(row: dict[str, str], key: str, seen: set[str]) -> str:
    if None in row or None in row.values():
        return "it has more or fewer values than the header"
    if not row[key].strip():
        return f"{key} is empty"
    if any(len(value) > FIELD_CHARACTERS for value in row.values()):
        return f"a value is longer than {FIELD_CHARACTERS:,} characters"
    if sum(map(len, row.values())) > RECORD_CHARACTERS:
        return f"the record is longer than {RECORD_CHARACTERS:,} characters"
    if row[key] in seen:
        return f"{key} {row[key]} stands there twice"
    return ""


def _known(rows: list[dict[str, str]], key: str, dead: KeySet, faults: list[str]) -> pl.DataFrame:
    """The rows as a frame; those that are not dead-lettered are noted as faults."""
    frame = pl.DataFrame(rows)
    unknown = frame.filter(~dead.has(frame[key]))
    faults.extend(f"{key} {value} is not in the dead letter" for value in unknown[key])
    return frame


class RetryLoad(AttemptLoad):
    """One attempt; the rows that arrived leave the dead letter."""

    def run(self) -> RetryResult:
        folder, attempt = self.folder, self.attempt
        files = AttemptFiles(
            title=f"{self.table.name} attempt {attempt}",
            begun=folder.retry_source(attempt),
            path=folder.retry_file(attempt),
            journal=folder.retry_journal(attempt),
            again=folder.retry_again(attempt),
            dead=folder.dead_retry(attempt),
            blanked=folder.retry_blanked(attempt),
        )
        source = self.source(files, RetrySource)
        result = RetryResult(corrected=source.corrected, **self.send(files, source))
        self._leave_out_of_the_dead_letter()
        write_marker(folder.retry_result(attempt), result)
        forget_journal(files.journal, files.again)
        return result

    def _leave_out_of_the_dead_letter(self) -> None:
        """The attempt's rows leave the older files: they arrived, or are in the attempt's own."""
        key = self.table.external_id
        sent = KeySet(
            frame[key] for frame in read_frames(self.folder.retry_file(self.attempt), [key])
        )
        for path in self.folder.settled_dead_letters:
            if path == self.folder.dead_retry(self.attempt):
                continue
            frames = (frame.filter(~sent.has(frame[key])) for frame in read_frames(path))
            left = write_rows(path, [ERROR, *self.table.fields], frames)
            if not left.rows:
                path.unlink()
