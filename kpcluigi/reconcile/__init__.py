"""Comparing what Oracle had, what was loaded, and what the org holds.

    table.py       a table of a full run, level after level; increment.py one of an incremental run:
                   every row that it carried; ends.py what both are given
    spans.py       the window in pieces that Salesforce can be asked for
    measures.py    what is compared of a piece, as exact values
    expected.py    what the org should hold of it
    aggregates.py  levels 1, 2 and 5: what it holds
    sample.py      level 3: sampled rows, field by field
    records.py     records by their keys
    alike.py       one form for one value on both sides
    rows.py        level 4: row by row; queryjobs.py the org's side, staged.py what was sent,
                   deal.py the files of both, named.py those that name what differs
    verdict.py     what the levels together say
    ledger.py      Oracle's count and the ledger of the loads; the marker

Knows no Luigi.
"""

from kpcluigi.reconcile.ends import Ends
from kpcluigi.reconcile.increment import reconcile_increment
from kpcluigi.reconcile.queryjobs import QueryRules
from kpcluigi.reconcile.table import reconcile_table

__all__ = ["Ends", "QueryRules", "reconcile_increment", "reconcile_table"]
