"""Sending rows again that the org does not have as they were sent.

Which they are, the last comparison of rows has named, in `differences/`; see
`kpcluigi.reconcile.named`. Records that the org has and Oracle has not are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from kpcluigi.chunkfile import writing
from kpcluigi.csvframes import header_line, read_frames
from kpcluigi.load.attempt import AttemptFiles, AttemptLoad
from kpcluigi.load.chunk import forget_journal
from kpcluigi.markers import Reconciled, RepairResult, RepairSource
from kpcluigi.staging import TableFolder, read_marker, write_marker
from kpcluigi.tables import Table


def repair_under_way(folder: TableFolder) -> int | None:
    """The repair that an earlier run left unfinished."""
    for attempt in folder.repaired[-1:]:
        if read_marker(folder.repair_result(attempt), RepairResult) is None:
            return attempt
    return None


def to_repair(folder: TableFolder, *, changed_too: bool) -> list[Path]:
    """The files of rows that a repair would send; none where nothing is to be repaired."""
    names = ["send_again", *(["changed_since"] if changed_too else [])]
    paths = [folder.differences / f"{name}.csv.gz" for name in names]
    return [path for path in paths if path.exists()]


def open_repair(
    folder: TableFolder, table: Table, *, changed_too: bool, invocation: str
) -> int | None:
    """Begin a repair, or take up the one under way; None where no row is to be sent.

    Args:
        changed_too: send rows as well that were changed in the org after they were loaded, and undo
            that change.
        invocation: the start of the command, which begins one repair.
    """
    attempt = repair_under_way(folder)
    if attempt is not None:
        return attempt
    for last in folder.repaired[-1:]:
        source = read_marker(folder.repair_source(last), RepairSource)
        if source is not None and source.invocation == invocation:
            return None  # Luigi runs a task again when what it asked for on the way is done
    reconciled = read_marker(folder.reconciled, Reconciled)
    if reconciled is None or reconciled.rows is None:
        return None
    attempt = len(folder.repaired) + 1
    with writing(folder.repair_file(attempt), header_line(table.fields)) as writer:
        for frame in _rows(to_repair(folder, changed_too=changed_too), table):
            # Null would become #N/A, which empties a field; an empty value leaves it alone
            writer.add(frame.fill_null(""))
        written = writer.close()
    if not written.rows:
        folder.repair_file(attempt).unlink()
        return None
    source = RepairSource(
        table=table.name,
        attempt=attempt,
        rows=written.rows,
        invocation=invocation,
        changed_too=changed_too,
        ranges=reconciled.rows.ranges,
        sha256=written.sha256,
        header_bytes=written.header_bytes,
        cuts=written.cuts,
    )
    write_marker(folder.repair_source(attempt), source)
    return attempt


def _rows(paths: list[Path], table: Table) -> Iterator[pl.DataFrame]:
    for path in paths:
        yield from read_frames(path, table.fields)


class RepairLoad(AttemptLoad):
    """One repair."""

    def run(self) -> RepairResult:
        folder, attempt = self.folder, self.attempt
        files = AttemptFiles(
            title=f"{self.table.name} repair {attempt}",
            begun=folder.repair_source(attempt),
            path=folder.repair_file(attempt),
            journal=folder.repair_journal(attempt),
            again=folder.repair_again(attempt),
            dead=folder.repair_dead(attempt),
            blanked=folder.repair_blanked(attempt),
        )
        source = self.source(files, RepairSource)
        result = RepairResult(changed_too=source.changed_too, **self.send(files, source))
        write_marker(folder.repair_result(attempt), result)
        forget_journal(files.journal, files.again)
        return result
