"""SourceTotals: what Oracle says of the whole table, straight after its last chunk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import luigi

from kpcluigi.markers import SourceTotals as SourceTotalsMarker
from kpcluigi.oracle import read_totals
from kpcluigi.staging import read_marker, write_marker
from kpcluigi.tasks.extract import ExtractChunk
from kpcluigi.tasks.oracle import OracleTask
from kpcluigi.tasks.plan import PlanChunks
from kpcluigi.tasks.preflight import this_preflight


class SourceTotals(OracleTask):
    """Read at the plan's SCN, so that reconciling days later needs no Oracle."""

    stage = "totals"
    priority = 10

    def requires(self) -> Iterator[luigi.Task]:
        yield this_preflight(self)
        yield PlanChunks(**self.table_parameters)

    def complete(self) -> bool:
        return read_marker(self.folder.source_totals, SourceTotalsMarker) is not None

    def run(self) -> Iterator[Any]:
        plan = self.plan()
        yield [ExtractChunk(n=chunk.n, **self.table_parameters) for chunk in plan.chunks]
        totals = self.with_oracle(
            "totals",
            lambda session: read_totals(
                session.connection, session.source, self.window, scn=plan.scn
            ),
        )
        write_marker(self.folder.source_totals, totals)
