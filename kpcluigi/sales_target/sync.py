"""One copy of the sales targets: everything between the first lock and the commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import oracledb
import sqlalchemy as sa

from kpcluigi.errors import MismatchError
from kpcluigi.sales_target.content import Content, Tally
from kpcluigi.sales_target.source import (
    OracleTable,
    check_source,
    read_rows,
    read_totals,
    settle_sums,
    snapshot,
)
from kpcluigi.sales_target.target import PostgresTable, replacing

Show = Callable[[str], None]


@dataclass(frozen=True)
class Synced:
    """What was copied. `bytes` is what COPY was sent, `notes` what the operator should know."""

    content: Content
    batches: int
    bytes: int
    notes: tuple[str, ...]


def sync(
    open_oracle: Callable[[], AbstractContextManager[oracledb.Connection]],
    engine: sa.Engine,
    *,
    source: OracleTable,
    target: PostgresTable,
    batch_rows: int = 10_000,
    lock_timeout: float = 600,
    tell: Callable[[str, float], None] = lambda line, share: None,
    show: Show = lambda statement: None,
    is_needed: Callable[[], bool] = lambda: True,
) -> Synced | None:
    """Make `target` equal to `source`, or leave it as it was.

    Oracle is opened only when the lock on the target is held, so that of two runs the later has
    the later snapshot.

    Args:
        open_oracle: a session that is closed at the end of the block.
        lock_timeout: seconds to wait for another run, and for locks on the target.
        tell: receives a line, and how much is done (0 to 1).
        show: receives each statement before it is sent.
        is_needed: asked once the lock is held: another run may have done it meanwhile.

    Returns:
        None where it was not needed.
    Raises:
        MismatchError: source, staged and final rows are not the same; it was rolled back.
        OracleError, PostgresError: the tables are not as they should be.
        oracledb.Error, sqlalchemy.exc.SQLAlchemyError, psycopg.Error, OSError: an end failed.
    """
    with replacing(engine, target, show=show, tell=lambda line: tell(line, 0)) as replacement:
        replacement.take_lock(lock_timeout)
        if not is_needed():
            return None
        tally = Tally()
        batches = sent = 0
        with open_oracle() as oracle:
            further = check_source(oracle, source, show)
            replacement.make_table()
            with snapshot(oracle, show):
                counted = read_totals(oracle, source, show)

                def lines() -> Iterator[bytes]:
                    nonlocal batches, sent
                    started = time.monotonic()
                    for batch in read_rows(oracle, source, batch_rows=batch_rows, show=show):
                        data = tally.add(batch)
                        batches += 1
                        sent += len(data)
                        rows = tally.content.rows
                        speed = rows / max(time.monotonic() - started, 1e-3)
                        tell(
                            f"{rows:,} of {counted.rows:,} rows read, {batches:,} batches, "
                            f"{speed:,.0f} rows/s",
                            0.7 * rows / max(counted.rows, 1),
                        )
                        yield data

                replacement.stage(lines())
                counted = settle_sums(oracle, source, counted, tally, show)
        read = tally.content
        _compare(target, f"Oracle's own totals of {source}", counted, "the rows read", read)
        tell(f"{read.rows:,} rows staged; comparing", 0.7)
        _compare(target, "the rows read", read, "the staged rows", replacement.staged())
        tell(f"replacing the rows of {target}", 0.8)
        _compare(target, "the rows read", read, f"the rows now in {target}", replacement.replace())
        notes = (f"{source} also has {', '.join(further)}; not copied",) if further else ()
    return Synced(read, batches, sent, notes)


def _compare(
    target: PostgresTable, one: str, expected: Content, other: str, found: Content
) -> None:
    """Raises `MismatchError` with all that differs."""
    if differences := expected.differences(found):
        raise MismatchError(
            f"{target} was left as it was: {other} are not {one}. "
            f"{'; '.join(differences)} (expected / found). Run the same command again; where it "
            f"comes back, see README, Troubleshooting"
        )
