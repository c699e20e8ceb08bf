"""A source table as Oracle describes it, and the statements that read it.

Every statement names its columns, applies the half-open window, and reads at the plan's SCN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Literal

import oracledb
import pyarrow as pa

from kpcluigi.errors import ConfigurationError, OracleError
from kpcluigi.markers import KeyType
from kpcluigi.tables import ColumnType, Table

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
class Window:
    """Whole days, both included."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise ConfigurationError(f"The window ends on {self.end}, before {self.start}")
        if self.end >= date(9999, 12, 31):
            raise ConfigurationError(f"The window ends on {self.end}; expected an earlier day")

    @property
    def binds(self) -> dict[str, datetime]:
        """Midnight of the first day, and midnight after the last: half-open."""
        return {
            "window_start": datetime.combine(self.start, time()),
            "window_end": datetime.combine(self.end + timedelta(days=1), time()),
        }

    def __str__(self) -> str:
        return f"{self.start}..{self.end}"


@dataclass(frozen=True)
class SourceColumn:
    """One column: how it is selected, and what Arrow type it arrives as."""

    name: str
    kind: Kind
    expression: str
    arrow: pa.DataType
    in_utc: bool
    """It came with a zone and is converted to UTC by the database."""
    nullable: bool

    @property
    def date_format(self) -> str:
        """For a date or timestamp: the format that keeps all of it."""
        seconds = "YYYY-MM-DD HH24:MI:SS"
        return seconds if self.arrow.unit == "s" else f"{seconds}.FF6"


@dataclass(frozen=True)
class Source:
    """A table of tables.toml joined with what Oracle says of it."""

    table: Table
    owner: str
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
        """The window as a condition with the binds of `Window.binds`."""
        column = f"t.{self.table.partition_column}"
        return f"{column} >= :window_start AND {column} < :window_end"

    @property
    def select_list(self) -> str:
        return ", ".join(column.expression for column in self.columns.values())


def describe_source(connection: oracledb.Connection, *, owner: str, table: Table) -> Source:
    """Ask Oracle for the types of a table's mapped columns.

    Raises:
        OracleError: the table or a column is missing, or has a type that is not supported.
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
                    f"{owner}.{table.name} has no column that tables.toml maps: {fault}. SQL: {sql}"
                ) from error
            raise
        described: Sequence[Any] = cursor.description or ()
    columns = {
        name: _source_column(table, name, info) for name, info in zip(names, described, strict=True)
    }
    return Source(table=table, owner=owner, columns=columns)


def number_as_text(expression: str) -> str:
    """All digits of a NUMBER, in SQL, with a point whatever the session's language."""
    return f"TO_CHAR({expression}, 'TM9', 'NLS_NUMERIC_CHARACTERS=''.,''')"


def _from_year_one(expression: str) -> str:
    """Earlier dates, which no driver can hand to Python, become 0001-01-01; see `transform`."""
    return f"GREATEST({expression}, DATE '0001-01-01')"


def _source_column(table: Table, name: str, info: Any) -> SourceColumn:
    mapped = table.columns.get(name)
    wanted = mapped.type if mapped else None
    expression = f"t.{name}"
    in_utc = False
    kind: Kind
    arrow: pa.DataType
    if info.type_code is oracledb.DB_TYPE_NUMBER:
        kind = "number"
        precision, scale = info.precision or 0, info.scale
        if 0 < precision <= 38 and 0 <= scale <= precision:
            arrow = pa.decimal128(precision, scale)
        else:
            # A NUMBER without declared places fits no Arrow decimal: its own digits as text do
            expression = f"{number_as_text(expression)} AS {name}"
            arrow = pa.string()
    elif info.type_code in _TEXT:
        kind = "text"
        arrow = pa.large_string() if "LOB" in info.type_code.name else pa.string()
    elif info.type_code in _NAIVE:
        kind = "datetime"
        arrow = pa.timestamp("s" if info.type_code is oracledb.DB_TYPE_DATE else "us")
        expression = f"{_from_year_one(expression)} AS {name}"
    elif info.type_code in _ZONED:
        kind = "datetime"
        arrow = pa.timestamp("us")
        # The thin driver drops the zone and keeps the wall clock: only the database can convert
        in_utc = wanted == "datetime"
        naive = f"SYS_EXTRACT_UTC({expression})" if in_utc else f"CAST({expression} AS TIMESTAMP)"
        expression = f"{_from_year_one(naive)} AS {name}"
    elif info.type_code in _BINARY:
        kind = "binary"
        arrow = pa.large_binary() if info.type_code is oracledb.DB_TYPE_BLOB else pa.binary()
        if wanted != "base64" or name in table.lookups or name in table.key:
            raise OracleError(
                f"{table.name}.{name} is {info.type_code.name}: it can only become a text field, "
                f'and neither key nor lookup; write {name} = {{ field = "…", type = "base64", '
                f"length = … }} under columns in tables.toml, or remove the column there"
            )
    else:
        raise OracleError(
            f"{table.name}.{name} is {info.type_code.name}, which cannot be migrated; "
            f"remove the column from tables.toml"
        )
    if wanted is not None and kind not in _FITTING[wanted]:
        raise OracleError(
            f"{table.name}.{name} is {info.type_code.name}, but tables.toml maps it as {wanted}; "
            f"correct its type there"
        )
    return SourceColumn(name, kind, expression, arrow, in_utc, bool(info.null_ok))
