"""kpcluigi: Oracle's tenant-sales history into Salesforce, provably complete.

This module is the front door of `luigi --module kpcluigi MigrateAll`: importing it makes the tasks
known to Luigi, and does nothing else.
"""

from kpcluigi.tasks import (
    BulkUpload,
    ExtractChunk,
    LoadTable,
    MigrateAll,
    PlanChunks,
    Preflight,
    Reconcile,
    RetryFailed,
    SourceTotals,
)

__all__ = [
    "BulkUpload",
    "ExtractChunk",
    "LoadTable",
    "MigrateAll",
    "PlanChunks",
    "Preflight",
    "Reconcile",
    "RetryFailed",
    "SourceTotals",
]
