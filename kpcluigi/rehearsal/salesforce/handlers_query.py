"""GET /query: SOQL over HTTP, page by page."""

from __future__ import annotations

from typing import Any

import duckdb

from kpcluigi.rehearsal.salesforce.endpoint import Endpoint, Refusal, not_covered
from kpcluigi.rehearsal.salesforce.ids import make_id
from kpcluigi.rehearsal.salesforce.soql import SoqlError, parse
from kpcluigi.rehearsal.salesforce.soql_sql import PAGE, Cursor, compile_query


class RunQuery(Endpoint):
    """GET /query?q=SELECT..."""

    kind = "query"

    async def get(self, version: str) -> None:
        if self.get_query_argument("columns", "false") == "true":
            raise not_covered("columns=true")
        text = self.get_query_argument("q", "", strip=False)
        if not text.strip():
            raise Refusal(400, "MALFORMED_QUERY", "A query string has to be specified")
        try:
            statement = compile_query(parse(text), self.org.objects)
        except SoqlError as error:
            raise Refusal(400, error.code, str(error)) from error
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


class NextRecords(Endpoint):
    """GET /query/{locator}-{start}: a later page."""

    kind = "query"

    async def get(self, version: str, locator: str, start: str) -> None:
        cursor = self.org.cursors.get(locator)
        if cursor is None or int(start) >= cursor.total:
            raise Refusal(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        base = self.base
        records = await self.org.run(
            lambda con: cursor.statement.page(con, int(start), cursor.total, base)
        )
        self.answer(page_body(locator, int(start), cursor.total, records, base))


def page_body(
    locator: str, start: int, total: int, records: list[dict[str, Any]], base: str
) -> dict[str, Any]:
    """One page of an answer."""
    done = start + len(records) >= total
    body: dict[str, Any] = {"totalSize": total, "done": done}
    if not done:
        body["nextRecordsUrl"] = f"{base}/query/{locator}-{start + PAGE}"
    return body | {"records": records}
