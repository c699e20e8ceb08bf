"""kpcluigi: Oracle's tenant-sales history into Salesforce, provably complete.

This module is the front door of `luigi --module kpcluigi MigrateAll` (and of `SyncSalesTarget`):
where Luigi imports it, the tasks become known to Luigi. Where a library of it is imported without
Luigi, as in a notebook, they are left until one of them is named; they bring Luigi, the Oracle
driver and polars along.
"""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING or "luigi" in sys.modules:
    from kpcluigi.tasks import (
        BulkUpload,
        ExtractChunk,
        LoadTable,
        MigrateAll,
        PlanChunks,
        Preflight,
        Reconcile,
        Repair,
        RetryFailed,
        SourceTotals,
        SyncSalesTarget,
    )

__all__ = [
    "BulkUpload",
    "ExtractChunk",
    "LoadTable",
    "MigrateAll",
    "PlanChunks",
    "Preflight",
    "Reconcile",
    "Repair",
    "RetryFailed",
    "SourceTotals",
    "SyncSalesTarget",
]


def __getattr__(name: str) -> object:
    """A task that is named before Luigi was there."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kpcluigi import tasks

    task: object = getattr(tasks, name)
    return task
