"""The tree that Oracle SQL is parsed into: values, conditions, queries and statements."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal as Choice


@dataclass(frozen=True)
class Name:
    """An identifier as Oracle keeps it: upper-cased unless it was quoted."""

    text: str
    quoted: bool = False


# -- values


@dataclass(frozen=True)
class Text:
    value: str


@dataclass(frozen=True)
class Number:
    value: Decimal


@dataclass(frozen=True)
class Null:
    pass


@dataclass(frozen=True)
class Moment:
    """DATE '…' or TIMESTAMP '…'."""

    kind: Choice["DATE", "TIMESTAMP"]
    value: str


@dataclass(frozen=True)
class Interval:
    """INTERVAL 'n' unit."""

    value: str
    unit: str


@dataclass(frozen=True)
class Bind:
    """A place holder; `index` counts them from 0 in the order of the text."""

    name: str
    index: int


@dataclass(frozen=True)
class ColumnRef:
    parts: tuple[Name, ...]
    outer: bool = False
    offset: int = 0


@dataclass(frozen=True)
class Star:
    table: tuple[Name, ...] = ()


@dataclass(frozen=True)
class Negative:
    value: Value


@dataclass(frozen=True)
class Binary:
    op: Choice["+", "-", "*", "/", "||"]
    left: Value
    right: Value


@dataclass(frozen=True)
class Window:
    partition: tuple[Value, ...]
    order: tuple[OrderItem, ...]
    frame: str = ""


@dataclass(frozen=True)
class Call:
    """A function call. `path` is the name with its packages: ("DBMS_FLASHBACK", "GET_…")."""

    path: tuple[str, ...]
    args: tuple[Value, ...]
    distinct: bool = False
    star: bool = False
    parentheses: bool = True
    over: Window | None = None
    within: tuple[OrderItem, ...] = ()
    offset: int = 0


@dataclass(frozen=True)
class Case:
    operand: Value | None
    whens: tuple[tuple[Condition | Value, Value], ...]
    otherwise: Value | None


@dataclass(frozen=True)
class Cast:
    value: Value
    type: str


@dataclass(frozen=True)
class Extract:
    field: str
    value: Value


@dataclass(frozen=True)
class Trim:
    side: Choice["BOTH", "LEADING", "TRAILING"]
    what: Value | None
    value: Value


@dataclass(frozen=True)
class AtZone:
    """`value` AT LOCAL, or AT TIME ZONE `zone`."""

    value: Value
    zone: Value | None


@dataclass(frozen=True)
class Row:
    """A list in parentheses: (a, b)."""

    items: tuple[Value, ...]


@dataclass(frozen=True)
class Scalar:
    query: Query


Value = (
    Text | Number | Null | Moment | Interval | Bind | ColumnRef | Star | Negative | Binary | Call
    | Case | Cast | Extract | Trim | AtZone | Row | Scalar
)  # fmt: skip


# -- conditions


@dataclass(frozen=True)
class Compare:
    op: str
    left: Value
    right: Value
    quantifier: str = ""


@dataclass(frozen=True)
class IsNull:
    value: Value
    negated: bool


@dataclass(frozen=True)
class Between:
    value: Value
    low: Value
    high: Value
    negated: bool


@dataclass(frozen=True)
class Like:
    value: Value
    pattern: Value
    escape: Value | None
    negated: bool


@dataclass(frozen=True)
class In:
    value: Value
    items: tuple[Value, ...]
    query: Query | None
    negated: bool


@dataclass(frozen=True)
class Exists:
    query: Query


@dataclass(frozen=True)
class Not:
    condition: Condition


@dataclass(frozen=True)
class Logic:
    op: Choice["AND", "OR"]
    items: tuple[Condition, ...]


Condition = Compare | IsNull | Between | Like | In | Exists | Not | Logic


# -- queries


@dataclass(frozen=True)
class OrderItem:
    value: Value
    descending: bool = False
    nulls: Choice["", "FIRST", "LAST"] = ""


@dataclass(frozen=True)
class SelectItem:
    """`text` is the expression as written, of which Oracle makes the column's name."""

    value: Value
    alias: Name | None
    text: str


@dataclass(frozen=True)
class Sample:
    percent: Decimal
    block: bool
    seed: Decimal | None


@dataclass(frozen=True)
class TableRef:
    path: tuple[Name, ...]
    alias: Name | None = None
    as_of: tuple[Choice["SCN", "TIMESTAMP"], Value] | None = None
    offset: int = 0
    sample: Sample | None = None


@dataclass(frozen=True)
class QueryRef:
    query: Query
    alias: Name | None = None


@dataclass(frozen=True)
class Join:
    left: Source
    right: Source
    kind: Choice["INNER", "LEFT", "RIGHT", "FULL", "CROSS"]
    on: Condition | None = None
    using: tuple[Name, ...] = ()


Source = TableRef | QueryRef | Join


@dataclass(frozen=True)
class Select:
    items: tuple[SelectItem, ...]
    sources: tuple[Source, ...]
    where: Condition | None = None
    group: tuple[Value, ...] = ()
    having: Condition | None = None
    distinct: bool = False
    hints: tuple[str, ...] = ()


@dataclass(frozen=True)
class SetOperation:
    op: Choice["UNION", "UNION ALL", "MINUS", "INTERSECT"]
    left: Body
    right: Body


@dataclass(frozen=True)
class Nested:
    """A query in parentheses as a branch of a set operation."""

    query: Query


Body = Select | SetOperation | Nested


@dataclass(frozen=True)
class CommonTable:
    name: Name
    columns: tuple[Name, ...]
    query: Query


@dataclass(frozen=True)
class Query:
    body: Body
    common: tuple[CommonTable, ...] = ()
    order: tuple[OrderItem, ...] = ()
    offset: Value | None = None
    fetch: Value | None = None
    percent: bool = False
    with_ties: bool = False


# -- statements


@dataclass(frozen=True)
class Insert:
    table: TableRef
    columns: tuple[Name, ...]
    values: tuple[Value, ...] = ()
    query: Query | None = None


@dataclass(frozen=True)
class Update:
    table: TableRef
    assignments: tuple[tuple[Name, Value], ...]
    where: Condition | None


@dataclass(frozen=True)
class Delete:
    table: TableRef
    where: Condition | None


@dataclass(frozen=True)
class AlterSession:
    """Name and value of each parameter that is set."""

    settings: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SetTransaction:
    read_only: bool


@dataclass(frozen=True)
class EndTransaction:
    commit: bool


@dataclass(frozen=True)
class Explain:
    statement: Query | Insert | Update | Delete


Statement = (
    Query | Insert | Update | Delete | AlterSession | SetTransaction | EndTransaction | Explain
)


@dataclass(frozen=True)
class Parsed:
    """A statement, the names of its place holders in order, and its hints."""

    statement: Statement
    binds: tuple[str, ...]
    hints: tuple[str, ...]
