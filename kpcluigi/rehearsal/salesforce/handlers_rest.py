"""The REST API beside Bulk: versions, resources, describe, single records, limits."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

import duckdb

from kpcluigi.rehearsal.salesforce.describe import describe, describe_global
from kpcluigi.rehearsal.salesforce.endpoint import (
    NEWEST_VERSION,
    NOT_FOUND,
    OLDEST_VERSION,
    Endpoint,
    Refusal,
    not_covered,
)
from kpcluigi.rehearsal.salesforce.field_rules import NULL_MARK
from kpcluigi.rehearsal.salesforce.ids import to_18
from kpcluigi.rehearsal.salesforce.org import READ_ONLY_OBJECTS, REST_ONLY_OBJECTS
from kpcluigi.rehearsal.salesforce.records import (
    Saved,
    matching_ids,
    not_writable,
    read,
    save,
    to_texts,
)
from kpcluigi.rehearsal.salesforce.schema import SETUP_OWNER, Field, SObject, quoted

BODY_ON_UPSERT_SINCE = 46.0
"""Since v46.0 an upsert that updates answers 200 and a body, before 204 (REST API Developer Guide,
"Insert or Update (Upsert) a Record Using an External ID")."""

MAX_COLLECTION = 200
"""Records in one call of /composite/sobjects (REST API Developer Guide, "sObject Collections")."""


class Versions(Endpoint):
    """GET /services/data; no token is asked for, and no limits are shown."""

    kind = "versions"
    needs_token = False

    async def get(self) -> None:
        numbers = range(int(OLDEST_VERSION), int(NEWEST_VERSION) + 1)
        self.answer([{"label": _label(n), "url": f"/services/data/v{n}.0", "version": f"{n}.0"}
                     for n in numbers])  # fmt: skip


class Resources(Endpoint):
    """GET /services/data/vN.0."""

    kind = "versions"

    async def get(self, version: str) -> None:
        names = ("composite", "jobs", "limits", "query", "sobjects")
        self.answer({name: f"{self.base}/{name}" for name in names})


class Limits(Endpoint):
    """GET /limits."""

    kind = "limits"

    async def get(self, version: str) -> None:
        self.answer(self.org.limits.body())


class RecordCount(Endpoint):
    """GET /limits/recordCount?sObjects=A,B; an org's numbers are approximate, these are not."""

    kind = "limits"

    async def get(self, version: str) -> None:
        asked = self.get_query_argument("sObjects", "")
        named = [self.org.find_object(name) for name in asked.split(",") if name]
        objects = [o for o in named if o] if asked else list(self.org.objects.values())

        def work(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
            return [{"count": _count(con, sobject), "name": sobject.name} for sobject in objects]

        self.answer({"sObjects": await self.org.run(work)})


class SObjects(Endpoint):
    """GET /sobjects."""

    kind = "describe"

    async def get(self, version: str) -> None:
        listed = [
            describe_global(
                o,
                self.base,
                is_writable=o.name not in READ_ONLY_OBJECTS,
                is_updateable=o.name not in REST_ONLY_OBJECTS,
            )
            for o in self.org.objects.values()
        ]
        self.answer({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": listed})


class Describe(Endpoint):
    """GET /sobjects/{o}/describe."""

    kind = "describe"

    async def get(self, version: str, sobject: str) -> None:
        found = self.the_object(sobject)
        self.answer(
            describe(
                found,
                self.base,
                is_writable=found.name not in READ_ONLY_OBJECTS,
                is_updateable=found.name not in REST_ONLY_OBJECTS,
            )
        )


class RecordEndpoint(Endpoint):
    """Base of the handlers of single records."""

    kind = "record"

    def writable(self, name: str) -> SObject:
        sobject = self.the_object(name)
        if sobject.name in READ_ONLY_OBJECTS:
            message = f"entity type {sobject.name} does not support this operation"
            raise Refusal(400, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message, [])
        return sobject

    def json_body(self) -> dict[str, Any]:
        """Numbers keep the digits they were sent with."""
        try:
            body = json.loads(self.request.body, parse_float=Decimal)
        except ValueError as error:
            raise Refusal(400, "JSON_PARSER_ERROR", f"Unexpected input: {error}") from error
        if not isinstance(body, dict):
            raise Refusal(400, "JSON_PARSER_ERROR", "The request body must be a JSON object")
        return body

    async def save(
        self, sobject: SObject, texts: dict[str, str], operation: str, match_field: str
    ) -> Saved:
        objects = self.org.objects
        async with self.org.jobs.writers[sobject.name]:
            return await self.org.run(
                lambda con: save(
                    con,
                    sobject,
                    objects,
                    texts,
                    operation,
                    match_field,
                    self.org.automations,
                    self.org.clock.now(),
                )
            )

    async def delete_record(self, sobject: SObject, record_id: str) -> None:
        def work(con: duckdb.DuckDBPyConnection) -> int:
            sql = f"DELETE FROM {sobject.table} WHERE Id = ? RETURNING Id"
            return len(con.execute(sql, [record_id]).fetchall())

        async with self.org.jobs.writers[sobject.name]:
            deleted = await self.org.run(work)
        if not deleted:
            raise _no_record(record_id)
        self.set_status(204)

    async def send_record(self, sobject: SObject, record_id: str) -> None:
        names = [n.strip() for n in self.get_query_argument("fields", "").split(",") if n.strip()]
        base = self.base
        record = await self.org.run(lambda con: read(con, sobject, record_id, names, base))
        if record is None:
            raise _no_record(record_id)
        self.answer(record)


class NewRecord(RecordEndpoint):
    """POST /sobjects/{o}."""

    async def post(self, version: str, sobject: str) -> None:
        target = self.writable(sobject)
        body = self.json_body()
        if "Id" in body:
            raise Refusal(400, "INVALID_FIELD", "cannot specify Id in an insert call", ["Id"])
        texts = to_texts(body, target, self.org.objects)
        saved = await self.save(target, texts, "insert", "")
        self.answer({"id": saved.id, "success": True, "errors": []}, 201)


class Record(RecordEndpoint):
    """GET, PATCH and DELETE /sobjects/{o}/{id}."""

    async def get(self, version: str, sobject: str, record_id: str) -> None:
        await self.send_record(self.the_object(sobject), _full_id(record_id))

    async def patch(self, version: str, sobject: str, record_id: str) -> None:
        target = self.writable(sobject)
        if target.name in REST_ONLY_OBJECTS:
            label = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", target.name)
            message = f"entity type cannot be updated: {label}"
            raise Refusal(400, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message, [])
        texts = to_texts(self.json_body(), target, self.org.objects)
        if target.custom_setting and SETUP_OWNER.name in texts:
            raise not_writable(SETUP_OWNER.name)
        if "Id" in texts:
            message = "The Id field should not be specified in the sobject data."
            raise Refusal(400, "INVALID_FIELD", message, ["Id"])
        full_id = _full_id(record_id)
        try:
            await self.save(target, {"Id": full_id, **texts}, "update", "Id")
        except Refusal as refusal:
            if refusal.code == "INVALID_CROSS_REFERENCE_KEY" and not await self._exists(
                target, full_id
            ):
                raise _no_record(record_id) from refusal
            raise
        self.set_status(204)

    async def delete(self, version: str, sobject: str, record_id: str) -> None:
        await self.delete_record(self.writable(sobject), _full_id(record_id))

    async def _exists(self, sobject: SObject, record_id: str) -> bool:
        base = self.base
        return (
            await self.org.run(lambda con: read(con, sobject, record_id, ["Id"], base)) is not None
        )


class RecordCollection(RecordEndpoint):
    """PATCH /composite/sobjects/{o}/{field}: upserts of at most 200 records, one by one."""

    async def patch(self, version: str, sobject: str, field: str) -> None:
        target = self.writable(sobject)
        key = find_key(target, field)
        body = self.json_body()
        if body.get("allOrNone", False) is not False:
            raise not_covered("allOrNone=true")
        records = body.get("records")
        if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
            raise Refusal(400, "JSON_PARSER_ERROR", "records must be a list of objects")
        if len(records) > MAX_COLLECTION:
            message = (
                f"record limit reached. cannot submit more than {MAX_COLLECTION} records in this "
                "call"
            )
            raise Refusal(400, "EXCEEDED_ID_LIMIT", message)
        for record in records:
            named = (record.get("attributes") or {}).get("type", "")
            if self.org.find_object(str(named)) != target:
                message = f"The attributes of each record must name the type {target.name}"
                raise Refusal(400, "INVALID_TYPE", message)
        rows = [to_texts(record, target, self.org.objects) for record in records]
        self.answer([await self._upsert(target, row, key) for row in rows])

    async def _upsert(self, target: SObject, row: dict[str, str], key: Field) -> dict[str, Any]:
        try:
            if row.get(key.name, NULL_MARK) == NULL_MARK:
                message = f"{key.name} not specified"
                raise Refusal(400, "MISSING_ARGUMENT", message, [key.name])
            saved = await self.save(target, row, "upsert", key.name)
        except Refusal as refusal:
            error = {
                "statusCode": refusal.code,
                "message": refusal.message,
                "fields": refusal.fields or [],
            }
            return {"success": False, "errors": [error]}
        return saved.body()


class RecordByExternalId(RecordEndpoint):
    """GET, PATCH and DELETE /sobjects/{o}/{field}/{value}."""

    async def get(self, version: str, sobject: str, field: str, value: str) -> None:
        target = self.the_object(sobject)
        found = await self._one(target, find_key(target, field), unquote(value))
        if found is not None:
            await self.send_record(target, found)

    async def patch(self, version: str, sobject: str, field: str, value: str) -> None:
        target = self.writable(sobject)
        key = find_key(target, field)
        texts = to_texts(self.json_body(), target, self.org.objects)
        if key.name in texts or "Id" in texts:
            name = key.name if key.name in texts else "Id"
            message = f"The {name} field should not be specified in the sobject data."
            raise Refusal(400, "INVALID_FIELD", message, [name])
        ids = await self.org.run(lambda con: matching_ids(con, target, key, unquote(value)))
        if len(ids) > 1:
            self._answer_choices(target, ids)
            return
        if not ids and self.get_query_argument("updateOnly", "false") == "true":
            raise Refusal(404, "NOT_FOUND", NOT_FOUND)
        saved = await self.save(target, {key.name: unquote(value), **texts}, "upsert", key.name)
        if saved.created:
            self.answer(saved.body(), 201)
        elif self.version >= BODY_ON_UPSERT_SINCE:
            self.answer(saved.body())
        else:
            self.set_status(204)

    async def delete(self, version: str, sobject: str, field: str, value: str) -> None:
        target = self.writable(sobject)
        found = await self._one(target, find_key(target, field), unquote(value))
        if found is not None:
            await self.delete_record(target, found)

    async def _one(self, sobject: SObject, key: Field, value: str) -> str | None:
        """The one matching id; None when the choices were answered."""
        ids = await self.org.run(lambda con: matching_ids(con, sobject, key, value))
        if not ids:
            raise Refusal(404, "NOT_FOUND", NOT_FOUND)
        if len(ids) > 1:
            self._answer_choices(sobject, ids)
            return None
        return ids[0]

    def _answer_choices(self, sobject: SObject, ids: list[str]) -> None:
        self.answer([f"{self.base}/sobjects/{sobject.name}/{i}" for i in ids], 300)


def find_key(sobject: SObject, name: str) -> Field:
    """The external id field of this name, in any case."""
    field = next((f for f in sobject.fields if f.name.lower() == name.lower()), None)
    if field is None or not field.external_id:
        message = f"Provided external ID field does not exist or is not accessible: {name}"
        raise Refusal(404, "NOT_FOUND", message)
    return field


def _full_id(record_id: str) -> str:
    full = to_18(record_id)
    if full is None:
        raise Refusal(400, "MALFORMED_ID", f"malformed id {record_id}")
    return full


def _no_record(record_id: str) -> Refusal:
    message = f"Provided external ID field does not exist or is not accessible: {record_id}"
    return Refusal(404, "NOT_FOUND", message)


def _count(con: duckdb.DuckDBPyConnection, sobject: SObject) -> int:
    row = con.execute(f"SELECT count(*) FROM {quoted(sobject.name)}").fetchone()
    assert row is not None
    return int(row[0])


def _label(version: int) -> str:
    """v66.0 is Spring '26; there are three releases a year."""
    season = ("Spring", "Summer", "Winter")[(version - 66) % 3]
    year = 26 + (version - 66) // 3 + (1 if season == "Winter" else 0)
    return f"{season} '{year:02}"
