"""Loading: a staged file into Salesforce, so that every row has an outcome.

    chunk.py        a chunk: its file, its dead letter, its marker
    fileload.py     a staged file: job after job, resumed wherever it was interrupted
    journal.py      what is known of it, on disk before the next step
    results.py      the result sets of a job, matched with what was sent
    settle.py       which rows are final, which are sent again
    row_errors.py   what Salesforce says of a row
    standing.py     what the loads and retries of a table add up to
    retry.py        dead-lettered rows, sent again
    repair.py       rows that the org does not have as they were sent, sent again; attempt.py what
                    the two have in common
    compression.py  whether the org takes gzip

Knows no Luigi and no Oracle.
"""

from kpcluigi.load.chunk import ChunkLoad
from kpcluigi.load.compression import Compression
from kpcluigi.load.fileload import FileLoad, LoadRules, StagedFile
from kpcluigi.load.repair import RepairLoad, open_repair, repair_under_way, to_repair
from kpcluigi.load.retry import RetryLoad, open_attempt, under_way
from kpcluigi.load.standing import (
    Standing,
    dead_rows,
    finished_attempts,
    require_sane,
    standing,
)

__all__ = [
    "ChunkLoad",
    "Compression",
    "FileLoad",
    "LoadRules",
    "RepairLoad",
    "RetryLoad",
    "StagedFile",
    "Standing",
    "dead_rows",
    "finished_attempts",
    "open_attempt",
    "open_repair",
    "repair_under_way",
    "require_sane",
    "standing",
    "to_repair",
    "under_way",
]
