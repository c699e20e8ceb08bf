"""The grammar of SOQL, as far as the stand-in covers it: text -> `Query`.

    SELECT COUNT() | item, ... FROM object [WHERE condition] [GROUP BY path, ...]
        [ORDER BY path [ASC|DESC] [NULLS FIRST|LAST], ...] [LIMIT n] [OFFSET n]

    item       path | function(path) [alias]          a path has at most one point: Account__r.Name
    function   COUNT, COUNT_DISTINCT, SUM, AVG, MIN, MAX
    condition  path op value | path [NOT] IN (value, ...) | NOT c | c AND c | c OR c | (c)
    op         = != <> < <= > >= LIKE
    value      'text' | number | true | false | null | 2024-01-31 | 2024-01-31T00:00:00Z

As in an org, AND and OR on one level need parentheses. Everything else is refused: subqueries,
HAVING, TYPEOF, date functions, date literals like TODAY.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_CHARACTERS = 100_000
"""SOQL and SOSL Reference, "SOQL Limits": characters of a statement."""

FUNCTIONS = frozenset({"COUNT", "COUNT_DISTINCT", "SUM", "AVG", "MIN", "MAX"})
COMPARISONS = frozenset({"=", "!=", "<>", "<", "<=", ">", ">="})
KEYWORDS = frozenset(
    {"SELECT", "FROM", "WHERE", "AND", "OR", "NOT", "IN", "LIKE", "GROUP", "ORDER", "BY", "LIMIT"}
    | {"OFFSET", "ASC", "DESC", "NULLS", "HAVING", "FOR", "USING", "WITH", "TYPEOF", "ALL"}
)

NO_ALIASES = KEYWORDS | {"EXCLUDES", "FIRST", "INCLUDES", "LAST", "NULL"}
"""What cannot be an alias (SOQL and SOSL Reference, "Alias Notation")."""

MAX_ALIAS = 25
"""Characters of an alias, as an org's refusal says."""

RESERVED = frozenset({"SELECT", "FROM", "WHERE"})
"""Keywords that cannot be the name of a field either."""

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>'(?:[^'\\]|\\.)*')
      | (?P<datetime>\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:?\d{2}))
      | (?P<date>\d{4}-\d{2}-\d{2}(?![\w:]))
      | (?P<number>[+-]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?(?![\w:]))
      | (?P<name>[A-Za-z_]\w*(?:\.\w+)*)
      | (?P<sign><=|>=|!=|<>|[=<>(),])
    )""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


