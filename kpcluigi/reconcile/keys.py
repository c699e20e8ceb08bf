"""An increment against the org: every key that it carried is there.

A count cannot tell: most of the rows of a day's increment were in the org before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

from kpcluigi.csvframes import read_frames
from kpcluigi.errors import StagingError
from kpcluigi.load import Standing
from kpcluigi.markers import Check, Plan, Reconciled, SourceTotals, Verdict
from kpcluigi.reconcile.ledger import ledger_checks, marker
from kpcluigi.salesforce import Client, query
from kpcluigi.staging import TableFolder, reextract_command
from kpcluigi.tables import Table

KEYS = 200
"""Keys per query at most."""
QUERY_BYTES = 12_000
"""Of a query's URL; Salesforce takes 16,384."""
NAMED = 5


def reconcile_increment(
    client: Client,
    table: Table,
    *,
    plan: Plan,
    totals: SourceTotals,
    loads: Standing,
    folder: TableFolder,
    tell: Callable[[str, float], None],
) -> Reconciled:
    """Ask the org for every external id of the chunk files; the dead-lettered ones may be missing.

    Args:
        tell: receives a line and the share done, 0 to 1.
    """
    carried = found = 0
    missing: list[str] = []
    dead = {key for path in folder.dead_letters for key in _external_ids(path, table)}
    for load in loads.finished:
        read = 0
        for batch in _batches(table, _external_ids(folder.chunk_file(load.n), table)):
            there = _in_org(client, table, batch)
            read += len(batch)
            carried += len(batch)
            found += len(there)
            missing += [key for key in batch if key not in there and key not in dead]
            tell(f"{carried:,} of {totals.rows:,} keys", carried / max(1, totals.rows))
        if read != load.extracted - load.rejected:
            raise StagingError(
                f"{folder.chunk_file(load.n)} holds {read:,} different keys of the "
                f"{load.extracted - load.rejected:,} that were sent, so that the org cannot be "
                f"asked for them; have it extracted again with: "
                f"{reextract_command(folder, '--chunk', str(load.n), '--loaded')}, and run the "
                f"same command again"
            )
    verdict: Verdict = "FAIL" if missing else "EXCEPTIONS" if loads.dead else "PASS"
    check = Check(
        level=1,
        name="carried keys in the org",
        verdict=verdict,
        expected=carried,
        found=found,
        detail=f"missing: {', '.join(missing[:NAMED])}" if missing else "",
    )
    checks = [*ledger_checks(plan, totals, loads), check]
    return marker(table, plan, totals, loads, in_org=found, checks=checks)


def _external_ids(path: Path, table: Table) -> Iterator[str]:
    """From a chunk file or a dead letter; none where there is no such file."""
    if not path.exists():
        return
    for frame in read_frames(path, [table.external_id]):
        for key in frame.to_series():
            yield _alike(table, key)


def _batches(table: Table, keys: Iterator[str]) -> Iterator[dict[str, str]]:
    """Keys that one query can ask for, each with its SOQL literal."""
    batch: dict[str, str] = {}
    size = 0
    for key in keys:
        literal = _literal(table, key)
        length = len(quote(literal)) + 3
        if batch and (len(batch) == KEYS or size + length > QUERY_BYTES):
            yield batch
            batch, size = {}, 0
        batch[key] = literal
        size += length
    if batch:
        yield batch


def _in_org(client: Client, table: Table, batch: dict[str, str]) -> set[str]:
    literals = ", ".join(batch.values())
    field = table.external_id
    soql = f"SELECT {field} FROM {table.object} WHERE {field} IN ({literals})"
    return {_alike(table, str(row[field])) for row in query(client, soql)}


def _literal(table: Table, key: str) -> str:
    if table.columns[table.external_id_column].type == "decimal":
        return key
    escaped = key.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"


def _alike(table: Table, key: str) -> str:
    """One text for one key: Salesforce matches texts in any case, trims them, writes 7 as 7.0."""
    if table.columns[table.external_id_column].type == "decimal":
        return f"{Decimal(key).normalize():f}"
    return key.strip().lower()
