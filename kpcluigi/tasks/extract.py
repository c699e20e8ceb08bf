"""ExtractChunk: exactly the rows of one planned chunk, as Salesforce will read them."""

from __future__ import annotations

import luigi

from kpcluigi import settings
from kpcluigi.extract import extract_chunk
from kpcluigi.markers import ChunkManifest, Plan
from kpcluigi.staging import read_marker
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
            and (manifest.fingerprint, manifest.scn) == (plan.fingerprint, plan.scn)
            and folder.chunk_file(self.n).exists()
        )

    def run(self) -> None:
        plan = self.plan()
        chunk = plan.chunks[self.n - 1]
        progress = self.progress()
        floor = int(settings.staging().min_free_gb * 1e9)

        def extract(session: OracleSession) -> ChunkManifest:
            return extract_chunk(
                session.connection,
                session.source,
                self.window,
                plan,
                chunk,
                self.folder,
                min_free_bytes=floor,
                tell=lambda rows: progress.tell(
                    f"{rows:,} of {chunk.rows:,} rows", min(1.0, rows / max(1, chunk.rows))
                ),
            )

        with self.folder.chunk_lock(self.n):
            if self.complete():
                return  # another process finished it since this task was scheduled
            self.with_oracle(f"extract {self.n}", extract)
