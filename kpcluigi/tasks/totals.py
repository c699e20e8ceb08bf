"""SourceTotals: what Oracle says of the whole table, straight after its last chunk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import luigi

from kpcluigi import settings
from kpcluigi.errors import RowCountError, SnapshotLostError
from kpcluigi.markers import ChunkManifest, LoadResult, Plan
from kpcluigi.markers import SourceTotals as SourceTotalsMarker
from kpcluigi.oracle import read_totals, take_snapshot
from kpcluigi.oracle.strata import stratum_by_chunk
from kpcluigi.staging import read_marker, reextract_command, write_marker
from kpcluigi.tasks.extract import ExtractChunk
from kpcluigi.tasks.oracle import OracleSession, OracleTask
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
        """They are there, and not of an earlier plan."""
        totals = read_marker(self.folder.source_totals, SourceTotalsMarker)
        plan = read_marker(self.folder.plan, Plan)
        return totals is not None and plan is not None and totals.written_at >= plan.written_at

    def run(self) -> Iterator[Any]:
        plan = self.plan()
        yield [ExtractChunk(n=chunk.n, **self.table_parameters) for chunk in plan.chunks]
        plan = self.plan()  # a chunk may have been given a snapshot of its own
        try:
            totals = self.with_oracle("totals", lambda session: self._read(session, plan.scn))
        except SnapshotLostError:
            totals = self.at_a_snapshot(
                lambda: self.with_oracle("totals", self._read_at_new_snapshot)
            )
        self._compare(plan, totals)
        write_marker(self.folder.source_totals, totals)
        self.progress().tell(f"{totals.rows:,} rows, {len(totals.sample):,} of them sampled", 1)

    def _read(self, session: OracleSession, scn: int | None, *notes: str) -> SourceTotalsMarker:
        plan, rules = self.plan(), settings.migration()
        return read_totals(
            session.connection,
            session.source,
            scn=scn,
            rows=plan.rows,
            sample_rows=rules.sample_rows,
            seed=rules.sample_seed,
            strata=len(plan.chunks),
            stratum_of=stratum_by_chunk(plan),
            notes=notes,
        )

    def _read_at_new_snapshot(self, session: OracleSession) -> SourceTotalsMarker:
        scn = take_snapshot(session.connection, session.source).scn
        note = f"totals read at SCN {scn}: the plan's could no longer be read"
        return self._read(session, scn, note)

    def _compare(self, plan: Plan, totals: SourceTotalsMarker) -> None:
        """Under one SCN the chunks together hold what Oracle counts, or a chunk is wrong."""
        extracted = sum(self._extracted(chunk.n) for chunk in plan.chunks)
        one_snapshot = plan.scn is not None and totals.scn == plan.scn and not plan.reread
        if one_snapshot and extracted != totals.rows:
            raise RowCountError(
                f"{self.table}: its {len(plan.chunks)} chunks hold {extracted:,} rows, but Oracle "
                f"counts {totals.rows:,} at the same SCN {plan.scn}. Start the table over with: "
                f"{reextract_command(self.folder, '--loaded')}, and run the same command again"
            )

    def _extracted(self, n: int) -> int:
        """What Oracle gave of chunk n, by its manifest or, once that is tidied away, its load."""
        manifest = read_marker(self.folder.chunk_manifest(n), ChunkManifest)
        if manifest is not None:
            return manifest.rows + manifest.rejected
        load = read_marker(self.folder.load_result(n), LoadResult)
        return load.extracted if load is not None else 0
