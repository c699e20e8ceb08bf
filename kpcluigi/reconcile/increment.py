"""A table of an incremental run: every row that it carried is in the org as it was sent.

Ranges and sums cannot tell: most of the rows of a day's increment were in the org before it, and
rows of the same days are left alone. So each row is looked up by its key: a few thousand by SOQL,
more by one query job for all that was changed since the load began.
"""

from __future__ import annotations

import time

from kpcluigi.errors import StagingError
from kpcluigi.markers import Reconciled
from kpcluigi.oracle.source import source_of
from kpcluigi.reconcile.aggregates import Asking
from kpcluigi.reconcile.alike import key_of
from kpcluigi.reconcile.ends import Ends, fields_of
from kpcluigi.reconcile.ledger import NAMED, marker
from kpcluigi.reconcile.rows import RowComparison
from kpcluigi.reconcile.sample import sample_against_sent, sampled_rows
from kpcluigi.reconcile.spans import Days, Range, Span
from kpcluigi.reconcile.staged import Sent
from kpcluigi.reconcile.verdict import Findings
from kpcluigi.salesforce import describe
from kpcluigi.staging import reextract_command

COUNTED = "every key that was carried"


def reconcile_increment(ends: Ends) -> Reconciled:
    """Compare the rows that were carried, and the sampled ones with Oracle.

    Raises:
        StagingError: the rows are no longer there to be compared.
        SalesforceError: the org refused, or did not answer.
    """
    started = time.monotonic()
    table, totals = ends.table, ends.totals
    source = source_of(
        totals.columns or ends.plan.columns, owner=ends.plan.owner, table=table, window=ends.window
    )
    asking = Asking(ends.client)
    asking.requests += 1
    described = describe(ends.client, table.object)
    key, fields = key_of(table, described), fields_of(asking, table, described)
    sent = Sent(ends.folder, table, ends.loads, ends.file_of, partition=None)
    if gone := sent.missing_files():
        raise StagingError(
            f"{ends.folder.chunk_file(gone[0])} is gone, so that the rows that were sent cannot be "
            f"looked up in the org; have it extracted again with: "
            f"{reextract_command(ends.folder, '--chunk', str(gone[0]), '--loaded')}, and run the "
            f"same command again"
        )
    sampled = sampled_rows(
        asking, source, totals, ends.folder, key, fields, last_sent=sent.last_sent()
    )
    days = [day.day for day in totals.ranges]
    whole = Days.fromiso(days[0], days[-1], totals.ranges) if days else None
    comparison = RowComparison(
        ends.client,
        table,
        sent,
        ranges=[Range(whole, Span(""))] if whole else [],
        measures=[],
        key=key,
        fields=fields,
        rules=ends.rules,
        tell=ends.tell,
    )
    rows, named = comparison.run_by_key()
    there = rows.identical + rows.modified + rows.changed_since + rows.trimmed
    findings = Findings(
        table=table,
        compared=[],
        counted_by=COUNTED,
        in_org=there,
        sampled=sampled,
        rows=rows,
        contradictions=sample_against_sent(sampled, ends.folder, key),
        asked_for_rows=True,
    )
    result = marker(
        table,
        ends.plan,
        totals,
        ends.loads,
        in_org=there,
        checks=findings.checks(ends.plan, totals, ends.loads),
    )
    return result.model_copy(
        update={
            "counted_by": COUNTED,
            "sampled": sampled.rows,
            "sample_checksum": sampled.checksum,
            "rows": rows,
            "differences": [*named, *sampled.differences][:NAMED],
            "accepted": findings.accepted(ends.loads),
            "requests": asking.requests,
            "seconds": round(time.monotonic() - started, 3),
        }
    )
