"""SAMPLE: which rows of a table are in a random sample, by their row numbers."""

from __future__ import annotations

import secrets
from decimal import Decimal

from kpcluigi.rehearsal.oracle import syntax as s
from kpcluigi.rehearsal.oracle.errors import OraError, unimplemented
from kpcluigi.rehearsal.oracle.segments import ROWS_PER_BLOCK

_LEAST = Decimal("0.000001")
_MOST_SEED = 2**32 - 1
_ALL_HASHES = 2**64


def sample_sql(node: s.Sample) -> str:
    """A condition on `_row`. A row's versions are in a sample together, and a seed always gives
    the same one."""
    if not _LEAST <= node.percent < 100:
        raise OraError(30562)
    if node.seed is None:
        seed = secrets.randbelow(_MOST_SEED)
    elif node.seed == int(node.seed) and 0 <= node.seed <= _MOST_SEED:
        seed = int(node.seed)
    else:
        raise unimplemented("SEED outside 0 to 4294967295")
    unit = f"_row // {ROWS_PER_BLOCK}" if node.block else "_row"
    limit = int(node.percent * _ALL_HASHES / 100)
    # Hashing once more makes the samples of different seeds independent of each other.
    return f"hash(xor(hash({unit}), hash({seed}::BIGINT))) < {limit}::UBIGINT"
