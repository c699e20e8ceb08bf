"""What is checked before anything moves: both ends, the mapping against both schemas, the disk.

Every check is made and every problem named, so that one round of corrections is enough.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import oracledb
import pyarrow as pa

from kpcluigi.chunkfile import BYTES_PER_ROW
from kpcluigi.errors import OracleError, PreflightError, SalesforceError
from kpcluigi.files import in_words
from kpcluigi.markers import Chunk, KeyType
from kpcluigi.oracle import AnyWindow, Source, Window, describe_source, take_snapshot
from kpcluigi.oracle.chunk import chunk_binds, chunk_sql
from kpcluigi.oracle.connection import passing
from kpcluigi.oracle.plan import boundaries_sql, count_sql
from kpcluigi.oracle.rowids import EXTENTS_SQL, extent_binds, rowid
from kpcluigi.oracle.snapshot import NOT_GRANTED
from kpcluigi.oracle.totals import sample_limit, totals_sql
from kpcluigi.oracle.window import watermark_sql
from kpcluigi.salesforce import Client, describe
from kpcluigi.tables import Table

MAX_DIGITS = 15
"""Significant digits that a double, and so a Salesforce number field, always keeps."""

_ANY_KEY: dict[KeyType, str] = {
    "number": "1",
    "text": "A",
    "datetime": "2024-01-01 00:00:00",
}
_NUMBERS = frozenset({"double", "currency", "percent", "int"})
_TEXTS = frozenset(
    {"string", "textarea", "email", "phone", "url", "picklist", "multipicklist", "combobox"}
)
_FITTING: Mapping[str, frozenset[str]] = {
    "text": _TEXTS,
    "decimal": _NUMBERS,
    "boolean": frozenset({"boolean"}),
    "date": frozenset({"date"}),
    "datetime": frozenset({"datetime"}),
    "base64": _TEXTS,
}


@dataclass
class Findings:
    """What was checked, what is wrong, and what is worth knowing."""

    checks: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, other: Findings) -> None:
        """Take over all that another round of checks found."""
        self.checks += other.checks
        self.problems += other.problems
        self.warnings += other.warnings

    def raise_problems(self) -> None:
        """Raises `PreflightError` that lists every problem, if there is one."""
        if self.problems:
            listed = "\n".join(f"  - {problem}" for problem in self.problems)
            raise PreflightError(
                f"Preflight found {len(self.problems)} problem(s); nothing was started:\n{listed}\n"
                f"Correct them and run the same command again"
            )


def check_oracle(
    connection: oracledb.Connection,
    tables: Mapping[str, Table],
    owners: Mapping[str, str],
    windows: Mapping[str, AnyWindow],
    findings: Findings,
) -> str:
    """Each column can be read, each statement is accepted. Returns the database's name."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sys_context('USERENV', 'DB_NAME'), sys_context('USERENV', 'SERVICE_NAME') "
            "FROM dual"
        )
        database = "/".join(str(part) for part in cursor.fetchone() or ())
    findings.checks.append(f"Oracle {connection.version} at {connection.dsn}: {database}")
    sources: list[Source] = []
    for name, table in tables.items():
        try:
            sources.append(
                describe_source(connection, owner=owners[name], table=table, window=windows[name])
            )
        except OracleError as error:
            findings.problems.append(str(error))
    findings.checks.append(f"Tables that can be read with all their mapped columns: {len(sources)}")
    _check_statements(connection, sources, findings)
    _check_types(sources, findings)
    _check_keys(connection, sources, findings)
    return database


def _check_types(sources: list[Source], findings: Findings) -> None:
    """What a field cannot hold: of a double more than 15 digits, of a checkbox a third state."""
    for source in sources:
        for name, mapped in source.table.columns.items():
            nullable = source.columns[name].nullable
            if mapped.type == "boolean" and mapped.null_as is None and nullable:
                findings.warnings.append(
                    f"{source.name}.{name} may be NULL, which a checkbox cannot be: such rows will "
                    f'be rejected unless its mapping says null_as = "false"'
                )
            declared = source.columns[name].arrow
            digits = declared.precision if pa.types.is_decimal(declared) else 0
            if mapped.type == "decimal" and digits > MAX_DIGITS:
                findings.warnings.append(
                    f"{source.name}.{name} may hold {digits} digits, a number field keeps "
                    f"{MAX_DIGITS}; map it as text if its values are that long"
                )