class SoqlError(Exception):
    """A query that the org refuses: errorCode and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Token:
    """One token and where it stands; `value` is as written, of a text without its quotes."""

    kind: str
    value: str
    start: int


@dataclass(frozen=True)
class Item:
    """One thing selected: a path, or a function of one ("" for COUNT())."""

    path: str
    function: str = ""
    alias: str = ""


@dataclass(frozen=True)
class Literal:
    """A value of a condition; kind: text, number, date, datetime, boolean or null."""

    kind: str
    value: str


@dataclass(frozen=True)
class Comparison:
    """path op value; op is a sign, LIKE, IN or NOT IN."""

    path: str
    op: str
    values: tuple[Literal, ...]
    start: int


@dataclass(frozen=True)
class Logic:
    """AND or OR of conditions, or NOT of one."""

    op: str
    parts: tuple[Condition, ...]


Condition = Comparison | Logic


@dataclass(frozen=True)
class Order:
    """One term of ORDER BY."""

    path: str
    descending: bool
    nulls_last: bool


@dataclass(frozen=True)
class Query:
    """A parsed query."""

    text: str
    items: tuple[Item, ...]
    sobject: str
    where: Condition | None
    group_by: tuple[str, ...]
    order_by: tuple[Order, ...]
    limit: int | None
    offset: int

    @property
    def is_count(self) -> bool:
        """SELECT COUNT(): a number, no records."""
        return self.items[0].function == "COUNT" and not self.items[0].path

    @property
    def is_aggregate(self) -> bool:
        return bool(self.group_by) or any(item.function for item in self.items)


def parse(text: str) -> Query:
    """Parse a query.

    Raises:
        SoqlError: MALFORMED_QUERY, in the org's manner.
    """
    if len(text) > MAX_CHARACTERS:
        raise SoqlError(
            "MALFORMED_QUERY",
            f"SOQL statements cannot be longer than {MAX_CHARACTERS} characters",
        )
    return _Parser(text).query()


def at(text: str, start: int, reason: str) -> str:
    """A message with the place in the query, as an org shows it."""
    line_start = text.rfind("\n", 0, start) + 1
    row = text.count("\n", 0, start) + 1
    column = start - line_start + 1
    shown = text[max(0, start - 30) : start + 30].replace("\n", " ")
    pointer = " " * min(start, 30) + "^"
    return f"\n{shown}\n{pointer}\nERROR at Row:{row}:Column:{column}\n{reason}"


class _Parser:
    """Recursive descent, one method for each rule of the grammar."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_tokens(text))
        self.next = 0

    def query(self) -> Query:
        self.keyword("SELECT")
        items = [self.item()]
        while self.accept(","):
            items.append(self.item())
        self.keyword("FROM")
        sobject = self.name()
        where = self.condition() if self.accept("WHERE") else None
        group_by = self.names_after("GROUP")
        order_by = self.orders()
        limit = self.count() if self.accept("LIMIT") else None
        offset = self.count() if self.accept("OFFSET") else 0
        if self.token is not None:
            raise self.unexpected()
        if any(item.function == "COUNT" and not item.path for item in items) and len(items) > 1:
            raise SoqlError("MALFORMED_QUERY", "COUNT() must be the only element in the SELECT")
        return Query(
            self.text, tuple(items), sobject, where, group_by, order_by, limit, offset
        )  # fmt: skip

    def item(self) -> Item:
        name = self.name()
        if not self.accept("("):
            return Item(name, alias=self.alias())
        function = name.upper()
        if function not in FUNCTIONS:
            raise SoqlError("MALFORMED_QUERY", f"the stand-in does not cover {name}()")
        if self.accept(")"):
            if function != "COUNT":
                raise self.unexpected(self.next - 1)
            return Item("", function)
        path = self.name()
        self.sign(")")
        return Item(path, function, self.alias())

    def alias(self) -> str:
        token = self.token
        if token is None or token.kind != "name" or token.value.upper() in NO_ALIASES:
            return ""
        self.next += 1
        if len(token.value) > MAX_ALIAS:
            raise SoqlError(
                "MALFORMED_QUERY",
                f"alias is too long, maximum of {MAX_ALIAS} characters: {token.value}",
            )
        return token.value

    def condition(self) -> Condition:
        parts = [self.negation()]
        joint = ""
        while (op := self.accept("AND") or self.accept("OR")) is not None:
            if joint and op != joint:
                raise self.unexpected(self.next - 1)
            joint = op
            parts.append(self.negation())
        return Logic(joint, tuple(parts)) if joint else parts[0]

    def negation(self) -> Condition:
        if self.accept("NOT"):
            return Logic("NOT", (self.negation(),))
        if self.accept("("):
            inner = self.condition()
            self.sign(")")
            return inner
        return self.comparison()

    def comparison(self) -> Comparison:
        start = self.next
        path = self.name()
        position = self.tokens[start].start
        negated = self.accept("NOT") is not None
        if self.accept("IN"):
            self.sign("(")
            values = [self.value()]
            while self.accept(","):
                values.append(self.value())
            self.sign(")")
            return Comparison(path, "NOT IN" if negated else "IN", tuple(values), position)
        if negated:
            raise self.unexpected()
        if self.accept("LIKE"):
            return Comparison(path, "LIKE", (self.pattern(),), position)
        token = self.token
        if token is None or token.value not in COMPARISONS or token.kind != "sign":
            raise self.unexpected()
        self.next += 1
        return Comparison(path, token.value.replace("<>", "!="), (self.value(),), position)

    def value(self) -> Literal:
        token = self.token
        if token is None:
            raise self.unexpected()
        self.next += 1
        if token.kind == "name":
            word = token.value.lower()
            if word in ("true", "false"):
                return Literal("boolean", word)
            if word == "null":
                return Literal("null", "")
            raise self.unexpected(self.next - 1)
        if token.kind == "sign":
            raise self.unexpected(self.next - 1)
        if token.kind == "text":
            return Literal("text", re.sub(r"\\(.)", _unescaped, token.value, flags=re.DOTALL))
        return Literal(token.kind, token.value)

    def pattern(self) -> Literal:
        """The text after LIKE: an escaped %, _ or backslash stays escaped."""
        token = self.token
        if token is None or token.kind != "text":
            raise self.unexpected()
        self.next += 1
        return Literal("text", re.sub(r"\\([^%_\\])", _unescaped, token.value))

    def names_after(self, word: str) -> tuple[str, ...]:
        if not self.accept(word):
            return ()
        self.keyword("BY")
        names = [self.name()]
        while self.accept(","):
            names.append(self.name())
        return tuple(names)

    def orders(self) -> tuple[Order, ...]:
        if not self.accept("ORDER"):
            return ()
        self.keyword("BY")
        found = [self.order()]
        while self.accept(","):
            found.append(self.order())
        return tuple(found)

    def order(self) -> Order:
        path = self.name()
        descending = self.accept("DESC") is not None
        if not descending:
            self.accept("ASC")
        nulls_last = False
        if self.accept("NULLS"):
            word = self.name().upper()
            if word not in ("FIRST", "LAST"):
                raise self.unexpected(self.next - 1)
            nulls_last = word == "LAST"
        return Order(path, descending, nulls_last)

    def count(self) -> int:
        token = self.token
        if token is None or token.kind != "number" or not token.value.isdigit():
            raise self.unexpected()
        self.next += 1
        return int(token.value)

    @property
    def token(self) -> Token | None:
        return self.tokens[self.next] if self.next < len(self.tokens) else None

    def accept(self, wanted: str) -> str | None:
        token = self.token
        if token is not None and token.kind in ("name", "sign") and token.value.upper() == wanted:
            self.next += 1
            return wanted
        return None

    def keyword(self, wanted: str) -> None:
        if self.accept(wanted) is None:
            raise self.unexpected()

    def sign(self, wanted: str) -> None:
        if self.accept(wanted) is None:
            raise self.unexpected()

    def name(self) -> str:
        token = self.token
        if token is None or token.kind != "name" or token.value.upper() in RESERVED:
            raise self.unexpected()
        self.next += 1
        return token.value

    def unexpected(self, index: int | None = None) -> SoqlError:
        index = self.next if index is None else index
        if index >= len(self.tokens):
            return SoqlError("MALFORMED_QUERY", "unexpected token: '<EOF>'")
        token = self.tokens[index]
        return SoqlError(
            "MALFORMED_QUERY", at(self.text, token.start, f"unexpected token: '{token.value}'")
        )


def _unescaped(found: re.Match[str]) -> str:
    return _ESCAPES.get(found[1], found[1])


def _tokens(text: str) -> list[Token]:
    tokens = []
    position = 0
    end = len(text.rstrip())
    while position < end:
        found = _TOKEN.match(text, position)
        if found is None:
            start = position + len(text[position:]) - len(text[position:].lstrip())
            reason = f"line 1:{start} no viable alternative at character '{text[start]}'"
            raise SoqlError("MALFORMED_QUERY", at(text, start, reason))
        kind = found.lastgroup or ""
        value = found.group(kind)
        tokens.append(Token(kind, value[1:-1] if kind == "text" else value, found.start(kind)))
        position = found.end()
    return tokens
