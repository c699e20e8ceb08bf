"""tables.toml as typed, validated objects.

`load_tables(path)` reads the file and returns every table's mapping, or raises one
`ConfigurationError` that lists *all* mistakes, each with table, key and what was expected.

    [defaults]                                   values for tables that do not say otherwise
    source_zone = "Asia/Bangkok"                 zone of Oracle's naive DATEs and TIMESTAMPs

    [tables.KPS_T_SALES_MD]
    phase = 5                                    phases run one after another
    object = "KPS_Sales__c"                      Salesforce object
    external_id = "External_ID__c"               its external id field; one column must map to it
    key = ["SALES_ID"]                           column or columns that order and cut the table
    strategy = "key_range"                       or "rowid_range": cut by where the rows lie
    partition_column = "CREATED_DATE"            the column that the window is applied to
    chunk_size = 500_000                         rows per chunk, a multiple of 10,000
    fetch_size = 50_000                          rows per round trip to Oracle
    parallel_degree = 8                          PARALLEL hint of the passes over the whole table
    order_by_parent = "TENANT_CODE"              rows of a chunk lie together by this lookup
    watermark = ["UPDATED_DATE", "CREATED_DATE"] the first that is not NULL: last changed
    incremental = "watermark"                    or "full" or "skip": in a run of --mode incremental
    count_by = "ranges"                          or "query_job": how the org is counted
    accept = ["changed_since"]                   differences that do not keep it from PASS

    [tables.KPS_T_SALES_MD.columns]
    SALES_AMOUNT = { field = "Sales_Amount__c", type = "decimal", scale = 2 }

    [tables.KPS_T_SALES_MD.lookups]              parents, found by their external id
    TENANT_CODE = "Account__r.Tenant_Code__c"
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from kpcluigi.errors import ConfigurationError

BATCH_ROWS = 10_000
"""Rows in one internal batch of a Bulk API 2.0 job (Bulk API 2.0 Developer Guide, "Limits")."""

HEADER_CHARACTERS = 32_000
"""Of a CSV's first line (Bulk API 2.0 Developer Guide, "Limits")."""

Strategy = Literal["key_range", "rowid_range"]
ColumnType = Literal["text", "decimal", "boolean", "date", "datetime", "base64"]

OracleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_$#]{0,127}$")]
FieldName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
LookupName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*\.[A-Za-z][A-Za-z0-9_]*$")
]


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("expected an IANA time zone such as Asia/Bangkok or UTC") from None
    return name


Zone = Annotated[str, AfterValidator(_known_zone)]


def _number_or_share(value: object) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and 0 <= _share(value) <= 1:
        return value
    raise ValueError('expected a number of rows, or a share such as "0.1%"')


def _share(text: str) -> float:
    """0.001 of "0.1%"; -1 where it is no share."""
    try:
        return float(text.removesuffix("%")) / 100 if text.endswith("%") else -1
    except ValueError:
        return -1


