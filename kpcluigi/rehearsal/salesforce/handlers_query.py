"""GET /query: SOQL over HTTP, page by page."""

from __future__ import annotations

import asyncio
from typing import Any

import duckdb

from kpcluigi.rehearsal.salesforce.endpoint import Endpoint, Refusal
from kpcluigi.rehearsal.salesforce.faults import QUERY_TIMEOUT
from kpcluigi.rehearsal.salesforce.ids import make_id
from kpcluigi.rehearsal.salesforce.plans import explain_body, make_plans
from kpcluigi.rehearsal.salesforce.schema import READ_ONLY_FIELDS, Field
from kpcluigi.rehearsal.salesforce.soql import SoqlError, parse
from kpcluigi.rehearsal.salesforce.soql_sql import PAGE, Cursor, Statement, compile_query


class RunQuery(Endpoint):
    """GET /query?q=SELECT..., and GET /query?explain=SELECT..., which tells the query's plans."""

    kind = "query"

    def object_name(self) -> str:
        return self.object_after_from(self.text)

    @property
    def text(self) -> str:
        asked = "explain" if self.is_explain else "q"
        return self.get_query_argument(asked, "", strip=False)

    @property
    def is_explain(self) -> bool:
        return "explain" in self.request.query_arguments

    async def get(self, version: str) -> None:
        text = self.text
        if not text.strip():
            raise Refusal(400, "MALFORMED_QUERY", "A query string has to be specified")
        try:
            statement = compile_query(parse(text), self.org.objects)
        except SoqlError as error:
            raise Refusal(400, error.code, str(error)) from error
        if self.is_explain:
            plans = await self.org.run(lambda con: make_plans(statement, con))
            self.answer(explain_body(statement, plans))
            return
        if self.get_query_argument("columns", "false") == "true":
            self.answer(columns_body(statement))
            return
        await self._time_out(statement)
        base = self.base

        def work(con: duckdb.DuckDBPyConnection) -> tuple[int, list[dict[str, Any]]]:
            total = statement.count(con)
            return total, [] if statement.query.is_count else statement.page(con, 0, total, base)

        total, records = await self.org.run(work)
        if statement.query.is_count:
            self.answer({"totalSize": total, "done": True, "records": []})
            return
        if statement.query.is_aggregate and total > PAGE:
            message = (
                "Aggregate query does not support queryMore(), use LIMIT to restrict the results "
                "to a single batch"
            )
            raise Refusal(400, "EXCEEDED_ID_LIMIT", message)
        locator = make_id("01g", len(self.org.cursors) + 1)
        if total > PAGE:
            self.org.cursors[locator] = Cursor(statement, total)
        self.answer(page_body(locator, 0, total, records, base))

    async def _time_out(self, statement: Statement) -> None:
        """Refuse what a fault says reads too many rows."""
        name = statement.sobject.name
        if not self.org.faults.looks_at_rows(self.kind, name):
            return
        plans = await self.org.run(lambda con: make_plans(statement, con))
        uri = self.request.uri or ""
        fault = self.org.faults.take(self.kind, name, uri, rows=plans.rows_read)
        if fault is not None:
            await asyncio.sleep(fault.delay)
            code, message = QUERY_TIMEOUT
            raise Refusal(400, code, fault.message or message)


class NextRecords(Endpoint):
    """GET /query/{locator}-{start}: a later page."""

    kind = "query"

    def object_name(self) -> str:
        cursor = self.org.cursors.get(self.path_kwargs["locator"])
        return cursor.statement.sobject.name if cursor else ""

    async def get(self, version: str, locator: str, start: str) -> None:
        cursor = self.org.cursors.get(locator)
        if cursor is None or int(start) >= cursor.total:
            raise Refusal(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        base = self.base
        records = await self.org.run(
            lambda con: cursor.statement.page(con, int(start), cursor.total, base)
        )
        self.answer(page_body(locator, int(start), cursor.total, records, base))


APEX_TYPES = {
    "id": "Id",
    "reference": "Id",
    "double": "Double",
    "boolean": "Boolean",
    "date": "Date",
    "datetime": "Datetime",
}


def columns_body(statement: Statement) -> dict[str, Any]:
    """The answer to `columns=true`: what the columns are, and no records. Recorded by clients."""
    query, sobject = statement.query, statement.sobject
    columns: list[dict[str, Any]] = []
    by_relationship: dict[str, dict[str, Any]] = {}
    for relationship, name in statement.columns:
        owner = statement.parents[relationship] if relationship else sobject
        field = None if query.is_aggregate else owner.field(name)
        column = _column(name, field)
        if not relationship:
            columns.append(column)
        elif relationship in by_relationship:
            by_relationship[relationship]["joinColumns"].append(column)
        else:
            joined = _column(relationship, None) | {"joinColumns": [column]}
            by_relationship[relationship] = joined
            columns.append(joined)
    return {
        "columnMetadata": columns,
        "entityName": sobject.name,
        "groupBy": bool(query.group_by),
        "idSelected": ("", "Id") in statement.columns,
        "keyPrefix": sobject.key_prefix,
    }


def _column(name: str, field: Field | None) -> dict[str, Any]:
    """A column; one without a field is an aggregate or a relationship."""
    writable = field is not None and field.name not in READ_ONLY_FIELDS
    return {
        "aggregate": field is None,
        "apexType": None if field is None else APEX_TYPES.get(field.type, "String"),
        "booleanType": field is not None and field.type == "boolean",
        "columnName": name,
        "custom": field is not None and field.custom,
        "displayName": name,
        "foreignKeyName": (field.relationship or None) if field else None,
        "insertable": writable,
        "joinColumns": [],
        "numberType": field is not None and field.type == "double",
        "textType": field is not None and field.is_text,
        "updatable": writable,
    }


def page_body(
    locator: str, start: int, total: int, records: list[dict[str, Any]], base: str
) -> dict[str, Any]:
    """One page of an answer."""
    done = start + len(records) >= total
    body: dict[str, Any] = {"totalSize": total, "done": done}
    if not done:
        body["nextRecordsUrl"] = f"{base}/query/{locator}-{start + PAGE}"
    return body | {"records": records}
