"""Reading Oracle: connect, plan chunks, stream a chunk, totals. Knows no Luigi and no Salesforce.

    with connect(login, module="notebook") as connection:
        source = describe_source(connection, owner="TMS", table=tables["KPS_T_SALES_MD"])
        plan = plan_chunks(connection, source, window)
        for frame in read_chunk(connection, source, window, plan.chunks[0], scn=plan.scn):
            ...

Importing this package opens nothing and changes nothing in the process.
"""

from kpcluigi.oracle.chunk import read_chunk
from kpcluigi.oracle.connection import connect, retrying
from kpcluigi.oracle.plan import plan_chunks
from kpcluigi.oracle.source import Source, Window, describe_source
from kpcluigi.oracle.totals import read_totals

__all__ = [
    "Source",
    "Window",
    "connect",
    "describe_source",
    "plan_chunks",
    "read_chunk",
    "read_totals",
    "retrying",
]
