"""Reading Oracle: connect, plan chunks, stream a chunk, totals. Knows no Luigi and no Salesforce.

    with connect(login, module="notebook") as connection:
        window = Window(date(2022, 1, 1), date(2024, 12, 31))
        source = describe_source(connection, owner="TMS", table=table, window=window)
        plan = plan_chunks(connection, source, fingerprint="")
        for frame in read_chunk(connection, source, plan.chunks[0], scn=plan.scn):
            ...

Importing this package opens nothing and changes nothing in the process.
"""

from kpcluigi.oracle.chunk import count_chunk, read_chunk
from kpcluigi.oracle.connection import connect, retrying
from kpcluigi.oracle.plan import plan_chunks
from kpcluigi.oracle.snapshot import Snapshot, take_snapshot
from kpcluigi.oracle.source import Source, describe_source
from kpcluigi.oracle.totals import read_totals
from kpcluigi.oracle.window import DEFAULT_WINDOW, AnyWindow, Increment, Window

__all__ = [
    "DEFAULT_WINDOW",
    "AnyWindow",
    "Increment",
    "Snapshot",
    "Source",
    "Window",
    "connect",
    "count_chunk",
    "describe_source",
    "plan_chunks",
    "read_chunk",
    "read_totals",
    "retrying",
    "take_snapshot",
]
