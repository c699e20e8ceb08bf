"""Loading a chunk in a test: the shipped loader, with short waits and an open gate."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from kpcluigi.load import ChunkLoad, Compression, LoadRules
from kpcluigi.markers import ChunkManifest, LoadResult
from kpcluigi.salesforce import Client
from kpcluigi.staging import RunFolder
from kpcluigi.tables import Table

RULES = LoadRules(
    max_file_size=100_000_000,
    poll_interval=0.02,
    poll_interval_max=0.1,
    job_timeout=60,
    retries=3,
)


class OpenGate:
    """An allocation that is never used up."""

    def __init__(self) -> None:
        self.exceeded: list[str] = []

    def admit(
        self, rows: int, claim: Callable[[datetime], None], tell: Callable[[str], None]
    ) -> None:
        claim(datetime.now(UTC))

    def note_exceeded(self, reason: str, tell: Callable[[str], None]) -> None:
        self.exceeded.append(reason)


def load_chunk(
    client: Client, table: Table, manifest: ChunkManifest, run: RunFolder, **options: Any
) -> LoadResult:
    """Load a chunk of a run; `options` replace what `ChunkLoad` is given."""
    given: dict[str, Any] = {
        "client": client,
        "table": table,
        "manifest": manifest,
        "folder": run.table(table.name),
        "logs": run.job_logs,
        "rules": RULES,
        "compression": Compression(run.gzip_verdict, wanted=False),
        "gate": OpenGate(),
        "may_send": lambda: None,
        "stage": lambda stage: None,
        "tell": lambda line, share, job_id: None,
    }
    return ChunkLoad(**{**given, **options}).run()
