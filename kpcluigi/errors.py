"""Every error that kpcluigi raises on purpose, as one tree.

    KpcluigiError
    ├── ConfigurationError        a setting, luigi.cfg or tables.toml is missing or wrong
    ├── PreflightError            an end cannot be reached, or does not fit the mapping
    ├── StagingError              the run folder is not what it should be
    │   ├── CorruptMarkerError    a marker that cannot be read (never "done", never redone silently)
    │   ├── StaleRunError         the mapping or the source changed under unfinished work
    │   ├── DiskFullError         no room for a file, or less than extraction leaves free
    │   ├── ChunkChangedError     a chunk file no longer has the checksum of its manifest
    │   ├── ChunkLockedError      another process is working on this chunk
    │   └── AuditError            audit.jsonl was changed, or lines of it are gone
    ├── OracleError               a statement or a connection that Oracle refused
    │   ├── SnapshotLostError     Oracle forgot the state that the plan was made at
    │   └── RowCountError         a chunk did not hold the rows of its plan
    ├── SalesforceError           a request that Salesforce refused
    │   ├── AuthenticationError   no token for these credentials
    │   ├── JobFailedError        a Bulk job ended as Failed or Aborted
    │   └── JobTimeoutError       a Bulk job outlasted `job_timeout`; it is left alone
    ├── PostgresError             a statement or a connection that PostgreSQL refused
    ├── MismatchError             a copy of the sales targets was not equal; it was rolled back
    ├── TooManyFailedRowsError    a table's failed rows are over `max_failed_rows`
    └── ReconciliationError       Oracle and Salesforce do not agree

A message says what happened, to which table and chunk, and the next command to run.
"""

from __future__ import annotations

PASSING_STATUS = frozenset({0, 429, 500, 502, 503, 504})
"""HTTP statuses of Salesforce that a later try can get past; 0 stands for no answer at all."""

REQUEST_LIMIT = "REQUEST_LIMIT_EXCEEDED"
"""Salesforce's errorCode for too many requests at once, or in 24 hours; it comes with HTTP 403."""


class KpcluigiError(Exception):
    """Base of all errors of this package; its text is meant for the operator."""


class ConfigurationError(KpcluigiError):
    """A setting, luigi.cfg or tables.toml is missing or wrong."""


class PreflightError(KpcluigiError):
    """An end cannot be reached, or its schema does not fit the mapping."""


class StagingError(KpcluigiError):
    """The run folder is not what it should be."""


class CorruptMarkerError(StagingError):
    """A marker file cannot be parsed; the text names the file."""


class StaleRunError(StagingError):
    """The mapping or the source changed while a table's work was unfinished."""


class DiskFullError(StagingError):
    """There is no room for a file, or less than `min_free_gb`; what was begun is removed."""


class ChunkChangedError(StagingError):
    """A chunk file no longer has the checksum that its manifest recorded."""


class ChunkLockedError(StagingError):
    """Another process holds the lock of this chunk."""


class AuditError(StagingError):
    """The chain of audit.jsonl is broken, or does not have the hash that a report names."""


class OracleError(KpcluigiError):
    """Oracle refused a statement or a connection."""


class SnapshotLostError(OracleError):
    """The SCN that was asked for can no longer be read (ORA-01555 and its kin)."""


class RowCountError(OracleError):
    """A chunk did not hold the number of rows that its plan promised."""


class SalesforceError(KpcluigiError):
    """Salesforce refused a request.

    `status` is the HTTP status (0 when no answer came), `code` Salesforce's errorCode, and
    `passing` says whether a later try may succeed.
    """

    def __init__(self, message: str, *, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    @property
    def passing(self) -> bool:
        return self.status in PASSING_STATUS or self.code == REQUEST_LIMIT


class AuthenticationError(SalesforceError):
    """No access token could be had for these credentials."""


class JobFailedError(SalesforceError):
    """A Bulk job ended as Failed or Aborted."""


class JobTimeoutError(SalesforceError):
    """A Bulk job outlasted `job_timeout`; it is left alone and picked up by the next run."""


class PostgresError(KpcluigiError):
    """PostgreSQL refused a statement or a connection."""


class MismatchError(KpcluigiError):
    """Source, staged and final rows of the sales targets differ; the target is as it was."""


class TooManyFailedRowsError(KpcluigiError):
    """A table's failed rows are over its `max_failed_rows`."""


class ReconciliationError(KpcluigiError):
    """Oracle's rows and the org's rows do not agree."""
