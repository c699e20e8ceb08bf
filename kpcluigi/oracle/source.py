"""A source table as Oracle describes it, and the statements that read it.

Every statement names its columns, applies the half-open window, and reads at the plan's SCN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import oracledb
import pyarrow as pa

from kpcluigi.errors import OracleError
from kpcluigi.markers import KeyType, OracleColumn
from kpcluigi.oracle.window import AnyWindow
from kpcluigi.tables import Column, ColumnType, Table

Kind = KeyType | Literal["binary"]

_TEXT = {
    oracledb.DB_TYPE_VARCHAR,
    oracledb.DB_TYPE_NVARCHAR,
    oracledb.DB_TYPE_CHAR,
    oracledb.DB_TYPE_NCHAR,
    oracledb.DB_TYPE_CLOB,
    oracledb.DB_TYPE_NCLOB,
}
_NAIVE = {oracledb.DB_TYPE_DATE, oracledb.DB_TYPE_TIMESTAMP}
_BINARY = {oracledb.DB_TYPE_RAW, oracledb.DB_TYPE_BLOB}
_FITTING: dict[ColumnType, frozenset[Kind]] = {
    "text": frozenset({"number", "text", "datetime"}),
    "decimal": frozenset({"number", "text"}),
    "boolean": frozenset({"number", "text"}),
    "date": frozenset({"datetime"}),
    "datetime": frozenset({"datetime"}),
    "base64": frozenset({"binary"}),
}
"""Kinds of Oracle columns that each mapping type can be made from."""
_ZONED = {oracledb.DB_TYPE_TIMESTAMP_TZ, oracledb.DB_TYPE_TIMESTAMP_LTZ}


@dataclass(frozen=True)
class SourceColumn:
    """One column: how it is selected, and what Arrow type it arrives as."""

    name: str
    kind: Kind
    value: str
    """SQL of the value in its own type."""
    expression: str
    """SQL of the value as a chunk's statement selects it."""
    arrow: pa.DataType
    in_utc: bool
    """It came with a zone and is converted to UTC by the database."""
    zoned: bool
    """It comes with a zone."""
    is_amount: bool
    """A number that is mapped as one; others are names made of digits, which nobody adds up."""
    places: int | None
    """Behind the point, where the field takes fewer than the column may have."""
    nullable: bool

    @property
    def date_format(self) -> str:
        """For a date or timestamp: the format that keeps all of it."""
        seconds = "YYYY-MM-DD HH24:MI:SS"
        return seconds if self.arrow.unit == "s" else f"{seconds}.FF6"


@dataclass(frozen=True)
class Source:
    """A table of tables.toml joined with what Oracle says of it, and the rows that are wanted."""

    table: Table
    owner: str
    window: AnyWindow
    described: tuple[OracleColumn, ...]
    columns: dict[str, SourceColumn]

    @property
    def name(self) -> str:
        """owner.table, as it stands in statements."""
        return f"{self.owner}.{self.table.name}"

    @property
    def in_utc(self) -> frozenset[str]:
        return frozenset(name for name, column in self.columns.items() if column.in_utc)

    @property
    def key_columns(self) -> list[SourceColumn]:
        return [self.columns[part] for part in self.table.key]

    @property
    def key_types(self) -> list[KeyType]:
        return [column.kind for column in self.key_columns if column.kind != "binary"]

    @property
    def key_nullable(self) -> bool:
        return any(column.nullable for column in self.key_columns)

    @property
    def schema(self) -> pa.Schema:
        """The Arrow types to ask the driver for, so that no NUMBER becomes a float."""
        return pa.schema([(c.name, c.arrow) for c in self.columns.values()])

    def from_clause(self, scn: int | None) -> str:
        """FROM with its snapshot; `t` is the table's alias."""
        snapshot = "" if scn is None else f" AS OF SCN {scn:d}"
        return f"FROM {self.name}{snapshot} t"

    @property
    def in_window(self) -> str:
        """The window as a condition with the binds of `window_binds`."""
        return self.window.condition(self.table)

    @property
    def window_binds(self) -> dict[str, Any]:
        return dict(self.window.binds(self.table))

    @property
    def parallel_hint(self) -> str:
        """For the passes over the whole table; chunks are read serially."""
        degree = self.table.parallel_degree
        return f"/*+ PARALLEL(t, {degree}) */ " if degree else ""

    @property
    def select_list(self) -> str:
        return ", ".join(column.expression for column in self.columns.values())


def describe_source(
    connection: oracledb.Connection, *, owner: str, table: Table, window: AnyWindow
) -> Source:
    """Ask Oracle for the types of a table's mapped columns, and see how each is read.

    Raises:
        OracleError: the table or a column is missing, or has a type that is not supported.
    """
    described = describe_columns(connection, owner=owner, table=table)
    return source_of(described, owner=owner, table=table, window=window)


def source_of(
    described: Sequence[OracleColumn], *, owner: str, table: Table, window: AnyWindow
) -> Source:
    """A source from columns that were described before, without asking Oracle.

    Raises:
        OracleError: a column has a type that is not supported, or not as it is mapped.
    """
    columns = {column.name: _source_column(table, column) for column in described}
    return Source(
        table=table, owner=owner, window=window, described=tuple(described), columns=columns
    )


