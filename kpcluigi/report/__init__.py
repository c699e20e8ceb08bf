"""What a run has done, told from its markers: last lines, report page, facts for programs."""

from kpcluigi.report.page import write
from kpcluigi.report.summary import PASS, MappingFile, RunSummary, TableSummary, summarise
from kpcluigi.report.text import last_lines, next_steps, status_lines, table_lines

__all__ = [
    "PASS",
    "MappingFile",
    "RunSummary",
    "TableSummary",
    "last_lines",
    "next_steps",
    "status_lines",
    "summarise",
    "table_lines",
    "write",
]