def _check_statements(
    connection: oracledb.Connection, sources: list[Source], findings: Findings
) -> None:
    """The database itself parses every statement, with its names and privileges; none is run."""
    without_snapshot: list[str] = []
    accepted = 0
    for source in sources:
        scn = take_snapshot(connection, source).scn
        if scn is None:
            without_snapshot.append(source.name)
        fault = _no_watermark(connection, source)
        if fault:
            full = isinstance(source.window, Window)
            found = findings.warnings if full else findings.problems
            found.append(
                f"{source.name}: {fault}; incremental runs need another `watermark`, or "
                f'`incremental = "full"` or "skip", in tables.toml'
            )
            if not full:
                continue
        statements = [*_statements(source, scn)]
        if source.table.strategy == "rowid_range":
            if _explains(connection, EXTENTS_SQL, extent_binds(source)):
                statements += _rowid_statements(source, scn)
            else:
                findings.warnings.append(
                    f"{source.name}: rowid_range needs SELECT on DBA_EXTENTS, which is not "
                    f"granted; it will be cut by its key instead"
                )
        accepted += len(statements)
        for sql, binds in statements:
            with connection.cursor() as cursor:
                try:
                    cursor.execute(f"EXPLAIN PLAN FOR {sql}", binds)
                except oracledb.DatabaseError as error:
                    if passing(error):
                        raise
                    findings.problems.append(f"{source.name}: {error} in: {sql}")
    connection.rollback()  # EXPLAIN PLAN leaves its rows in PLAN_TABLE
    findings.checks.append(f"Statements that the database parsed: {accepted}")
    if without_snapshot:
        findings.warnings.append(
            f"No consistent snapshot of {', '.join(without_snapshot)}: rows that change while a "
            f"table is read may be read in either state. Grant FLASHBACK on the tables and EXECUTE "
            f"on DBMS_FLASHBACK"
        )


Statement = tuple[str, dict[str, Any]]


def _statements(source: Source, scn: int | None) -> list[Statement]:
    """Every form of statement that a table cut by its key is read with."""
    ends = [_ANY_KEY[kind] for kind in source.key_types]
    chunk = Chunk(n=1, rows=0, low=ends, high=ends)
    binds = source.window_binds
    return [
        (boundaries_sql(source, scn), {**binds, "chunk_size": source.table.chunk_size}),
        (chunk_sql(source, chunk, scn), chunk_binds(source, chunk)),
        (
            totals_sql(source, scn),
            {**binds, "sample_seed": None, "sample_limit": sample_limit(1, 1)},
        ),
    ]


def _rowid_statements(source: Source, scn: int | None) -> list[Statement]:
    """Those of a table that is cut by ROWID."""
    ends = [rowid(1, 1, 1)]
    chunk = Chunk(n=1, rows=None, by="rowid", low=ends, high=ends)
    return [
        (count_sql(source, scn), source.window_binds),
        (chunk_sql(source, chunk, scn), chunk_binds(source, chunk)),
    ]


def _no_watermark(connection: oracledb.Connection, source: Source) -> str:
    """Why an incremental run could not tell what has changed; empty where it can or need not."""
    table = source.table
    if table.incremental != "watermark":
        return ""
    if table.partition_column not in table.watermark:
        return (
            f"partition_column {table.partition_column} is not in its watermark "
            f"{', '.join(table.watermark)}, so that rows could lie between two runs"
        )
    sql = f"SELECT {watermark_sql(table)} {source.from_clause(None)} WHERE 1 = 0"
    with connection.cursor() as cursor:
        try:
            cursor.execute(f"EXPLAIN PLAN FOR {sql}")
        except oracledb.DatabaseError as error:
            if passing(error):
                raise
            return f"{watermark_sql(table)} cannot be read ({error})"
    return ""


def _explains(connection: oracledb.Connection, sql: str, binds: Mapping[str, Any]) -> bool:
    """Whether the database parses the statement, with what this user is granted."""
    with connection.cursor() as cursor:
        try:
            cursor.execute(f"EXPLAIN PLAN FOR {sql}", dict(binds))
        except oracledb.DatabaseError as error:
            if getattr(error.args[0], "code", 0) not in NOT_GRANTED:
                raise
            return False
    return True


def _check_keys(connection: oracledb.Connection, sources: list[Source], findings: Findings) -> None:
    """Rows of one key are never cut apart; a key that many rows share makes a large chunk."""
    import sqlalchemy  # a quarter of a second that no other task needs
    from sqlalchemy.pool import StaticPool

    engine = sqlalchemy.create_engine(
        "oracle+oracledb://", creator=lambda: connection, poolclass=StaticPool
    )
    inspector = sqlalchemy.inspect(engine)
    constraints = {
        (owner, table): constraint
        for owner in {source.owner for source in sources}
        for (_, table), constraint in inspector.get_multi_pk_constraint(
            schema=owner.lower(),
            filter_names=[s.table.name.lower() for s in sources if s.owner == owner],
        ).items()
    }
    for source in sources:
        constraint = constraints.get((source.owner, source.table.name.lower()))
        columns = constraint["constrained_columns"] if constraint else []
        primary = {column.upper() for column in columns}
        if not primary or not primary <= {part.upper() for part in source.table.key}:
            findings.warnings.append(
                f"{source.name}: key {', '.join(source.table.key)} does not cover a primary key "
                f"({', '.join(sorted(primary)) or 'there is none'}); rows of one key share a "
                f"chunk, however many they are"
            )


