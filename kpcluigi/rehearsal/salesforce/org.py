"""The state that all requests share: records, sessions, jobs, allocations, faults and the log."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from kpcluigi.rehearsal.salesforce.automations import (
    BYPASS_PERMISSION_SET,
    BYPASS_SETTING,
    Automation,
    Automations,
)
from kpcluigi.rehearsal.salesforce.clock import OrgClock
from kpcluigi.rehearsal.salesforce.faults import Faults
from kpcluigi.rehearsal.salesforce.ids import make_id
from kpcluigi.rehearsal.salesforce.jobs import Jobs
from kpcluigi.rehearsal.salesforce.limits import Limits
from kpcluigi.rehearsal.salesforce.query_jobs import QueryJobs
from kpcluigi.rehearsal.salesforce.schema import (
    ORGANIZATION_ID,
    USER_ID,
    Field,
    SObject,
    create_object,
    load_objects,
)
from kpcluigi.rehearsal.salesforce.soql_sql import Cursor

T = TypeVar("T")

DUCKDB_THREADS = 2
POOL_THREADS = 4
MEMORY_LIMIT = "4GB"
"""Of DuckDB; what does not fit it keeps beside the database file."""

SYSTEM_OBJECTS = (
    SObject(
        "Organization",
        (
            Field("Name", "string", length=80),
            Field("InstanceName", "string", length=5),
            Field("IsSandbox", "boolean"),
            Field("TrialExpirationDate", "datetime"),
            Field("NamespacePrefix", "string", length=15),
            Field("OrganizationType", "picklist", length=40),
        ),
        "00D",
    ),
    SObject(
        "User",
        (
            Field("Username", "string", length=80),
            Field("Name", "string", length=121),
            Field("Email", "email", length=128),
            Field("IsActive", "boolean"),
            Field("ProfileId", "reference", reference_to="Profile", relationship="Profile"),
        ),
        "005",
    ),
    SObject("Profile", (Field("Name", "string", length=255),), "00e"),
    SObject(
        "PermissionSet",
        (
            Field("Name", "string", length=80, unique=True),
            Field("Label", "string", length=80),
        ),
        "0PS",
    ),
    SObject(
        "PermissionSetAssignment",
        (
            Field(
                "AssigneeId",
                "reference",
                required=True,
                reference_to="User",
                relationship="Assignee",
            ),
            Field(
                "PermissionSetId",
                "reference",
                required=True,
                reference_to="PermissionSet",
                relationship="PermissionSet",
            ),
        ),
        "0Pa",
    ),
    SObject("ScratchOrgInfo", (Field("OrgName", "string", length=80),), "2SR"),
)
ALTERING = frozenset(
    {duckdb.StatementType.INSERT, duckdb.StatementType.UPDATE, duckdb.StatementType.DELETE}
)
REST_ONLY_OBJECTS = frozenset({"PermissionSetAssignment"})
"""Bulk has no access to them; made and deleted by REST, and never updated (Object Reference,
"PermissionSetAssignment", Supported Calls)."""
READ_ONLY_OBJECTS = frozenset(sobject.name for sobject in SYSTEM_OBJECTS) - REST_ONLY_OBJECTS
PROFILE_ID = make_id("00e", 1)
USERNAME = "integration@standin.example"


@dataclass(frozen=True)
class Settings:
    """How the server was started."""

    client_id: str
    client_secret: str
    latency: float
    batch_latency: float
    daily_batches: int
    daily_requests: int
    daily_query_jobs: int
    session_seconds: float
    gzip: str


class Org:
    """One org on one DuckDB file."""

    def __init__(self, database: Path, settings: Settings) -> None:
        self.settings = settings
        self.url = ""
        self.con = duckdb.connect(
            database, config={"threads": DUCKDB_THREADS, "memory_limit": MEMORY_LIMIT}
        )
        self.con.execute("SET TimeZone = 'UTC'")
        self.objects = self._load_objects()
        self.faults = Faults()
        self.automations = Automations(self.objects)
        self.clock = OrgClock()
        self.limits = Limits(
            settings.daily_requests, settings.daily_batches, settings.daily_query_jobs, self.clock
        )
        self.pool = ThreadPoolExecutor(POOL_THREADS, thread_name_prefix="duckdb")
        self._folder = tempfile.TemporaryDirectory(
            prefix=f"{database.stem}-jobs-", dir=database.parent
        )
        self.folder = Path(self._folder.name)
        job_numbers = itertools.count(1)
        self.query_jobs = QueryJobs(
            self.con,
            self.pool,
            self.faults,
            self.clock,
            job_numbers,
            self.folder,
            latency=settings.latency,
        )
        self.jobs = Jobs(
            self.con,
            self.objects,
            self.pool,
            self.limits,
            self.faults,
            self.automations,
            self.clock,
            job_numbers,
            self.folder,
            latency=settings.latency,
            batch_latency=settings.batch_latency,
        )
        self.cursors: dict[str, Cursor] = {}
        self._sessions: dict[str, float] = {}
        """When each session ends."""
        self._lock = threading.Lock()
        self._log: list[dict[str, Any]] = []
        self._calls: Counter[str] = Counter()
        self._tokens = 0

    async def run(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Do DuckDB work on a cursor of its own, off the event loop."""

        def with_cursor() -> T:
            with self.con.cursor() as cursor:
                return work(cursor)

        return await asyncio.get_running_loop().run_in_executor(self.pool, with_cursor)

    def find_object(self, name: str) -> SObject | None:
        """The object of this name, in any case, as the REST paths have it."""
        folded = name.lower()
        return next((o for o in self.objects.values() if o.name.lower() == folded), None)

    def open_session(self) -> str:
        """A new access token: org id, "!", secret."""
        token = f"{ORGANIZATION_ID[:15]}!{secrets.token_urlsafe(60).replace('-', '.')}"
        with self._lock:
            self._sessions[token] = self.clock.time() + self.settings.session_seconds
            self._tokens += 1
        return token

    def is_session(self, token: str) -> bool:
        with self._lock:
            return self._sessions.get(token, 0.0) > self.clock.time()

    def end_session(self, token: str) -> None:
        with self._lock:
            self._sessions.pop(token, None)

    def note(self, kind: str, entry: dict[str, Any]) -> None:
        """Count a request and put it in the log."""
        with self._lock:
            self._calls[kind] += 1
            self._log.append({"n": len(self._log), "time": time.time(), "kind": kind, **entry})

    def stats(self) -> dict[str, Any]:
        """What is counted since the start or the last reset."""
        with self._lock:
            calls = dict(self._calls)
            requests = len(self._log)
            tokens = self._tokens
        with self.con.cursor() as con:
            bypassed = self.automations.is_bypassed(con)
        return {
            "automation_bypassed": bypassed,
            "automation_rejected": self.automations.rejected,
            "open_jobs": self.jobs.open_count(),
            "open_with_data": self.jobs.open_with_data(),
            "uploaded_rows": self.jobs.uploaded_rows(),
            "peak_open_jobs": self.jobs.peak_open,
            "jobs": self.jobs.created,
            "jobs_by_state": self.jobs.states(),
            "requests": requests,
            "batches": self.jobs.batches,
            "batches_in_24h": self.limits.batches.used,
            "rows": self.jobs.rows,
            "tokens": tokens,
            "uploads": calls.get("upload", 0),
            "by_call": calls,
        }

    def log_since(self, index: int) -> list[dict[str, Any]]:
        with self._lock:
            return self._log[index:]

    def arm(self, fault: dict[str, Any]) -> int:
        return self.faults.arm(fault)

    def disarm(self) -> None:
        self.faults.disarm()

    def reset(self) -> None:
        """Counters, allocations and log to zero; records, jobs, sessions, faults, automations and
        the clock stay."""
        with self._lock:
            self._log.clear()
            self._calls.clear()
            self._tokens = 0
            self.limits.clear()
            self.automations.reset()
            self.jobs.reset()

    def advance(self, seconds: float) -> dict[str, Any]:
        """Move the org's clock on."""
        self.clock.advance(seconds)
        return {}

    def alter(self, sql: str) -> dict[str, Any]:
        """Change records by one statement, as nobody's action."""
        try:
            statements = duckdb.extract_statements(sql)
            if len(statements) != 1 or statements[0].type not in ALTERING:
                raise ValueError("expected one INSERT, UPDATE or DELETE")
            with self.con.cursor() as con:
                con.execute("BEGIN")
                counted = con.execute(statements[0]).fetchone()
                if [column[0] for column in con.description or []] != ["Count"]:
                    raise ValueError("RETURNING is not covered")
                con.execute("COMMIT")
        except duckdb.Error as error:
            raise ValueError(str(error)) from error
        assert counted is not None
        return {"changed": int(counted[0])}

    def use_batches(self, number: int) -> dict[str, Any]:
        """Another user takes Bulk API batches, or gives some back."""
        return {"used": self.limits.batches.use(number)}

    def use_requests(self, number: int) -> dict[str, Any]:
        """Another user makes API calls, or gives some back."""
        return {"used": self.limits.requests.use(number)}

    def automate(
        self,
        object: str,  # noqa: A002
        error: str = "",
        match: str = "",
        seconds_per_batch: float = 0.0,
        setting: str | None = None,
        permission_set: str | None = None,
        *,
        remove: bool = False,
    ) -> dict[str, Any]:
        """Give an object an automation, or take it away."""
        if remove:
            self.automations.remove(object)
            return {}
        if setting is None and permission_set is None:
            setting = BYPASS_SETTING if BYPASS_SETTING.split(".")[0] in self.objects else ""
            permission_set = BYPASS_PERMISSION_SET
        self.automations.put(
            Automation(object, error, match, seconds_per_batch, setting or "", permission_set or "")
        )
        return {}

    async def close(self) -> None:
        """Stop the jobs and let go of the database."""
        await self.jobs.stop()
        await self.query_jobs.stop()
        self.pool.shutdown()
        self.con.close()
        self._folder.cleanup()

    def _load_objects(self) -> dict[str, SObject]:
        present = load_objects(self.con)
        for sobject in SYSTEM_OBJECTS:
            if sobject.name not in present:
                create_object(self.con, sobject)
                self._seed(sobject)
        return load_objects(self.con)

    def _seed(self, sobject: SObject) -> None:
        values: dict[str, dict[str, Any]] = {
            "Organization": {
                "Id": ORGANIZATION_ID,
                "Name": "Salesforce stand-in",
                "InstanceName": "LOCAL",
                "IsSandbox": True,
                "OrganizationType": "Developer Edition",
            },
            "User": {
                "Id": USER_ID,
                "Username": USERNAME,
                "Name": "Integration User",
                "Email": USERNAME,
                "IsActive": True,
                "ProfileId": PROFILE_ID,
            },
            "Profile": {"Id": PROFILE_ID, "Name": "Integration"},
            "PermissionSet": {
                "Id": make_id("0PS", 1),
                "Name": BYPASS_PERMISSION_SET,
                "Label": BYPASS_PERMISSION_SET.replace("_", " "),
            },
        }
        given = values.get(sobject.name)
        if given is not None:
            names = ", ".join(given)
            marks = ", ".join("?" * len(given))
            self.con.execute(
                f"INSERT INTO {sobject.table} ({names}) VALUES ({marks})", list(given.values())
            )
