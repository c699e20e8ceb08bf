"""The parser's hold on the tokens, and Oracle's grammar of values and conditions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from decimal import Decimal
from typing import TYPE_CHECKING

from kpcluigi.rehearsal.oracle import syntax as s
from kpcluigi.rehearsal.oracle.errors import OraError, unimplemented
from kpcluigi.rehearsal.oracle.lexer import Token, tokenize

if TYPE_CHECKING:
    from kpcluigi.rehearsal.oracle.syntax import Condition, Query, Value

_RESERVED = """
    ACCESS ADD ALL ALTER AND ANY AS ASC AUDIT BETWEEN BY CHAR CHECK CLUSTER COLUMN COMMENT
    COMPRESS CONNECT CREATE CURRENT DATE DECIMAL DEFAULT DELETE DESC DISTINCT DROP ELSE EXCLUSIVE
    EXISTS FILE FLOAT FOR FROM GRANT GROUP HAVING IDENTIFIED IMMEDIATE IN INCREMENT INDEX INITIAL
    INSERT INTEGER INTERSECT INTO IS LEVEL LIKE LOCK LONG MAXEXTENTS MINUS MLSLABEL MODE MODIFY
    NOAUDIT NOCOMPRESS NOT NOWAIT NULL NUMBER OF OFFLINE ON ONLINE OPTION OR ORDER PCTFREE PRIOR
    PUBLIC RAW RENAME RESOURCE REVOKE ROW ROWID ROWNUM ROWS SELECT SESSION SET SHARE SIZE SMALLINT
    START SUCCESSFUL SYNONYM SYSDATE TABLE THEN TO TRIGGER UID UNION UNIQUE UPDATE USER VALIDATE
    VALUES VARCHAR VARCHAR2 VIEW WHENEVER WHERE WITH
