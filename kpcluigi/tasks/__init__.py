"""The Luigi tasks, one file per stage, thin over the libraries.

Preflight ─▶ phase 1 ─▶ … ─▶ phase 7
              per table:  PlanChunks ─▶ ExtractChunk(n) ─▶ BulkUpload(n) ─▶ LoadTable ─▶ Reconcile
                                   └─▶ (after the last chunk) SourceTotals ──────────────┘

SyncSalesTarget stands alone: the sales targets, from Oracle to PostgreSQL, once a day.
"""

from kpcluigi.tasks.extract import ExtractChunk
from kpcluigi.tasks.load import BulkUpload, LoadTable
from kpcluigi.tasks.migrate import MigrateAll
from kpcluigi.tasks.plan import PlanChunks
from kpcluigi.tasks.preflight import Preflight
from kpcluigi.tasks.reconcile import Reconcile
from kpcluigi.tasks.repair import Repair
from kpcluigi.tasks.retry import RetryFailed
from kpcluigi.tasks.sales_target import SyncSalesTarget
from kpcluigi.tasks.totals import SourceTotals

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
