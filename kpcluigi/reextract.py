"""Having chunks extracted again: after a change of the mapping, or of a chunk file."""

from __future__ import annotations

from dataclasses import dataclass

from kpcluigi.errors import StagingError
from kpcluigi.markers import Plan
from kpcluigi.staging import TableFolder, read_marker, write_marker
from kpcluigi.tables import Table


@dataclass(frozen=True)
class Removed:
    """What the next run will do again."""

    chunks: list[int]
    plan: bool


def reextract(
    folder: TableFolder, table: Table, fingerprint: str, *, chunk: int | None = None
) -> Removed:
    """Remove the files of chunks that are not loaded, so that the next run extracts them again.

    Loaded chunks are never touched. Where nothing is loaded yet, and no single chunk is asked for,
    the plan goes too; otherwise it is kept, and its fingerprint becomes that of today's mapping.

    Raises:
        StagingError: there is no plan, no such chunk, the chunk is loaded, or the key changed while
            some chunks are loaded already.
    """
    plan = read_marker(folder.plan, Plan)
    if plan is None:
        raise StagingError(f"{table.name} has no plan in {folder.path}: there is nothing to redo")
    numbers = [c.n for c in plan.chunks]
    loaded = [n for n in numbers if folder.load_result(n).exists()]
    if chunk is not None and chunk not in numbers:
        raise StagingError(f"{table.name} has chunks 1 to {len(numbers)}, not {chunk}")
    if chunk in loaded:
        raise StagingError(
            f"{table.name} chunk {chunk} is loaded ({folder.load_result(chunk)}); "
            f"its file is not needed any more"
        )
    if loaded and plan.key != list(table.key):
        raise StagingError(
            f"{table.name}: its key was {', '.join(plan.key)} when {len(loaded)} chunks were "
            f"loaded; restore that key in tables.toml to finish it"
        )
    again = [n for n in numbers if n not in loaded] if chunk is None else [chunk]
    for n in again:
        with folder.chunk_lock(n):
            for path in (folder.chunk_manifest(n), folder.chunk_file(n), folder.rejected_rows(n)):
                path.unlink(missing_ok=True)
    drop_plan = not loaded and chunk is None
    if drop_plan:
        folder.plan.unlink()
    elif plan.fingerprint != fingerprint:
        write_marker(folder.plan, plan.model_copy(update={"fingerprint": fingerprint}))
    if again:
        folder.source_totals.unlink(missing_ok=True)
        folder.reconciled.unlink(missing_ok=True)
    return Removed(chunks=again, plan=drop_plan)
