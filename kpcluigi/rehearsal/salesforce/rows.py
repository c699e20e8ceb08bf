"""Row rules: what becomes of one batch of at most 10,000 rows.

A batch is worked on column-wise, by a few DuckDB statements over all its rows:

    upload     (temporary table) r, c0, c1, ...: the texts of the file; NULL is an empty value
    batch      (temporary table) r, match, existing, new_id, error, v0, v1, ...: typed values, the
               record that the row matched, and the first rule that the row breaks
    outcome    (temporary table) r, id, created, error: what the result files are made of

The texts in `error` are those of an org's `sf__Error`: `CODE:message:FIELD --`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from kpcluigi.rehearsal.salesforce.field_rules import (
    FIELD_CHARACTERS,
    NULL_MARK,
    RECORD_CHARACTERS,
    Column,
    key,
    rule,
    typed,
    unreadable,
)
from kpcluigi.rehearsal.salesforce.ids import id_sql
from kpcluigi.rehearsal.salesforce.schema import (
    READ_ONLY_FIELDS,
    SETUP_OWNER,
    USER_ID,
    SObject,
    literal,
    quoted,
    sequence,
)


@dataclass(frozen=True)
class Counts:
    """What a batch did."""

    processed: int
    failed: int


class RowRules:
    """The statements that take one file's rows, batch by batch, into one object's table.

    Args:
        operation: insert, update, upsert or delete.
        match_field: the external id field of an upsert; "Id" for update and delete.
        objects: every object of the org, for lookups.
    """

    def __init__(
        self,
        sobject: SObject,
        columns: Sequence[Column],
        operation: str,
        match_field: str,
        objects: dict[str, SObject],
    ) -> None:
        self.sobject = sobject
        self.columns = columns
        self.operation = operation
        self.objects = objects
        self.match: int | None = None
        if operation != "insert":
            headers = [column.header for column in columns]
            self.match = headers.index(match_field)
        self._create_batch = self._create_batch_sql()

    def check(self, con: duckdb.DuckDBPyConnection, first: int, after: int) -> None:
        """Make the table `batch` of the rows first <= r < after of `upload`."""
        con.execute(self._create_batch, [first, after])

    def save(self, con: duckdb.DuckDBPyConnection, now: datetime) -> Counts:
        """Write what no rule forbids as of `now` (UTC), and note every row in `outcome`."""
        moment = f"TIMESTAMP '{now:%Y-%m-%d %H:%M:%S}'"
        con.execute("BEGIN")
        if self.operation == "delete":
            con.execute(
                f"DELETE FROM {self.sobject.table} WHERE Id IN "
                "(SELECT existing FROM batch WHERE error IS NULL)"
            )
        else:
            con.execute(self._insert_sql(moment))
            con.execute(self._update_sql(moment))
        con.execute("COMMIT")
        con.execute(
            "INSERT INTO outcome SELECT r, coalesce(existing, CASE WHEN error IS NULL "
            "THEN new_id END), existing IS NULL, error FROM batch"
        )
        counted = con.execute("SELECT count(*), count(error) FROM batch").fetchone()
        assert counted is not None
        return Counts(int(counted[0]), int(counted[1]))

    def _create_batch_sql(self) -> str:
        numbered = range(len(self.columns))
        texts = ", ".join(f"c{i}, nullif(c{i}, '{NULL_MARK}') AS t{i}" for i in numbered)
        typed_values = ", ".join(
            f"{typed(column.field_of_text, f't{i}')} AS v{i}"
            for i, column in enumerate(self.columns)
        )
        tables = ["typed"]
        values = [f"v{i}" for i in numbered]
        errors = [self._too_long()]
        errors += [unreadable(column, i) for i, column in enumerate(self.columns)]
        existing = "NULL::VARCHAR"
        if self.match is not None:
            existing = "found.id"
            tables.append(self._match_join(self.match))
            errors += self._match_errors(self.match)
        for i, column in enumerate(self.columns):
            if i == self.match:
                continue
            if column.parent is not None or column.field.type == "reference":
                tables.append(self._parent_join(column, i))
                values[i] = f"parent{i}.id AS v{i}"
                errors.append(_parent_error(column, i))
            if column.field.unique:
                tables.append(self._unique_join(column, i))
                errors.append(_unique_error(column, i, existing))
        if self.operation != "delete":
            errors.append(self._required(existing))
            errors += [rule(column, i) for i, column in enumerate(self.columns)]
        match = "NULL" if self.match is None else f"c{self.match}"
        kept = ", ".join(f"c{i}" for i in numbered)
        # `numbered` is materialised: nextval must be taken once for each row.
        return f"""
            CREATE OR REPLACE TEMP TABLE batch AS
            WITH numbered AS MATERIALIZED (
                SELECT r, nextval({literal(sequence(self.sobject))}) AS number, {texts}
                FROM upload WHERE r >= ? AND r < ?
            ), typed AS MATERIALIZED (
                SELECT *, {id_sql(self.sobject.key_prefix, "number")} AS new_id, {typed_values}
                FROM numbered
            )
            SELECT r, {match} AS match, {existing} AS existing, new_id,
                coalesce({", ".join(e for e in errors if e)}, NULL::VARCHAR) AS error,
                {kept}, {", ".join(values)}
            FROM {" ".join(tables)}"""

    def _too_long(self) -> str:
        """Fields and records over the API's own limits; the texts are the stand-in's."""
        lengths = [f"coalesce(strlen(c{i}), 0)" for i in range(len(self.columns))]
        field_errors = " ".join(
            f"WHEN length(c{i}) > {FIELD_CHARACTERS} THEN "
            + literal(
                f"STRING_TOO_LONG:{column.field.label}: data value too large: "
                f"(max length={FIELD_CHARACTERS}):{column.header} --"
            )
            for i, column in enumerate(self.columns)
        )
        characters = " + ".join(f"coalesce(length(c{i}), 0)" for i in range(len(self.columns)))
        return (
            f"CASE WHEN {' + '.join(lengths)} > {FIELD_CHARACTERS} THEN CASE {field_errors} "
            f"WHEN {characters} > {RECORD_CHARACTERS} THEN "
            f"'STRING_TOO_LONG:Record exceeds {RECORD_CHARACTERS} characters:--' END END"
        )

    def _match_join(self, i: int) -> str:
        field = self.columns[i].field
        same = key(field, f"v{i}")
        stored = key(field, f"o.{quoted(field.name)}")
        return f"""
            LEFT JOIN (
                SELECT k, min(o.Id) AS id, count(*) AS n, string_agg(o.Id, ', ') AS ids
                FROM (SELECT DISTINCT {same} AS k FROM typed WHERE v{i} IS NOT NULL)
                JOIN {self.sobject.table} o ON {stored} = k GROUP BY k
            ) found ON found.k = {same}"""

    def _match_errors(self, i: int) -> list[str]:
        field = self.columns[i].field
        name = field.name
        shown = f"t{i}"
        missing = literal(f"MISSING_ARGUMENT:{name} not specified:{name} --")
        errors = []
        if not (self.operation == "upsert" and name == "Id"):
            errors.append(f"CASE WHEN v{i} IS NULL THEN {missing} END")
        kind = "id" if name == "Id" else "external id"
        errors.append(
            f"CASE WHEN v{i} IS NOT NULL AND count(*) OVER (PARTITION BY {key(field, f'v{i}')})"
            f" > 1 THEN 'DUPLICATE_VALUE:Duplicate {kind} specified: ' || {shown} ||"
            f" ':{name} --' END"
        )
        if name == "Id":
            errors.append(
                f"CASE WHEN v{i} IS NOT NULL AND found.id IS NULL THEN "
                "'INVALID_CROSS_REFERENCE_KEY:invalid cross reference id:--' END"
            )
        else:
            errors.append(
                f"CASE WHEN found.n > 1 THEN 'DUPLICATE_EXTERNAL_ID:{name}: more than one record"
                f" found for external id field: [' || found.ids || ']:{name} --' END"
            )
        return errors

    def _parent_join(self, column: Column, i: int) -> str:
        parents = [self.objects[name] for name in column.field.parents]
        field = column.parent_field or parents[0].all_fields[0]
        keys = f"SELECT Id, {quoted(field.name)} AS k FROM"
        records = " UNION ALL ".join(f"{keys} {parent.table}" for parent in parents)
        same = key(field, f"v{i}")
        stored = key(field, "p.k")
        return f"""
            LEFT JOIN (
                SELECT g.k, min(p.Id) AS id, count(*) AS n
                FROM (SELECT DISTINCT {same} AS k FROM typed WHERE v{i} IS NOT NULL) g
                JOIN ({records}) p ON {stored} = g.k GROUP BY g.k
            ) parent{i} ON parent{i}.k = {same}"""

    def _unique_join(self, column: Column, i: int) -> str:
        same = key(column.field, f"v{i}")
        stored = key(column.field, f"o.{quoted(column.field.name)}")
        return f"""
            LEFT JOIN (
                SELECT k, min(o.Id) AS id
                FROM (SELECT DISTINCT {same} AS k FROM typed WHERE v{i} IS NOT NULL)
                JOIN {self.sobject.table} o ON {stored} = k GROUP BY k
            ) unique{i} ON unique{i}.k = {same}"""

    def _required(self, existing: str) -> str:
        """Required fields that a new record lacks, or that `#N/A` would empty."""
        given = {column.field.name: i for i, column in enumerate(self.columns)}
        parts = []
        for field in self.sobject.all_fields:
            if not field.required or field.name in READ_ONLY_FIELDS or field.type == "boolean":
                continue
            name = literal(field.name)
            if field.name not in given:
                parts.append(f"CASE WHEN {existing} IS NULL THEN {name} END")
            else:
                i = given[field.name]
                parts.append(
                    f"CASE WHEN t{i} IS NULL AND ({existing} IS NULL OR c{i} IS NOT NULL) "
                    f"THEN {name} END"
                )
        if not parts:
            return ""
        missing = f"concat_ws(', ', {', '.join(parts)})"
        return (
            f"CASE WHEN {missing} <> '' THEN 'REQUIRED_FIELD_MISSING:Required fields are missing: "
            f"[' || {missing} || ']:' || replace({missing}, ', ', ',') || ' --' END"
        )

    def _insert_sql(self, moment: str) -> str:
        given = {column.field.name: i for i, column in enumerate(self.columns)}
        values = []
        for field in self.sobject.all_fields:
            if field.name == "Id":
                values.append("new_id")
            elif field.name in READ_ONLY_FIELDS:
                values.append(
                    {"reference": literal(USER_ID), "boolean": "false"}.get(field.type, moment)
                )
            elif field.name in given:
                i = given[field.name]
                default = {"boolean": "false"}.get(field.type, "NULL")
                default = "new_id" if field.name == "Name" else default
                values.append(f"coalesce(v{i}, {default})")
            else:
                default = "new_id" if field.name == "Name" else "NULL"
                values.append("false" if field.type == "boolean" else default)
        return (
            f"INSERT INTO {self.sobject.table} SELECT {', '.join(values)} FROM batch "
            "WHERE error IS NULL AND existing IS NULL ORDER BY r"
        )

    def _update_sql(self, moment: str) -> str:
        """An empty value leaves the field alone, the null mark empties it."""
        changes = [
            f"{quoted(column.field.name)} = CASE WHEN c{i} IS NULL THEN "
            f"o.{quoted(column.field.name)} ELSE "
            f"{f'coalesce(v{i}, false)' if column.field.type == 'boolean' else f'v{i}'} END"
            for i, column in enumerate(self.columns)
            if i != self.match
        ]
        kept = {
            "LastModifiedDate": moment,
            "SystemModstamp": moment,
            "LastModifiedById": literal(USER_ID),
        }
        changes += [f"{name} = {v}" for name, v in kept.items() if self.sobject.field(name)]
        return (
            f"UPDATE {self.sobject.table} o SET {', '.join(changes)} FROM batch b "
            "WHERE o.Id = b.existing AND b.error IS NULL"
        )


def _parent_error(column: Column, i: int) -> str:
    if column.parent is None or column.parent_field is None:
        return (
            f"CASE WHEN t{i} IS NOT NULL AND parent{i}.id IS NULL THEN "
            "'INVALID_CROSS_REFERENCE_KEY:invalid cross reference id:--' END"
        )
    name, parent = column.parent_field.name, column.parent.name
    return (
        f"CASE WHEN t{i} IS NOT NULL AND parent{i}.id IS NULL THEN "
        f"'INVALID_FIELD:Foreign key external ID: ' || t{i} || "
        f"' not found for field {name} in entity {parent}:--' "
        f"WHEN parent{i}.n > 1 THEN 'INVALID_FIELD:More than one record found for foreign key "
        f"external ID: ' || t{i} || ' for field {name} in entity {parent}:--' END"
    )


def _unique_error(column: Column, i: int, existing: str) -> str:
    """Another record, or an earlier row of the batch, has the value."""
    same = key(column.field, f"v{i}")
    name = column.field.name
    text = f"'DUPLICATE_VALUE:duplicate value found: {name} duplicates value on record with id: '"
    first = f"first_value(coalesce({existing}, new_id)) OVER (PARTITION BY {same} ORDER BY r)"
    known = f"unique{i}.id"
    if column.field == SETUP_OWNER:
        # Recorded: of a custom setting the id shown is the owner's, not the record's.
        known = f"v{i}"
    return (
        f"CASE WHEN unique{i}.id IS NOT NULL AND unique{i}.id IS DISTINCT FROM {existing} "
        f"THEN {text} || substr({known}, 1, 15) || ':--' "
        f"WHEN v{i} IS NOT NULL AND row_number() OVER (PARTITION BY {same} ORDER BY r) > 1 "
        f"THEN {text} || substr({first}, 1, 15) || ':--' END"
    )
