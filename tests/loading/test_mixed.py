"""All faults together, each at 5 % of the occasions: nothing is lost, nothing is doubled."""

from __future__ import annotations

from tests.loading.process import finish
from tests.loading.staged import Items

CHUNKS = 8
SHARE = 0.05
FAULTS: tuple[dict[str, object], ...] = (
    {"on": "any", "status": 429},
    {"on": "any", "status": 500},
    {"on": "any", "status": 503},
    {"on": "any", "status": 401, "match": "jobs"},
    {"on": "any", "reset": True},
    {"on": "any", "reset": True, "processed": True},
    {"on": "any", "delay": 0.05},
    {"on": "upload", "reset": True, "after_bytes": 100},
    {"on": "results", "reset": True, "after_bytes": 100},
    {"on": "job", "job_state": "Failed", "message": "TooManyLockFailure : 200"},
    {"on": "job", "job_state": "Failed", "after_batches": 1, "message": "Unknown : later"},
    {"on": "job", "job_state": "Aborted", "after_batches": 1},
    {"on": "row", "row_error": "UNABLE_TO_LOCK_ROW:locked:--"},
    {"on": "row", "row_error": "FIELD_CUSTOM_VALIDATION_EXCEPTION:not today:--"},
)


def test_three_runs_get_past_all_faults(items: Items) -> None:
    for n in range(1, CHUNKS + 1):
        items.stage(items.rows(100 * n, 100 * n + 20), n=n, per_job=10)
    for seed, fault in enumerate(FAULTS):
        items.org.arm(**fault, share=SHARE, seed=seed)
    left = set(range(1, CHUNKS + 1))
    runs = 0
    while left:
        runs += 1
        assert runs <= 3, f"chunks {left}: {items.command().said.read_text('utf-8')}"
        left -= {n for n in left if finish(items.command(n=n)) == 0}
    items.org.disarm()
    items.require_sound()
    assert items.dead(), "some rows were refused for good"
    assert items.org.stats()["jobs"] > 2 * CHUNKS
