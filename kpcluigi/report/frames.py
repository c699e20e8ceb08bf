"""The facts of a run as pandas frames, for the report, and for whoever wants to look closer.

pandas is imported when the first frame is made: it takes half a second that only a report needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from kpcluigi.report.history import Job, TableHistory
from kpcluigi.report.summary import TableSummary
from kpcluigi.salesforce.quota import DAY

if TYPE_CHECKING:
    import pandas as pd

STEPS: tuple[tuple[str, timedelta], ...] = (
    ("second", timedelta(seconds=1)),
    ("10 seconds", timedelta(seconds=10)),
    ("minute", timedelta(minutes=1)),
    ("10 minutes", timedelta(minutes=10)),
    ("hour", timedelta(hours=1)),
    ("6 hours", timedelta(hours=6)),
    ("day", timedelta(days=1)),
    ("week", timedelta(days=7)),
)
"""What rows are counted per: the shortest that gives no more than `MOST_STEPS`."""
MOST_STEPS = 150


def errors(tables: Iterable[TableSummary]) -> pd.DataFrame:
    """The dead-lettered rows of all tables by their reason, most frequent first."""
    import pandas as pd

    rows = [
        (table.table, e.rows, e.code, e.field, e.message, ", ".join(e.sample_keys))
        for table in tables
        for e in table.errors
    ]
    columns = ["table", "rows", "code", "field", "message", "sample_keys"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values("rows", ascending=False, kind="stable", ignore_index=True)


def checks(tables: Iterable[TableSummary]) -> pd.DataFrame:
    """Every check of every reconciliation."""
    import pandas as pd

    rows = [
        (t.table, c.level, c.name, c.verdict, str(c.expected), str(c.found), c.detail)
        for t in tables
        if t.reconciled
        for c in t.reconciled.checks
    ]
    columns = ["table", "level", "name", "verdict", "expected", "found", "detail"]
    return pd.DataFrame(rows, columns=columns)


def differences(tables: Iterable[TableSummary]) -> pd.DataFrame:
    """Where Oracle and the org do not agree, as far as `reconciled.json` names it."""
    import pandas as pd

    columns = [
        "level", "kind", "key", "field", "measure", "expected", "found", "tolerance", "range",
    ]  # fmt: skip
    rows = [
        (t.table, *(getattr(d, name) for name in columns))
        for t in tables
        if t.reconciled
        for d in t.reconciled.differences
    ]
    return pd.DataFrame(rows, columns=["table", *columns])


def fitted(histories: Mapping[str, TableHistory]) -> pd.DataFrame:
    """Values that were changed to fit, or will be read as something else, by column."""
    import pandas as pd

    rows = [
        {"table": name, "column": column, **found.model_dump()}
        for name, history in histories.items()
        for column, found in history.changed_columns.items()
    ]
    frame = pd.DataFrame(rows)
    if rows:
        frame["sample_keys"] = frame["sample_keys"].map(", ".join)
    return frame


def jobs_of(histories: Mapping[str, TableHistory]) -> list[Job]:
    return [job for history in histories.values() for job in history.jobs]


def throughput(jobs: Sequence[Job]) -> tuple[str, pd.DataFrame]:
    """Rows that arrived per second, minute, hour, … of the run, and which of them it is.

    The rows of a job are spread evenly over the time from its claim to its end. The frame has
    `start` (UTC) and `rows`, a row per step, those with none among them; empty without any job.
    """
    import pandas as pd

    done = [
        (job.sent_at, max(job.ended_at, job.sent_at), job.arrived)
        for job in jobs
        if job.sent_at is not None and job.ended_at is not None and job.arrived
    ]
    if not done:
        return STEPS[0][0], pd.DataFrame({"start": [], "rows": []})
    first, last = min(sent for sent, _, _ in done), max(end for _, end, _ in done)
    unit, step = next(
        ((unit, step) for unit, step in STEPS if (last - first) / step < MOST_STEPS), STEPS[-1]
    )
    origin = _floor(first, step)
    rows = [0.0] * ((last - origin) // step + 1)
    for sent, end, arrived in done:
        begin, stop = (sent - origin) / step, (end - origin) / step
        low, high = int(begin), min(int(stop), len(rows) - 1)
        for i in range(low, high + 1):
            part = min(stop, i + 1) - max(begin, i)
            rows[i] += arrived * (part / (stop - begin) if stop > begin else 1.0)
    starts = [origin + i * step for i in range(len(rows))]
    return unit, pd.DataFrame({"start": starts, "rows": rows})


def allocation(jobs: Sequence[Job]) -> pd.DataFrame:
    """Batches of the run that count against the daily allocation, from each change to the next.

    A job counts as the tool itself reckons: from its claim until 24 hours after its end. The frame
    has `at` (UTC) and `batches`, and ends with the end of the last job.
    """
    import pandas as pd

    taken = [job for job in jobs if job.sent_at is not None and job.batches]
    changes: dict[datetime, int] = {}
    for job in taken:
        assert job.sent_at is not None
        changes[job.sent_at] = changes.get(job.sent_at, 0) + job.batches
        if job.ended_at is not None:
            left = job.ended_at + DAY
            changes[left] = changes.get(left, 0) - job.batches
    if not changes:
        return pd.DataFrame({"at": [], "batches": []})
    end = max(job.ended_at or job.sent_at or datetime.min.replace(tzinfo=UTC) for job in taken)
    at, batches, now = list[datetime](), list[int](), 0
    for moment in sorted(changes):
        if moment > end:
            break
        now += changes[moment]
        at.append(moment)
        batches.append(now)
    if at[-1] < end:
        at.append(end)
        batches.append(now)
    return pd.DataFrame({"at": at, "batches": batches})


def _floor(moment: datetime, step: timedelta) -> datetime:
    """The start of the step that the moment is in; days and weeks begin at midnight UTC."""
    midnight = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    return midnight if step >= DAY else midnight + (moment - midnight) // step * step
