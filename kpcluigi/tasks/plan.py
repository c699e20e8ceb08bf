"""PlanChunks: a table's boundaries, at the start of its phase."""

from __future__ import annotations

from collections.abc import Iterator

import luigi

from kpcluigi.markers import Plan
from kpcluigi.oracle import plan_chunks
from kpcluigi.staging import read_marker, write_marker
from kpcluigi.tasks.oracle import OracleSession, OracleTask
from kpcluigi.tasks.preflight import this_preflight


class PlanChunks(OracleTask):
    """One pass over the key: boundaries and rows per chunk, at one SCN."""

    stage = "plan"
    priority = 50

    def requires(self) -> Iterator[luigi.Task]:
        from kpcluigi.tasks.load import LoadTable  # the phases close a circle: load needs plan

        yield this_preflight(self)
        earlier = [t for t in self.selected.values() if t.phase < self.mapping.phase]
        last = max((t.phase for t in earlier), default=0)
        for table in earlier:
            if table.phase == last:
                yield LoadTable(table=table.name, **self.run_parameters)

    def complete(self) -> bool:
        return read_marker(self.folder.plan, Plan) is not None

    def run(self) -> None:
        def plan(session: OracleSession) -> Plan:
            return plan_chunks(session.connection, session.source, fingerprint=self.fingerprint)

        plan_made = self.at_a_snapshot(lambda: self.with_oracle("plan", plan))
        write_marker(self.folder.plan, plan_made)
        self.progress().tell(f"{plan_made.rows:,} rows in {len(plan_made.chunks)} chunks", 1)
