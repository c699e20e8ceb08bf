"""ExtractChunk: exactly the rows of one planned chunk, as Salesforce will read them."""

from __future__ import annotations

import luigi

from kpcluigi import settings
from kpcluigi.errors import SnapshotLostError
from kpcluigi.extract import extract_chunk
from kpcluigi.markers import Chunk, ChunkManifest, Plan, Reread
from kpcluigi.oracle import count_chunk, take_snapshot
from kpcluigi.staging import read_marker, write_marker
from kpcluigi.tasks.oracle import OracleSession, OracleTask
from kpcluigi.tasks.plan import PlanChunks


class ExtractChunk(OracleTask):
    """Oracle to `chunks/0000n.csv.gz` and its manifest."""

    n = luigi.IntParameter(description="Number of the chunk in plan.json.")

    stage = "extract"
    priority = 20

    @property
    def chunk_number(self) -> int:
        return int(self.n)

    def requires(self) -> luigi.Task:
        return PlanChunks(**self.table_parameters)

    def complete(self) -> bool:
        """Both files are there and are the plan's, or the chunk is loaded and they may be gone."""
        folder = self.folder
        if folder.load_result(self.n).exists():
            return True
        manifest = read_marker(folder.chunk_manifest(self.n), ChunkManifest)
        plan = read_marker(folder.plan, Plan)
        return (
            manifest is not None
            and plan is not None
            and (manifest.fingerprint, manifest.scn) == (plan.fingerprint, plan.scn_of(self.n))
            and folder.chunk_file(self.n).exists()
        )

    def run(self) -> None:
        with self.folder.chunk_lock(self.n):
            if self.complete():
                return  # another process finished it since this task was scheduled
            try:
                self._extract()
            except SnapshotLostError as lost:
                reason = str(lost.__cause__)
                self.at_a_snapshot(lambda: self._extract_at_new_snapshot(reason))

    def _extract(self) -> None:
        plan = self.plan()
        rows = max(1, plan.rows_of(self.n))
        progress = self.progress()
        floor = int(settings.staging().min_free_gb * 1e9)

        def extract(session: OracleSession) -> ChunkManifest:
            return extract_chunk(
                session.connection,
                session.source,
                plan,
                plan.chunks[self.n - 1],
                self.folder,
                min_free_bytes=floor,
                tell=lambda read: progress.tell(
                    f"{read:,} of {rows:,} rows", min(1.0, read / rows)
                ),
            )

        self.with_oracle(f"extract {self.n}", extract)

    def _extract_at_new_snapshot(self, reason: str) -> None:
        """The plan's SCN is gone: count the chunk at a new one, note that in the plan, read it."""

        def recount(session: OracleSession) -> Chunk:
            chunk: Chunk = self.plan().chunks[self.n - 1]
            snapshot = take_snapshot(session.connection, session.source)
            rows = count_chunk(session.connection, session.source, chunk, scn=snapshot.scn)
            reread = Reread(scn=snapshot.scn, snapshot_at=snapshot.at, reason=reason)
            return chunk.model_copy(update={"rows": rows, "reread": reread})

        self.progress().tell("at a new snapshot: the plan's can no longer be read")
        counted = self.with_oracle(f"recount {self.n}", recount)
        with self.folder.plan_lock():
            write_marker(self.folder.plan, self.plan().with_chunk(counted))
        self._extract()
