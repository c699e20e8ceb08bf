"""Comparing what Oracle had, what was loaded, and what the org holds."""

from kpcluigi.reconcile.counts import in_org, reconcile_counts
from kpcluigi.reconcile.keys import reconcile_increment

__all__ = ["in_org", "reconcile_counts", "reconcile_increment"]
