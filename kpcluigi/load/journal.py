"""What is known of a load under way, on disk before the next step is taken."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from kpcluigi.markers import JobOutcome, LoadJournal, Part
from kpcluigi.salesforce import JobInfo, batches_of
from kpcluigi.staging import read_marker, write_marker


class Journal:
    """The journal of one staged file; every change is on disk when the method returns."""

    def __init__(self, path: Path, state: LoadJournal) -> None:
        self._path = path
        self._state = state

    @classmethod
    def begin(cls, path: Path, state: LoadJournal) -> Journal:
        """A new journal, in place of whatever is there."""
        journal = cls(path, state)
        journal._write()
        return journal

    @classmethod
    def read(cls, path: Path) -> LoadJournal | None:
        """What an earlier run left. Raises `CorruptMarkerError`."""
        return read_marker(path, LoadJournal)

    @property
    def parts(self) -> list[Part]:
        return self._state.parts

    @property
    def spent_jobs(self) -> list[JobOutcome]:
        return self._state.spent_jobs

    def claim(self, index: int, now: datetime) -> None:
        """A job is about to be created for this part, and takes its share of the allocation."""
        self._change(index, sent_at=now)

    def unclaim(self, index: int) -> None:
        """The share was claimed long ago, by a run that died before it created the job."""
        self._change(index, sent_at=None)

    def created(self, index: int, job_id: str, *, compressed: bool) -> None:
        """The part has a job, which holds no data yet."""
        self._change(index, job_id=job_id, compressed=compressed, uploaded=False)

    def uploaded(self, index: int) -> None:
        """All data of the part has arrived."""
        self._change(index, uploaded=True)

    def spend(self, index: int, info: JobInfo, why: str = "") -> None:
        """The part's job came to nothing; the part has none again."""
        part = self.parts[index]
        spent = outcome_of(part, info, why=why, took_data=info.processed > 0)
        self._state = self._state.model_copy(
            update={"spent_jobs": [*self._state.spent_jobs, spent]}
        )
        self._change(index, job_id=None, sent_at=None, uploaded=False, compressed=False)

    def replace(self, index: int, pieces: list[Part]) -> None:
        """An unsent part becomes several: the first in its place, the others behind all parts."""
        parts = list(self.parts)
        parts[index] = pieces[0]
        self._state = self._state.model_copy(update={"parts": [*parts, *pieces[1:]]})
        self._write()

    def settle(self, index: int, outcome: JobOutcome, follow_ups: list[Part]) -> None:
        """The part's job ended so; rows that are sent again are parts of their own from here on."""
        parts = list(self.parts)
        parts[index] = parts[index].model_copy(update={"outcome": outcome})
        self._state = self._state.model_copy(update={"parts": [*parts, *follow_ups]})
        self._write()

    def _change(self, index: int, **update: object) -> None:
        parts = list(self.parts)
        parts[index] = parts[index].model_copy(update=update)
        self._state = self._state.model_copy(update={"parts": parts})
        self._write()

    def _write(self) -> None:
        write_marker(self._path, self._state)


def outcome_of(
    part: Part, info: JobInfo, *, why: str = "", took_data: bool = True, **counts: object
) -> JobOutcome:
    """The record of a job that ended."""
    return JobOutcome.model_validate(
        {
            "id": info.id,
            "state": info.state,
            "rows": part.rows,
            "message": info.message or why,
            "sent_at": part.sent_at,
            "ended_at": datetime.now(UTC),
            "batches": batches_of(part.rows) if took_data else 0,
            **counts,
        }
    )
