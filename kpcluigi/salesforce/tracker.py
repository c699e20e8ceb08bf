"""The file tracker: a record per file that tells the business where its load stands.

It is told, never asked: whatever goes wrong with it is said once and otherwise ignored, and after
two failures in a row it is left alone, so that it neither fails a load nor holds it up. Give it a
client without retries and with a short time-out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

from kpcluigi.errors import SalesforceError
from kpcluigi.salesforce.client import Client
from kpcluigi.salesforce.query import describe
from kpcluigi.salesforce.records import upsert_record

TrackerState = Literal["started", "uploading", "in_progress", "completed", "with_errors", "failed"]

MAX_TEXT = 255
"""Characters of a reference, a message, a list of jobs: what a Text field holds at most."""
FAILURES = 2
"""Failures in a row after which it is left alone."""


@dataclass(frozen=True)
class TrackerRules:
    """Which record is told what; see `[tracker]` in luigi.cfg.

    Attributes:
        object: empty: nothing is told.
        external_id: the field that a file's reference is in.
        fields: API name of the field that has `status`, `object`, `rows`, `failed`, `jobs` or
            `message`; what has none is not told.
        statuses: the word for each state.
    """

    object: str
    external_id: str
    fields: Mapping[str, str]
    statuses: Mapping[TrackerState, str]


@dataclass
class Tracker:
    """Tells the org about files, while it can. Closes its client at the end of its block.

    Attributes:
        client: for this alone; None: nothing is told.
        tell: receives one line when it does not work.
    """

    client: Client | None
    rules: TrackerRules
    tell: Callable[[str], None] = lambda line: None
    _states: dict[str, TrackerState] = field(default_factory=dict)
    _failures: int = 0
    _has_told: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.client is not None:
            self.client.__exit__(kind, error, trace)

    def start(self, reference: str, sobject: str, rows: int) -> None:
        """A file's load begins, or begins anew: its record is made, or set back.

        Args:
            reference: see `file_reference`.
            sobject: where the rows go.
        """
        values = {"object": sobject, "rows": rows, "failed": 0, "jobs": "", "message": ""}
        self._send(reference, "started", values, update_only=False)

    def update(
        self,
        reference: str,
        state: TrackerState,
        *,
        failed: int | None = None,
        jobs: Collection[str] = (),
        message: str = "",
    ) -> None:
        """The file is in another state; nothing is sent where it is not.

        Args:
            failed: rows that did not arrive.
            jobs: ids of its Bulk jobs, oldest first.
            message: why, where it is not well.
        """
        if self._states.get(reference) == state:
            return
        values: dict[str, Any] = {"failed": failed, "jobs": _joined(jobs), "message": message}
        told = {name: value for name, value in values.items() if value not in (None, "")}
        self._send(reference, state, told, update_only=True)

    def _send(
        self, reference: str, state: TrackerState, values: dict[str, Any], *, update_only: bool
    ) -> None:
        if self.client is None or not self.rules.object or self._failures >= FAILURES:
            return
        values = {"status": self.rules.statuses[state], **values}
        record = {
            self.rules.fields[name]: value[:MAX_TEXT] if isinstance(value, str) else value
            for name, value in values.items()
            if self.rules.fields.get(name)
        }
        self._states[reference] = state
        try:
            upsert_record(
                self.client,
                self.rules.object,
                self.rules.external_id,
                reference,
                record,
                update_only=update_only,
            )
        except SalesforceError as error:
            self._failures += 1
            if not self._has_told:
                self._has_told = True
                self.tell(f"file tracker {self.rules.object}: {error}; the load goes on without it")
        else:
            self._failures = 0


def file_reference(run: str, table: str, n: int) -> str:
    """What names a chunk file in the tracker, in this run and no other.

    It stands in an address, hence no slash and no dot, which some servers take for more than text.

    Args:
        run: name of the run's folder: mode and window.
    """
    return f"{table}-{n:05d}-{run}"[:MAX_TEXT]


def missing_fields(client: Client, rules: TrackerRules) -> list[str]:
    """What the org lacks, or this user may not write, in words; empty where all is well."""
    if not rules.object:
        return []
    try:
        fields = describe(client, rules.object)
    except SalesforceError as error:
        if error.status != 404:
            raise
        return [f"object {rules.object} is not in the org, or is hidden from the user"]
    lacking: list[str] = []
    key = fields.get(rules.external_id)
    if key is None or not key.get("externalId"):
        lacking.append(f"{rules.object}.{rules.external_id} is no external id")
    for name in rules.fields.values():
        if name and not fields.get(name, {}).get("updateable"):
            lacking.append(f"{rules.object}.{name} is not there, or the user may not write it")
    return lacking


def _joined(jobs: Collection[str]) -> str:
    """As many ids as a Text field holds, the newest first."""
    text = ""
    for job in reversed(list(jobs)):
        longer = f"{text} {job}".strip()
        if len(longer) > MAX_TEXT:
            break
        text = longer
    return text