"""
RESERVED = frozenset(_RESERVED.split())
"""Oracle Database SQL Language Reference 19c, appendix E; those never name a column or table."""

PSEUDO_COLUMNS = frozenset({"ROWNUM", "SYSDATE", "USER", "LEVEL", "UID", "ROWID"})
COMPARISONS = {
    "=": "=",
    "<>": "<>",
    "!=": "<>",
    "^=": "<>",
    "<": "<",
    ">": ">",
    "<=": "<=",
    ">=": ">=",
}
INTERVAL_UNITS = frozenset({"YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"})


class Tokens:
    """A cursor over the tokens of one statement."""

    def __init__(self, sql: str) -> None:
        self.sql = sql
        found = tokenize(sql)
        self.hints = tuple(t.text for t in found if t.kind == "hint")
        self._tokens = [t for t in found if t.kind != "hint"]
        self.at = 0
        self.binds: list[str] = []

    @property
    def now(self) -> Token:
        return self._tokens[self.at]

    def ahead(self, steps: int = 1) -> Token:
        return self._tokens[min(self.at + steps, len(self._tokens) - 1)]

    def take(self) -> Token:
        token = self.now
        if token.kind != "end":
            self.at += 1
        return token

    def rewind(self, at: int) -> None:
        """Go back to the token number `at`, forgetting the place holders since."""
        gone = sum(1 for t in self._tokens[at : self.at] if t.kind == "bind")
        if gone:
            del self.binds[-gone:]
        self.at = at

    def is_word(self, *words: str) -> bool:
        """Whether the next tokens are these key words."""
        return all(
            self.ahead(i).kind == "word" and self.ahead(i).text == w for i, w in enumerate(words)
        )

    def is_op(self, op: str) -> bool:
        return self.now.kind == "op" and self.now.text == op

    def accept(self, *words: str) -> bool:
        if self.is_word(*words):
            self.at += len(words)
            return True
        return False

    def accept_op(self, op: str) -> bool:
        if self.is_op(op):
            self.at += 1
            return True
        return False

    def need(self, number: int, *words: str) -> None:
        if not self.accept(*words):
            raise self.error(number)

    def need_op(self, op: str, number: int) -> None:
        if not self.accept_op(op):
            raise self.error(number)

    def error(self, number: int, *parts: object) -> OraError:
        return OraError(number, *parts, offset=self.now.start)

    def name(self, number: int) -> s.Name:
        """An identifier; a reserved word is refused with `number`."""
        token = self.now
        if token.kind == "quoted":
            self.at += 1
            return s.Name(token.text, quoted=True)
        if token.kind != "word" or token.text in RESERVED:
            raise self.error(number)
        self.at += 1
        return s.Name(token.text)


class Expressions(Tokens, ABC):
    """Values and conditions. A value is never a condition, as in Oracle before 23ai."""

    @abstractmethod
    def query(self) -> Query:
        """A SELECT with its set operators; the parser of queries says how."""

    @abstractmethod
    def order_by(self) -> tuple[s.OrderItem, ...]:
        """ORDER BY and its items, if they come next."""

    # -- conditions

    def condition(self) -> Condition:
        items = [self._conjunction()]
        while self.accept("OR"):
            items.append(self._conjunction())
        return items[0] if len(items) == 1 else s.Logic("OR", tuple(items))

    def _conjunction(self) -> Condition:
        items = [self._negation()]
        while self.accept("AND"):
            items.append(self._negation())
        return items[0] if len(items) == 1 else s.Logic("AND", tuple(items))

    def _negation(self) -> Condition:
        if self.accept("NOT"):
            return s.Not(self._negation())
        if self.accept("EXISTS"):
            self.need_op("(", 906)
            query = self.query()
            self.need_op(")", 907)
            return s.Exists(query)
        if self.is_op("("):
            start = self.at
            try:
                self.take()
                inner = self.condition()
                self.need_op(")", 907)
            except OraError as first:
                self.rewind(start)
                return self._predicate(first)
            return inner
        return self._predicate(None)

    def _predicate(self, otherwise: OraError | None) -> Condition:
        """A comparison; when it fails too, the failure that got further is the one reported."""
        try:
            left = self.value()
            return self._rest_of_predicate(left)
        except OraError as error:
            if otherwise is not None and otherwise.offset > error.offset:
                raise otherwise from None
            raise

    def _rest_of_predicate(self, left: Value) -> Condition:
        token = self.now
        if isinstance(left, s.Call) and left.path == ("REGEXP_LIKE",):
            raise unimplemented("REGEXP_LIKE")
        if token.kind == "op" and token.text in COMPARISONS:
            self.take()
            quantifier = next((q for q in ("ANY", "SOME", "ALL") if self.accept(q)), "")
            return s.Compare(COMPARISONS[token.text], left, self.value(), quantifier)
        if self.accept("IS"):
            negated = self.accept("NOT")
            self.need(908 if negated else 905, "NULL")
            return s.IsNull(left, negated)
        negated = self.accept("NOT")
        if self.accept("BETWEEN"):
            low = self.value()
            self.need(905, "AND")
            return s.Between(left, low, self.value(), negated)
        if self.accept("LIKE"):
            pattern = self.value()
            return s.Like(left, pattern, self.value() if self.accept("ESCAPE") else None, negated)
        if self.accept("IN"):
            return self._in(left, negated)
        raise self.error(920)

    def _in(self, left: Value, negated: bool) -> Condition:
        if not self.is_op("("):
            return s.In(left, (self.value(),), None, negated)
        self.take()
        if self.is_word("SELECT") or self.is_word("WITH"):
            query = self.query()
            self.need_op(")", 907)
            return s.In(left, (), query, negated)
        items = [self.value()]
        while self.accept_op(","):
            items.append(self.value())
        self.need_op(")", 907)
        return s.In(left, tuple(items), None, negated)

    # -- values

    def value(self) -> Value:
        left = self._term()
        while self.now.kind == "op" and self.now.text in ("+", "-", "||"):
            op = self.take().text
            right = self._term()
            left = s.Binary("+" if op == "+" else "-" if op == "-" else "||", left, right)
        return left

    def _term(self) -> Value:
        left = self._factor()
        while self.now.kind == "op" and self.now.text in ("*", "/"):
            op = self.take().text
            left = s.Binary("*" if op == "*" else "/", left, self._factor())
        return left

    def _factor(self) -> Value:
        if self.accept_op("-"):
            return s.Negative(self._factor())
        if self.accept_op("+"):
            return self._factor()
        value = self._primary()
        while self.is_word("AT", "LOCAL") or self.is_word("AT", "TIME", "ZONE"):
            if self.accept("AT", "LOCAL"):
                value = s.AtZone(value, None)
            else:
                self.at += 3
                value = s.AtZone(value, self._primary())
        return value

    def _primary(self) -> Value:
        token = self.now
        if token.kind == "string":
            self.take()
            return s.Text(token.text)
        if token.kind == "number":
            self.take()
            return s.Number(Decimal(token.text))
        if token.kind == "bind":
            self.take()
            self.binds.append(token.text)
            return s.Bind(token.text, len(self.binds) - 1)
        if self.is_op("("):
            return self._parenthesised()
        if token.kind == "word" and not (self.ahead().kind == "op" and self.ahead().text == "."):
            special = self._special(token.text)
            if special is not None:
                return special
        if token.kind == "quoted" or (
            token.kind == "word" and (token.text not in RESERVED or token.text in PSEUDO_COLUMNS)
        ):
            return self._reference()
        raise self.error(936)

    def _parenthesised(self) -> Value:
        self.need_op("(", 906)
        if self.is_word("SELECT") or self.is_word("WITH"):
            query = self.query()
            self.need_op(")", 907)
            return s.Scalar(query)
        items = [self.value()]
        while self.accept_op(","):
            items.append(self.value())
        self.need_op(")", 907)
        return items[0] if len(items) == 1 else s.Row(tuple(items))

    def _special(self, word: str) -> Value | None:
        """The values that open with a key word of their own."""
        after = self.ahead()
        if word == "NULL":
            self.take()
            return s.Null()
        if word == "CASE":
            self.take()
            return self._case()
        if word in ("DATE", "TIMESTAMP") and after.kind == "string":
            self.at += 2
            return s.Moment("DATE" if word == "DATE" else "TIMESTAMP", after.text)
        if word == "INTERVAL" and after.kind == "string":
            self.at += 2
            return self._interval(after.text)
        if after.kind == "op" and after.text == "(":
            if word == "CAST":
                return self._cast()
            if word == "EXTRACT":
                return self._extract()
            if word == "TRIM":
                return self._trim()
        return None

    def _interval(self, value: str) -> Value:
        unit = self.take().text
        if unit not in INTERVAL_UNITS or self.is_word("TO") or self.is_op("("):
            raise unimplemented("INTERVAL literals other than INTERVAL 'n' unit")
        return s.Interval(value, unit)

    def _case(self) -> Value:
        operand = None if self.is_word("WHEN") else self.value()
        whens: list[tuple[Condition | Value, Value]] = []
        while self.accept("WHEN"):
            when: Condition | Value = self.condition() if operand is None else self.value()
            self.need(905, "THEN")
            whens.append((when, self.value()))
        if not whens:
            raise self.error(905)
        otherwise = self.value() if self.accept("ELSE") else None
        self.need(905, "END")
        return s.Case(operand, tuple(whens), otherwise)

    def _cast(self) -> Value:
        self.at += 2
        value = self.value()
        self.need(905, "AS")
        start, depth = self.now.start, 0
        while depth or not self.is_op(")"):
            if self.now.kind == "end":
                raise self.error(907)
            depth += {"(": 1, ")": -1}.get(self.take().text, 0)
        text = self.sql[start : self.now.start].strip()
        self.take()
        return s.Cast(value, text)

    def _extract(self) -> Value:
        self.at += 2
        field = self.take().text
        self.need(905, "FROM")
        value = self.value()
        self.need_op(")", 907)
        return s.Extract(field, value)

    def _trim(self) -> Value:
        self.at += 2
        side = next((w for w in ("BOTH", "LEADING", "TRAILING") if self.accept(w)), None)
        what: Value | None = None if self.is_word("FROM") else self.value()
        if self.accept("FROM"):
            value = self.value()
        elif side is not None or what is None:
            raise self.error(905)
        else:
            value, what = what, None
        self.need_op(")", 907)
        chosen = s.Trim("BOTH", what, value)
        if side == "LEADING":
            return s.Trim("LEADING", what, value)
        return s.Trim("TRAILING", what, value) if side == "TRAILING" else chosen

    def _reference(self) -> Value:
        """A column, a pseudo column, a `t.*`, or a function call."""
        start = self.now.start
        first = self.take()
        parts = [s.Name(first.text, quoted=first.kind == "quoted")]
        while self.is_op("."):
            self.take()
            if self.is_op("*"):
                self.take()
                return s.Star(tuple(parts))
            if self.is_word("ROWID"):
                parts.append(s.Name(self.take().text))
            else:
                parts.append(self.name(1747))
        if self.is_op("("):
            if self.ahead().text == "+" and self.ahead(2).text == ")":
                self.at += 3
                return s.ColumnRef(tuple(parts), outer=True, offset=start)
            return self._call(tuple(p.text for p in parts), start)
        return s.ColumnRef(tuple(parts), offset=start)

    def _call(self, path: tuple[str, ...], start: int) -> Value:
        self.need_op("(", 906)
        distinct = self.accept("DISTINCT") or self.accept("UNIQUE")
        if not distinct:
            self.accept("ALL")
        args: list[Value] = []
        star = False
        if self.is_op("*") and path[-1] == "COUNT":
            self.take()
            star = True
        elif not self.is_op(")"):
            args.append(self.value())
            while self.accept_op(","):
                args.append(self.value())
        self.need_op(")", 907)
        if self.is_word("IGNORE", "NULLS") or self.is_word("RESPECT", "NULLS"):
            raise unimplemented("IGNORE NULLS")
        if self.is_word("KEEP") and self.ahead().text == "(":
            raise unimplemented("KEEP (DENSE_RANK …)")
        within: tuple[s.OrderItem, ...] = ()
        if self.accept("WITHIN", "GROUP"):
            self.need_op("(", 906)
            within = self.order_by()
            self.need_op(")", 907)
        over = self._window() if self.accept("OVER") else None
        return s.Call(path, tuple(args), distinct, star, True, over, within, start)

    def _window(self) -> s.Window:
        self.need_op("(", 906)
        partition: list[Value] = []
        if self.accept("PARTITION"):
            self.need(924, "BY")
            partition.append(self.value())
            while self.accept_op(","):
                partition.append(self.value())
        order = self.order_by() if self.is_word("ORDER") else ()
        frame = self._frame() if self.is_word("ROWS") or self.is_word("RANGE") else ""
        self.need_op(")", 907)
        return s.Window(tuple(partition), order, frame)

    def _frame(self) -> str:
        unit = self.take().text
        if self.accept("BETWEEN"):
            low = self._bound()
            self.need(905, "AND")
            return f"{unit} BETWEEN {low} AND {self._bound()}"
        return f"{unit} {self._bound()}"

    def _bound(self) -> str:
        if self.accept("CURRENT", "ROW"):
            return "CURRENT ROW"
        if self.now.kind == "number" and self.now.text.isdigit():
            amount = self.take().text
        elif self.accept("UNBOUNDED"):
            amount = "UNBOUNDED"
        else:
            raise self.error(905)
        for side in ("PRECEDING", "FOLLOWING"):
            if self.accept(side):
                return f"{amount} {side}"
        raise self.error(905)