def describe_columns(
    connection: oracledb.Connection, *, owner: str, table: Table
) -> list[OracleColumn]:
    """The declared types of all columns that are read, in the order of the mapping.

    Raises:
        OracleError: the table or a column is missing.
    """
    names = tuple(dict.fromkeys((*table.source_columns, *table.key, table.partition_column)))
    sql = f"SELECT {', '.join(f't.{n}' for n in names)} FROM {owner}.{table.name} t WHERE 1 = 0"
    with connection.cursor() as cursor:
        try:
            cursor.execute(sql)
        except oracledb.DatabaseError as error:
            fault = error.args[0]
            if getattr(fault, "code", 0) == 942:
                raise OracleError(
                    f"{owner}.{table.name} does not exist or {connection.username} may not read "
                    f"it; grant it, or set `schema` under [oracle] in luigi.cfg. SQL: {sql}"
                ) from error
            if getattr(fault, "code", 0) == 904:
                raise OracleError(
                    f"{owner}.{table.name} has no column that tables.toml maps: {fault}; correct "
                    f"its name there. SQL: {sql}"
                ) from error
            raise
        described: Sequence[Any] = cursor.description or ()
    return [
        OracleColumn(
            name=name,
            type=info.type_code.name,
            precision=info.precision,
            scale=info.scale,
            nullable=bool(info.null_ok),
        )
        for name, info in zip(names, described, strict=True)
    ]


def number_as_text(expression: str) -> str:
    """All digits of a NUMBER, in SQL, with a point whatever the session's language."""
    return f"TO_CHAR({expression}, 'TM9', 'NLS_NUMERIC_CHARACTERS=''.,''')"


def _from_year_one(expression: str) -> str:
    """Earlier dates, which no driver can hand to Python, become 0001-01-01; see `transform`."""
    return f"GREATEST({expression}, DATE '0001-01-01')"


def _source_column(table: Table, column: OracleColumn) -> SourceColumn:
    name = column.name
    declared: oracledb.DbType = getattr(oracledb, column.type)
    mapped = table.columns.get(name)
    wanted = mapped.type if mapped else None
    value = f"t.{name}"
    expression = value
    in_utc = False
    kind: Kind
    arrow: pa.DataType
    if declared is oracledb.DB_TYPE_NUMBER:
        kind = "number"
        precision, scale = column.precision or 0, column.scale or 0
        if 0 < precision <= 38 and 0 <= scale <= precision:
            arrow = pa.decimal128(precision, scale)
        else:
            # A NUMBER without declared places fits no Arrow decimal: its own digits as text do
            expression = f"{number_as_text(value)} AS {name}"
            arrow = pa.string()
    elif declared in _TEXT:
        kind = "text"
        arrow = pa.large_string() if "LOB" in declared.name else pa.string()
    elif declared in _NAIVE:
        kind = "datetime"
        arrow = pa.timestamp("s" if declared is oracledb.DB_TYPE_DATE else "us")
        expression = f"{_from_year_one(expression)} AS {name}"
    elif declared in _ZONED:
        kind = "datetime"
        arrow = pa.timestamp("us")
        # The thin driver drops the zone and keeps the wall clock: only the database can convert
        in_utc = wanted == "datetime"
        value = f"SYS_EXTRACT_UTC({value})" if in_utc else f"CAST({value} AS TIMESTAMP)"
        expression = f"{_from_year_one(value)} AS {name}"
    elif declared in _BINARY:
        kind = "binary"
        arrow = pa.large_binary() if declared is oracledb.DB_TYPE_BLOB else pa.binary()
        if wanted != "base64" or name in table.lookups or name in table.key:
            raise OracleError(
                f"{table.name}.{name} is {declared.name}: it can only become a text field, "
                f'and neither key nor lookup; write {name} = {{ field = "…", type = "base64", '
                f"length = … }} under columns in tables.toml, or remove the column there"
            )
    else:
        raise OracleError(
            f"{table.name}.{name} is {declared.name}, which cannot be migrated; "
            f"remove the column from tables.toml"
        )
    if wanted is not None and kind not in _FITTING[wanted]:
        raise OracleError(
            f"{table.name}.{name} is {declared.name}, but tables.toml maps it as {wanted}; "
            f"correct its type there"
        )
    return SourceColumn(
        name=name,
        kind=kind,
        value=value,
        expression=expression,
        arrow=arrow,
        in_utc=in_utc,
        zoned=declared in _ZONED,
        is_amount=kind == "number" and wanted in ("decimal", "boolean"),
        places=_places(mapped, arrow),
        nullable=column.nullable,
    )


def _places(mapped: Column | None, arrow: pa.DataType) -> int | None:
    if mapped is None or mapped.scale is None:
        return None
    declared: int | None = arrow.scale if pa.types.is_decimal(arrow) else None
    return mapped.scale if declared is None or declared > mapped.scale else None