FailedRows = Annotated[int | str, BeforeValidator(_number_or_share)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(_Strict):
    """How one Oracle column becomes one Salesforce field."""

    field: FieldName
    type: ColumnType
    length: int | None = Field(default=None, ge=1, le=131_072)
    """Characters that the field takes, for text and base64."""
    scale: int | None = Field(default=None, ge=0, le=18)
    """Places behind the point, for decimal."""
    on_overflow: Literal["truncate", "reject"] = "truncate"
    """What becomes of a text longer than `length`, or a decimal with more places than `scale`: it
    is cut, or rounded half away from zero, and counted; or its row is rejected."""
    out_of_range: Literal["reject", "blank"] = "reject"
    """What becomes of a date that Salesforce cannot hold: its row is rejected, or it is sent as
    NULL, and counted."""
    null_as: Literal["false"] | None = None
    """What a NULL boolean is sent as; without it its row is rejected."""
    trim: bool = False
    """Remove trailing blanks, for text from CHAR columns."""
    zone: Zone | None = None
    """Zone of this column's values where it is not the table's `source_zone`."""

    @model_validator(mode="after")
    def _options_fit_type(self) -> Column:
        for option, types in _TYPES_OF_OPTION.items():
            if option in self.model_fields_set and self.type not in types:
                needed = " or ".join(repr(kind) for kind in types)
                raise ValueError(f"{option} is for type {needed}, not for {self.type!r}")
        return self


_TYPES_OF_OPTION: Mapping[str, tuple[ColumnType, ...]] = {
    "length": ("text", "base64"),
    "scale": ("decimal",),
    "on_overflow": ("text", "decimal"),
    "out_of_range": ("date", "datetime"),
    "null_as": ("boolean",),
    "trim": ("text",),
    "zone": ("datetime",),
}


class Table(_Strict):
    """One source table, its Salesforce object, and how its rows are cut and mapped."""

    name: OracleName
    owner: OracleName | None = None
    """Oracle schema, where it is not `[oracle] schema` of luigi.cfg."""
    phase: int = Field(ge=1, le=99)
    object: FieldName
    external_id: FieldName
    key: tuple[OracleName, ...] = Field(min_length=1)
    partition_column: OracleName
    chunk_size: int = Field(default=1_000_000, ge=BATCH_ROWS, multiple_of=BATCH_ROWS)
    fetch_size: int = Field(default=10_000, ge=1, le=100_000)
    strategy: Strategy = "key_range"
    parallel_degree: int = Field(default=0, ge=0, le=64)
    order_by_parent: OracleName | None = None
    """A lookup's column; rows of one parent then share a batch, and seldom wait for its lock."""
    watermark: tuple[OracleName, ...] = Field(
        default=("UPDATED_DATE", "CREATED_DATE"), min_length=1
    )
    """The first of these that is not NULL says when a row was last changed."""
    incremental: Literal["watermark", "full", "skip"] = "watermark"
    """What an incremental run does with this table."""
    records_per_job: int | None = Field(default=None, ge=BATCH_ROWS, multiple_of=BATCH_ROWS)
    """Rows per Bulk job at most; without it a job is as large as the byte cap allows."""
    max_failed_rows: FailedRows = 0
    """Failed rows that do not yet hold the next phase: a number, or a share of all ("0.1%")."""
    on_missing_parent: Literal["reject", "blank"] = "reject"
    """What becomes of a row whose parent the org does not have: it is dead-lettered, or it is sent
    again without that parent, counted, and kept in `blanked/`."""
    count_by: Literal["auto", "ranges", "query_job"] = "auto"
    """How the org is counted: range by range of the partition column's field, or by a query job,
    which has no time limit; auto: by ranges where that column is mapped."""
    accept: tuple[Literal["dead_lettered", "changed_since", "trimmed", "extra"], ...] = ()
    """Kinds of differences that do not keep a table from PASS."""
    source_zone: Zone = "UTC"
    columns: dict[OracleName, Column] = Field(min_length=1)
    lookups: dict[OracleName, LookupName] = {}

    def failed_rows_allowed(self, rows: int) -> int:
        """`max_failed_rows` of a table with so many rows."""
        if isinstance(self.max_failed_rows, int):
            return self.max_failed_rows
        return int(rows * _share(self.max_failed_rows))

    @property
    def external_id_column(self) -> str:
        """The Oracle column that maps to the external id field."""
        return next(c for c, m in self.columns.items() if m.field == self.external_id)

    @property
    def source_columns(self) -> tuple[str, ...]:
        """Every Oracle column that is read, mapped ones first."""
        return tuple(dict.fromkeys((*self.columns, *self.lookups)))

    @property
    def fields(self) -> tuple[str, ...]:
        """The header of this table's CSV: fields, then lookups."""
        return (*(c.field for c in self.columns.values()), *self.lookups.values())

    def zone_of(self, column: Column) -> ZoneInfo:
        """The zone in which Oracle's naive values of this column are to be read."""
        return ZoneInfo(column.zone or self.source_zone)

    def clock_of(self, name: str) -> ZoneInfo:
        """The zone of an Oracle column's naive values, mapped or not."""
        column = self.columns.get(name)
        return ZoneInfo(self.source_zone) if column is None else self.zone_of(column)

    @model_validator(mode="after")
    def _header_fits(self) -> Table:
        length = len(",".join(self.fields))
        if length > HEADER_CHARACTERS:
            raise ValueError(
                f"columns: the names of its fields make a header of {length:,} characters; "
                f"Salesforce takes {HEADER_CHARACTERS:,}"
            )
        return self

    @model_validator(mode="after")
    def _watermark_has_one_clock(self) -> Table:
        clocks = {self.clock_of(column).key for column in self.watermark}
        if self.incremental == "watermark" and len(clocks) > 1:
            raise ValueError(
                f"watermark: its columns have different zones ({', '.join(sorted(clocks))}); name "
                f"one column, or give them one zone"
            )
        return self

    def fingerprint(self, *facts: str) -> str:
        """SHA-256 over all that changes the bytes of a chunk: the mapping and `facts`."""
        mapping = self.model_dump(
            include={"name", "owner", "key", "partition_column", "order_by_parent", "source_zone",
                     "object", "external_id", "columns", "lookups"}
        )  # fmt: skip
        text = json.dumps([mapping, *facts], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


def load_tables(path: Path) -> dict[str, Table]:
    """Read and validate tables.toml; tables in the order of their phase, then of the file.

    Raises:
        ConfigurationError: the file is missing, is no TOML, or holds mistakes (all are named).
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path} is missing: run in the folder that holds tables.toml, "
            f"or name it as `tables` under [migration] in luigi.cfg"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from None
    return parse_tables(document, source=str(path))


def parse_tables(document: Mapping[str, Any], *, source: str = "tables.toml") -> dict[str, Table]:
    """Validate an already parsed tables.toml (see `load_tables`)."""
    mistakes: list[str] = [
        f"{key}: unknown section; expected [defaults] and [tables.NAME]"
        for key in document
        if key not in ("defaults", "tables")
    ]
    defaults = document.get("defaults", {})
    sections = document.get("tables", {})
    if not isinstance(sections, dict) or not sections:
        mistakes.append("tables: no table; expected at least one section [tables.NAME]")
        sections = {}
    tables: list[Table] = []
    for name, section in sections.items():
        if not isinstance(section, dict):
            mistakes.append(f"{name}: expected a section [tables.{name}]")
            continue
        raw = {**defaults, **section, "name": name}
        try:
            tables.append(Table.model_validate(raw))
        except ValidationError as error:
            mistakes.extend(f"{name}: {line}" for line in _lines(error))
        mistakes.extend(f"{name}: {line}" for line in _contradictions(raw))
    mistakes.extend(_shared_objects(tables))
    if mistakes:
        listed = "\n".join(f"  - {mistake}" for mistake in mistakes)
        raise ConfigurationError(
            f"{source} has {len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}; "
            f"nothing was started:\n{listed}"
        )
    return {t.name: t for t in sorted(tables, key=lambda t: t.phase)}


def _lines(error: ValidationError) -> Iterator[str]:
    """One line per pydantic finding: the key, what is wrong, what was found."""
    for finding in error.errors():
        key = ".".join(str(part) for part in finding["loc"]) or "(table)"
        match finding["type"]:
            case "extra_forbidden":
                yield f"{key}: unknown key; remove it or correct its spelling"
            case "missing":
                yield f"{key}: missing; expected a value"
            case "literal_error":
                expected = finding["ctx"]["expected"]
                yield f"{key}: unknown type {finding['input']!r}; expected {expected}"
            case "multiple_of":
                yield f"{key}: {finding['input']} is not a multiple of {BATCH_ROWS:,}"
            case _:
                yield f"{key}: {finding['msg']} (found {finding['input']!r})"


def _contradictions(raw: Mapping[str, Any]) -> Iterator[str]:
    """Mistakes that span keys. Reads the raw section, so that they show beside all others."""
    columns = raw.get("columns")
    if not isinstance(columns, dict):
        return
    fields: dict[str, list[str]] = {}
    named: set[str] = set()
    for column, mapping in columns.items():
        if isinstance(mapping, dict) and isinstance(mapping.get("field"), str):
            named.add(mapping["field"])
            fields.setdefault(mapping["field"].lower(), []).append(column)
    lookups = raw.get("lookups")
    for column, target in lookups.items() if isinstance(lookups, dict) else ():
        if isinstance(target, str):
            fields.setdefault(target.lower(), []).append(column)
    for field, sources in fields.items():
        if len(sources) > 1:
            target = next((name for name in named if name.lower() == field), field)
            yield f"columns: {' and '.join(sources)} both map to {target}; expected one column"
    external_id = raw.get("external_id")
    if isinstance(external_id, str) and external_id not in named:
        yield f"external_id: no column maps to {external_id}; expected one under columns"
    key = raw.get("key")
    for part in key if isinstance(key, list | tuple) else ():
        if part not in columns:
            yield f"key: {part} is not among the columns; expected a mapped column"
    parent = raw.get("order_by_parent")
    if isinstance(parent, str) and parent not in (lookups if isinstance(lookups, dict) else {}):
        yield f"order_by_parent: {parent} is not among the lookups; expected one of their columns"


def _shared_objects(tables: list[Table]) -> Iterator[str]:
    """Two tables in one object could not be reconciled apart."""
    owners: dict[str, str] = {}
    for table in tables:
        other = owners.setdefault(table.object.lower(), table.name)
        if other != table.name:
            yield f"{table.name}: object: {table.object} is already the object of {other}"
