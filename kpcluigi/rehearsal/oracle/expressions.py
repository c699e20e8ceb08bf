"""Compiles Oracle's values and conditions into typed DuckDB SQL."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from decimal import Decimal

from kpcluigi.rehearsal.oracle import oradate, values
from kpcluigi.rehearsal.oracle import syntax as s
from kpcluigi.rehearsal.oracle.errors import OraError, unimplemented
from kpcluigi.rehearsal.oracle.oratypes import (
    DATE,
    MAX_DECIMAL,
    NUMBER,
    TIMESTAMP,
    TSTZ,
    OraType,
    number,
    parse_type,
    varchar2,
)
from kpcluigi.rehearsal.oracle.scope import Parameters, Scope, Surroundings
from kpcluigi.rehearsal.oracle.values import Typed

_NUMBER_FUNCTIONS = {"+": "ora_add", "-": "ora_subtract", "*": "ora_multiply"}
_SECONDS = {"DAY": 86400, "HOUR": 3600, "MINUTE": 60, "SECOND": 1}


class Expressions(ABC):
    """Values and conditions in a scope. `functions` and `queries` add the rest."""

    def __init__(self, around: Surroundings, parameters: Parameters) -> None:
        self.around = around
        self.nls = around.nls
        self.parameters = parameters
        self._aliases = 0
        self._places: dict[str, int] = {}

    def fresh(self) -> str:
        self._aliases += 1
        return f"_a{self._aliases}"

    @abstractmethod
    def call(self, node: s.Call, scope: Scope) -> Typed:
        """A function call as DuckDB SQL with its type."""

    @abstractmethod
    def pseudo(self, name: str, scope: Scope) -> Typed | None:
        """A pseudo column such as ROWNUM or SYSDATE; None where the name is none."""

    @abstractmethod
    def compared_rowids(self, op: str, left: Typed, right: Typed) -> str:
        """A comparison of which one side is a ROWID."""

    @abstractmethod
    def subquery(self, query: s.Query, scope: Scope | None) -> tuple[str, list[Typed]]:
        """A query inside an expression, and the types of its columns."""

    # -- values

    def value(self, node: s.Value, scope: Scope) -> Typed:
        match node:
            case s.ColumnRef():
                return self._column(node, scope)
            case s.Text():
                return values.text_literal(node.value)
            case s.Number():
                return values.number_literal(node.value)
            case s.Null():
                return values.NULL
            case s.Bind():
                return self._bind(node)
            case s.Moment():
                return self._moment(node)
            case s.Negative():
                return self._negative(self.value(node.value, scope))
            case s.Binary():
                return self._binary(node, scope)
            case s.Call():
                return self.call(node, scope)
            case s.Case():
                return self._case(node, scope)
            case s.Cast():
                return self._cast(node, scope)
            case s.Extract():
                return self._extract(node, scope)
            case s.Trim():
                return self._trim(node, scope)
            case s.AtZone():
                return self._at_zone(node, scope)
            case s.Scalar():
                return self._scalar(node, scope)
            case s.Interval():
                raise unimplemented("an interval other than one added to a date")
            case s.Row() | s.Star():
                raise OraError(936)

    def _column(self, node: s.ColumnRef, scope: Scope) -> Typed:
        if node.outer:
            raise unimplemented("the outer join operator (+)")
        try:
            return scope.resolve(node)[0]
        except OraError as error:
            if error.number == 904:
                if not node.parts[0].quoted and len(node.parts) == 1:
                    found = self.pseudo(node.parts[0].text, scope)
                    if found is not None:
                        return found
                elif not any(p.quoted for p in node.parts):
                    path = tuple(p.text for p in node.parts)
                    if path[-2:] in _PACKAGE_CONSTANTS:
                        return self.call(s.Call(path, (), parentheses=False), scope)
            raise

    def _bind(self, node: s.Bind) -> Typed:
        index = self._place(node)
        bound = self.parameters.at(index)
        kind = bound.type
        if bound.value is None:
            return replace(values.null_of(kind), text="" if kind.is_text else None)
        self.parameters.used[index] += 1
        name = f"$b{index}"
        if kind.kind == "NUMBER" and kind.fixed is not None:
            name = f"CAST({name} AS DECIMAL({kind.fixed[0]},{kind.fixed[1]}))"
        elif kind.kind == "TSTZ":
            name = f"struct_pack(u := CAST({name} AS TIMESTAMP), o := {bound.offset}::SMALLINT)"
        else:
            name = f"CAST({name} AS {values.engine_type(kind)})"
        text = bound.value if isinstance(bound.value, str) and kind.is_text else None
        return Typed(name, kind, nullable=True, text=text)

    def _place(self, node: s.Bind) -> int:
        """Where the value stands. A name that comes again is the same value, so that an expression
        with it can be grouped by; :1 and :2 count places."""
        if node.name.isdigit():
            return node.index
        return self._places.setdefault(node.name, node.index)

    def bind_text(self, value: Typed, node: s.Value, what: str) -> str:
        """The text of a format model; a statement that reads a bind so is compiled per value."""
        if isinstance(node, s.Bind):
            self.parameters.fixed_by_value = True
            if value.sql.find("$b") >= 0:
                self.parameters.used[self._place(node)] -= 1
        return values.need_text(value, what)

    def _moment(self, node: s.Moment) -> Typed:
        if node.kind == "DATE":
            when = oradate.to_date(node.value, "YYYY-MM-DD")
            return Typed(f"TIMESTAMP '{when:%Y-%m-%d}'", DATE, nullable=False)
        model = "YYYY-MM-DD HH24:MI:SS.FF"
        text, zone = node.value.strip(), None
        if len(text) > 6 and text[-6] in "+-" and text[-3] == ":":
            model, zone = model + " TZH:TZM", True
        moment, offset = oradate.read(text, model)
        literal = f"TIMESTAMP '{moment.isoformat(' ')}'"
        if zone is None:
            return Typed(literal, TIMESTAMP, nullable=False)
        east = offset or 0
        utc = f"{literal} - to_minutes({east})"
        return Typed(f"struct_pack(u := {utc}, o := {east}::SMALLINT)", TSTZ, nullable=False)

    def _negative(self, value: Typed) -> Typed:
        value = values.as_number(value)
        if value.type.fixed is None:
            return Typed(f"ora_subtract('0', {value.sql})", NUMBER, value.nullable)
        return Typed(f"(-{value.sql})", number(value.type.fixed), value.nullable)

    def _binary(self, node: s.Binary, scope: Scope) -> Typed:
        if node.op in ("+", "-"):
            if isinstance(node.right, s.Interval):
                return self._shift(self.value(node.left, scope), node.right, node.op)
            if isinstance(node.left, s.Interval) and node.op == "+":
                return self._shift(self.value(node.right, scope), node.left, node.op)
        left, right = self.value(node.left, scope), self.value(node.right, scope)
        if node.op == "||":
            return self.concatenated(left, right)
        if left.type.is_time or right.type.is_time:
            return self._date_arithmetic(node.op, left, right)
        return self.arithmetic(node.op, values.as_number(left), values.as_number(right))

    def arithmetic(self, op: str, left: Typed, right: Typed) -> Typed:
        nullable = left.nullable or right.nullable
        if op == "/":
            divided = f"ora_divide({values.canonical_sql(left)}, {values.canonical_sql(right)})"
            return Typed(divided, NUMBER, nullable)
        a, b = left.type.fixed, right.type.fixed
        fixed: tuple[int, int] | None = None
        if a is not None and b is not None:
            if op == "*":
                fixed = (a[0] + b[0], a[1] + b[1])
            else:
                scale = max(a[1], b[1])
                fixed = (max(a[0] - a[1], b[0] - b[1]) + scale + 1, scale)
        if fixed is None or fixed[0] > MAX_DECIMAL:
            function = _NUMBER_FUNCTIONS[op]
            sql = f"{function}({values.canonical_sql(left)}, {values.canonical_sql(right)})"
            return Typed(sql, NUMBER, nullable)
        return Typed(f"({left.sql} {op} {right.sql})", number(fixed), nullable)

    def concatenated(self, left: Typed, right: Typed) -> Typed:
        left, right = values.as_text(left, self.nls), values.as_text(right, self.nls)
        size = left.type.size + right.type.size
        parts = [
            t.sql if not t.nullable else f"coalesce({t.sql}, '')"
            for t in (left, right)
            if not t.null
        ]
        nullable = left.nullable and right.nullable
        sql = f"({' || '.join(parts) or 'CAST(NULL AS VARCHAR)'})"
        if nullable:
            sql = f"nullif({sql}, '')"
        lob = "CLOB" in (left.type.kind, right.type.kind)
        if lob:
            return Typed(sql, OraType("CLOB", size=4000), nullable)
        if size > 4000:
            sql = f"ora_at_most_4000({sql})"
        return Typed(sql, varchar2(size), nullable)

    def _date_arithmetic(self, op: str, left: Typed, right: Typed) -> Typed:
        if left.type.is_time and right.type.is_time:
            if op != "-":
                raise OraError(975)
            if left.type.kind != "DATE" or right.type.kind != "DATE":
                raise unimplemented("the difference of two timestamps (an interval)")
            micro = f"(epoch_us({left.sql}) - epoch_us({right.sql}))"
            sql = f"ora_divide(CAST({micro} AS VARCHAR), '86400000000')"
            return Typed(sql, NUMBER, left.nullable or right.nullable)
        if op not in ("+", "-") or (op == "-" and right.type.is_time):
            raise values.inconsistent("NUMBER", right.type if right.type.is_time else left.type)
        moment, count = (left, right) if left.type.is_time else (right, left)
        moment = values.convert(moment, DATE, self.nls)
        days = values.as_number(count)
        nullable = moment.nullable or days.nullable
        if days.type.fixed is not None and days.type.fixed[1] == 0:
            step = f"to_days(CAST({days.sql} AS INTEGER))"
        else:
            step = f"to_seconds(ora_seconds({values.canonical_sql(days)}))"
        return Typed(f"({moment.sql} {op} {step})", DATE, nullable)

    def _shift(self, moment: Typed, interval: s.Interval, op: str) -> Typed:
        if not moment.type.is_time:
            raise values.inconsistent("DATE", moment.type)
        if interval.unit in ("YEAR", "MONTH"):
            months = int(interval.value) * (12 if interval.unit == "YEAR" else 1)
            sign = "-" if op == "-" else ""
            sql = f"ora_shift_months({moment.sql}, {sign}{months})"
            if moment.type.kind == "TSTZ":
                raise unimplemented("months added to a TIMESTAMP WITH TIME ZONE")
            return replace(moment, sql=sql, text=None)
        micro = int(Decimal(interval.value) * _SECONDS[interval.unit] * 1_000_000)
        if moment.type.kind == "TSTZ":
            u = f"{moment.sql}.u {op} to_microseconds({micro})"
            return replace(moment, sql=f"struct_pack(u := {u}, o := {moment.sql}.o)")
        return replace(moment, sql=f"({moment.sql} {op} to_microseconds({micro}))")

    def _case(self, node: s.Case, scope: Scope) -> Typed:
        results = [self.value(then, scope) for _, then in node.whens]
        otherwise = values.NULL if node.otherwise is None else self.value(node.otherwise, scope)
        unified = values.unified([*results, otherwise], self.nls)
        sql = "CASE"
        for (when, _), result in zip(node.whens, unified, strict=False):
            if node.operand is None:
                assert not isinstance(when, s.Value)
                test = self.condition(when, scope)
            else:
                assert isinstance(when, s.Value)
                test = self.compared("=", node.operand, when, scope)
            sql += f" WHEN {test} THEN {result.sql}"
        nullable = any(r.nullable for r in unified)
        return Typed(f"{sql} ELSE {unified[-1].sql} END", self._computed(unified[0].type), nullable)

    @staticmethod
    def _computed(type_: OraType) -> OraType:
        return number(type_.fixed) if type_.kind == "NUMBER" else type_

    def _cast(self, node: s.Cast, scope: Scope) -> Typed:
        value = self.value(node.value, scope)
        try:
            target = parse_type(node.type)
        except ValueError:
            raise unimplemented(f"CAST AS {node.type}") from None
        if target.rounds_elsewhere:
            raise unimplemented(f"CAST AS {node.type}")
        made = values.convert(value, target, self.nls)
        if made.null:
            return made
        if target.kind == "NUMBER":
            if target.fixed is None:
                return replace(made, sql=values.canonical_sql(made), type=target)
            return Typed(self.fitted_number(made, target.fixed), target, made.nullable)
        if target.kind == "VARCHAR2":
            measure = f"left({made.sql}, {target.chars})"
            sql = measure if target.by_char else f"ora_cut_bytes({made.sql}, {target.size})"
            return Typed(sql, target, made.nullable)
        if target.kind == "CHAR":
            raise unimplemented("CAST AS CHAR")
        return replace(made, type=target)

    def fitted_number(self, value: Typed, fixed: tuple[int, int]) -> str:
        """SQL for a NUMBER rounded into DECIMAL(p,s); ORA-01438 when it is too large."""
        have = value.type.fixed
        if have is not None and have[1] <= fixed[1] and have[0] - have[1] <= fixed[0] - fixed[1]:
            return values.number_as(value, fixed)
        text = values.canonical_sql(value)
        fit = f"ora_fit({text}, {fixed[0]}, {fixed[1]})"
        return f"CAST({fit} AS DECIMAL({fixed[0]},{fixed[1]}))"

    def _extract(self, node: s.Extract, scope: Scope) -> Typed:
        value = self.value(node.value, scope)
        if not value.type.is_time:
            raise OraError(30076)
        time_field = node.field in ("HOUR", "MINUTE", "SECOND")
        if node.field not in ("YEAR", "MONTH", "DAY") and not time_field:
            raise unimplemented(f"EXTRACT({node.field})")
        if time_field and value.type.kind == "DATE":
            raise OraError(30076)
        # A TIMESTAMP WITH TIME ZONE is extracted from in UTC, Oracle's documentation of EXTRACT.
        moment = f"{value.sql}.u" if value.type.kind == "TSTZ" else value.sql
        if node.field == "SECOND":
            whole = f"CAST(microsecond({moment}) AS DECIMAL(18,0))"
            return Typed(f"CAST({whole} * 0.000001 AS DECIMAL(8,6))", number((8, 6)))
        return values.whole_number(f"{node.field.lower()}({moment})", value.nullable)

    def _trim(self, node: s.Trim, scope: Scope) -> Typed:
        value = values.as_text(self.value(node.value, scope), self.nls)
        function = {"BOTH": "trim", "LEADING": "ltrim", "TRAILING": "rtrim"}[node.side]
        what = "' '"
        if node.what is not None:
            chosen = values.as_text(self.value(node.what, scope), self.nls)
            if chosen.text is not None and len(chosen.text) != 1:
                raise OraError(30001)
            what = chosen.sql
        sql = f"nullif({function}({value.sql}, {what}), '')"
        return Typed(sql, varchar2(value.type.size, value.type.chars))

    def _at_zone(self, node: s.AtZone, scope: Scope) -> Typed:
        value = self.value(node.value, scope)
        if node.zone is not None:
            raise unimplemented("AT TIME ZONE; AT LOCAL can be used")
        if value.type.kind != "TSTZ":
            raise unimplemented(f"AT LOCAL of a {value.type.kind}")
        made = f"struct_pack(u := {value.sql}.u, o := {self.nls.time_zone}::SMALLINT)"
        sql = f"(CASE WHEN {value.sql} IS NOT NULL THEN {made} END)"
        return replace(value, sql=sql)

    def _scalar(self, node: s.Scalar, scope: Scope) -> Typed:
        sql, columns = self.subquery(node.query, scope)
        if len(columns) != 1:
            raise OraError(913)
        return Typed(f"({sql})", columns[0].type)

    # -- conditions

    def condition(self, node: s.Condition, scope: Scope) -> str:
        match node:
            case s.Logic():
                parts = [self.condition(i, scope) for i in node.items]
                return "(" + f" {node.op} ".join(parts) + ")"
            case s.Not():
                return f"(NOT {self.condition(node.condition, scope)})"
            case s.IsNull():
                value = self.value(node.value, scope)
                return f"({value.sql} IS {'NOT ' if node.negated else ''}NULL)"
            case s.Between():
                low = self.compared(">=", node.value, node.low, scope)
                high = self.compared("<=", node.value, node.high, scope)
                return f"({'NOT ' if node.negated else ''}({low} AND {high}))"
            case s.Like():
                return self._like(node, scope)
            case s.In():
                return self._in(node, scope)
            case s.Exists():
                sql, _ = self.subquery(node.query, scope)
                return f"EXISTS ({sql})"
            case s.Compare():
                return self._compare(node, scope)

    def compared(self, op: str, left: s.Value, right: s.Value, scope: Scope) -> str:
        a, b = self.value(left, scope), self.value(right, scope)
        if "ROWID" in (a.type.kind, b.type.kind):
            return self.compared_rowids(op, a, b)
        x, y = values.comparable(a, b, self.nls)
        return f"({x} {op} {y})"

    def _compare(self, node: s.Compare, scope: Scope) -> str:
        if isinstance(node.left, s.Row) or isinstance(node.right, s.Row):
            if node.quantifier and not isinstance(node.left, s.Row):
                return self._quantified(node, scope)
            if node.op not in ("=", "<>"):
                raise OraError(1796)
            raise unimplemented("equality of lists; IN can be used")
        if node.quantifier:
            return self._quantified(node, scope)
        return self.compared(node.op, node.left, node.right, scope)

    def _quantified(self, node: s.Compare, scope: Scope) -> str:
        items = node.right.items if isinstance(node.right, s.Row) else (node.right,)
        if any(isinstance(i, s.Scalar) for i in items):
            raise unimplemented("ANY, SOME and ALL with a subquery")
        parts = [self.compared(node.op, node.left, i, scope) for i in items]
        return "(" + (" AND " if node.quantifier == "ALL" else " OR ").join(parts) + ")"

    def _like(self, node: s.Like, scope: Scope) -> str:
        value = values.as_text(self.value(node.value, scope), self.nls)
        pattern = values.as_text(self.value(node.pattern, scope), self.nls)
        escape = ""
        if node.escape is not None:
            mark = self.value(node.escape, scope)
            given = self.bind_text(mark, node.escape, "an ESCAPE character")
            if len(given) != 1:
                raise OraError(1425)
            escape = f" ESCAPE {values.quoted(given)}"
        return f"({value.sql} {'NOT ' if node.negated else ''}LIKE {pattern.sql}{escape})"

    def _in(self, node: s.In, scope: Scope) -> str:
        negated = "NOT " if node.negated else ""
        if node.query is not None:
            return self._in_query(node, node.query, scope)
        if len(node.items) > 1000:
            raise OraError(1795)
        if isinstance(node.value, s.Row):
            return f"({negated}{self._rows_in(node.value, node.items, scope)})"
        left = self.value(node.value, scope)
        if any(isinstance(i, s.Row) for i in node.items):
            raise OraError(907)
        pairs = [values.comparable(left, self.value(i, scope), self.nls) for i in node.items]
        lefts = {a for a, _ in pairs}
        if len(lefts) == 1:
            return f"({lefts.pop()} {negated}IN ({', '.join(b for _, b in pairs)}))"
        return f"({negated}(" + " OR ".join(f"{a} = {b}" for a, b in pairs) + "))"

    def _rows_in(self, row: s.Row, items: tuple[s.Value, ...], scope: Scope) -> str:
        rows = []
        for item in items:
            parts = item.items if isinstance(item, s.Row) else (item,)
            if len(parts) != len(row.items):
                raise OraError(947 if len(parts) < len(row.items) else 913)
            equal = [self.compared("=", a, b, scope) for a, b in zip(row.items, parts, strict=True)]
            rows.append("(" + " AND ".join(equal) + ")")
        return "(" + " OR ".join(rows) + ")"

    def _in_query(self, node: s.In, query: s.Query, scope: Scope) -> str:
        sql, columns = self.subquery(query, scope)
        lefts = node.value.items if isinstance(node.value, s.Row) else (node.value,)
        if len(columns) != len(lefts):
            raise OraError(947 if len(columns) < len(lefts) else 913)
        alias = self.fresh()
        pairs = [
            values.comparable(
                self.value(left, scope), replace(column, sql=f"{alias}.c{i}"), self.nls
            )
            for i, (left, column) in enumerate(zip(lefts, columns, strict=True))
        ]
        if len(pairs) == 1:
            left_sql, right_sql = pairs[0]
            inner = f"SELECT {right_sql} FROM ({sql}) AS {alias}"
            return f"({left_sql} {'NOT ' if node.negated else ''}IN ({inner}))"
        if node.negated:
            raise unimplemented("(a, b) NOT IN (subquery)")
        equal = " AND ".join(f"{a} = {b}" for a, b in pairs)
        return f"EXISTS (SELECT 1 FROM ({sql}) AS {alias} WHERE {equal})"


_PACKAGE_CONSTANTS = {("DBMS_FLASHBACK", "GET_SYSTEM_CHANGE_NUMBER")}