def rows_by_statistics(
    connection: oracledb.Connection, owners: Mapping[str, str]
) -> dict[str, int]:
    """Rows per table as the optimiser's statistics have them: all of it, not only the window."""
    found: dict[str, int] = {}
    with connection.cursor() as cursor:
        for owner in set(owners.values()):
            cursor.execute(
                "SELECT table_name, num_rows FROM all_tables WHERE owner = :owner", owner=owner
            )
            found.update((name, rows or 0) for name, rows in cursor if owners.get(name) == owner)
    return found


def check_salesforce(client: Client, tables: Mapping[str, Table], findings: Findings) -> None:
    """Each object, field and lookup is there, may be written, and has a fitting type."""
    findings.checks.append(f"Salesforce org {client.org_id} at {client.url}")
    described: dict[str, dict[str, dict[str, Any]] | None] = {}

    def fields_of(sobject: str) -> dict[str, dict[str, Any]] | None:
        if sobject not in described:
            try:
                described[sobject] = describe(client, sobject)
            except SalesforceError as error:
                if error.status != 404:
                    raise
                described[sobject] = None
        return described[sobject]

    for table in tables.values():
        fields = fields_of(table.object)
        if fields is None:
            findings.problems.append(
                f"{table.name}: object {table.object} is not in the org, or is hidden from the user"
            )
            continue
        _check_fields(table, fields, findings)
        for lookup in table.lookups.values():
            relationship, _, key = lookup.partition(".")
            parents = _parents(fields, relationship)
            if not parents:
                findings.problems.append(
                    f"{table.name}: {table.object} has no relationship {relationship}"
                )
                continue
            parent = (fields_of(parents[0]) or {}).get(key)
            if parent is None or not (parent.get("externalId") or parent.get("idLookup")):
                findings.problems.append(
                    f"{table.name}: {parents[0]}.{key} is not an external id to look parents up by"
                )
    findings.checks.append(f"Objects compared with their mapped fields and lookups: {len(tables)}")


def _check_fields(table: Table, fields: dict[str, dict[str, Any]], findings: Findings) -> None:
    for name, column in table.columns.items():
        target = fields.get(column.field)
        where = f"{table.name}.{name} -> {table.object}.{column.field}"
        if target is None:
            findings.problems.append(
                f"{where}: the field is not in the org, or is hidden from the user"
            )
            continue
        if not (target.get("createable") and target.get("updateable")):
            findings.problems.append(f"{where}: the user may not write this field")
        if target["type"] not in _FITTING[column.type]:
            findings.problems.append(f"{where}: type {column.type} into a field {target['type']}")
        length = target.get("length") or 0
        allowed = column.length
        is_text = column.type in ("text", "base64")
        if is_text and length and (allowed is None or allowed > length):
            findings.warnings.append(
                f"{where}: the field holds {length} characters, the mapping allows "
                f"{allowed or 'any length'}; longer values will be refused row by row"
            )
    external_id = fields.get(table.external_id)
    if external_id is not None and not external_id.get("externalId"):
        findings.problems.append(
            f"{table.name}: {table.object}.{table.external_id} is not marked as an external id"
        )


def _parents(fields: dict[str, dict[str, Any]], relationship: str) -> list[str]:
    for described in fields.values():
        if (described.get("relationshipName") or "").lower() == relationship.lower():
            return list(described.get("referenceTo") or ())
    return []


def check_disk(folder: Path, *, floor: int, rows_ahead: int, findings: Findings) -> None:
    """The staged files of the largest phase fit, and the floor stays free.

    Args:
        rows_ahead: rows of the largest phase that are not staged yet, as far as known.
    """
    free = shutil.disk_usage(folder).free
    needed = floor + rows_ahead * BYTES_PER_ROW
    findings.checks.append(f"Disk: {in_words(free)} free, about {in_words(needed)} asked for")
    if free < needed:
        findings.problems.append(
            f"{folder} has {in_words(free)} free; the largest phase needs about "
            f"{in_words(rows_ahead * BYTES_PER_ROW)} and {in_words(floor)} are kept free "
            f"(`min_free_gb` under [staging])"
        )


def check_limits(
    configured: Mapping[str, int], in_luigid: Mapping[str, int] | None, findings: Findings
) -> None:
    """luigid's limits are luigi.cfg's. A resource that luigid does not know is limited to one."""
    if in_luigid is None:
        findings.checks.append("Local scheduler: the limits are luigi.cfg's")
        return
    for name, amount in configured.items():
        if in_luigid.get(name) != amount:
            findings.problems.append(
                f"luigid limits {name} to {in_luigid.get(name, 1)}, luigi.cfg says {amount}: "
                f"restart luigid in the folder that holds luigi.cfg"
            )
    findings.checks.append(
        "Limits in luigid: " + ", ".join(f"{name} {amount}" for name, amount in configured.items())
    )
