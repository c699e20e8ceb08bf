"""Oracle's aggregate and window functions, and the rule of GROUP BY."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import replace

from kpcluigi.rehearsal.oracle import conversions, exact, hashes, rowids, text_functions, values
from kpcluigi.rehearsal.oracle import syntax as s
from kpcluigi.rehearsal.oracle.errors import OraError, unimplemented
from kpcluigi.rehearsal.oracle.functions import Functions
from kpcluigi.rehearsal.oracle.oratypes import NUMBER, number, varchar2
from kpcluigi.rehearsal.oracle.scope import Scope
from kpcluigi.rehearsal.oracle.values import Typed

KNOWN_ELSEWHERE = (conversions, hashes, rowids, text_functions)
"""Modules whose functions are known once they are imported."""

AGGREGATES = frozenset({"COUNT", "SUM", "AVG", "MIN", "MAX", "LISTAGG"})
_RANKS = frozenset({"ROW_NUMBER", "RANK", "DENSE_RANK", "NTILE"})
_NEIGHBOURS = frozenset({"LAG", "LEAD", "FIRST_VALUE", "LAST_VALUE"})
_REFUSED = frozenset(
    {"STDDEV", "VARIANCE", "MEDIAN", "PERCENT_RANK", "CUME_DIST", "RATIO_TO_REPORT", "NTH_VALUE",
     "STDDEV_POP", "STDDEV_SAMP", "VAR_POP", "VAR_SAMP", "CORR", "COVAR_POP", "PERCENTILE_CONT",
     "PERCENTILE_DISC", "APPROX_COUNT_DISTINCT", "XMLAGG", "COLLECT", "GROUPING", "CHECKSUM"}
)  # fmt: skip


def walk(node: object) -> Iterator[object]:
    """Every node below and including `node`, not entering subqueries."""
    if isinstance(node, tuple):
        for one in node:
            yield from walk(one)
    elif dataclasses.is_dataclass(node) and not isinstance(node, s.Query):
        yield node
        for field in dataclasses.fields(node):
            yield from walk(getattr(node, field.name))


def is_aggregate(node: object) -> bool:
    return (
        isinstance(node, s.Call)
        and len(node.path) == 1
        and node.path[0] in AGGREGATES
        and node.over is None
    )


def has_aggregate(node: object) -> bool:
    return any(is_aggregate(n) for n in walk(node))


class Aggregates(Functions):
    """Calls that look at more than one row. `clause` says where in the query block they stand."""

    clause = "SELECT"
    _inside = False

    def call(self, node: s.Call, scope: Scope) -> Typed:
        name = node.path[0] if len(node.path) == 1 else ""
        if name in _REFUSED:
            raise unimplemented(name)
        windowed = node.over is not None
        if name in _RANKS | _NEIGHBOURS:
            if not windowed:
                raise OraError(30484, offset=node.offset)
            self._need_window_allowed(node)
            return self._ranked(node, scope) if name in _RANKS else self._neighbour(node, scope)
        if name not in AGGREGATES:
            return super().call(node, scope)
        if windowed:
            self._need_window_allowed(node)
        elif self.clause in ("WHERE", "ON", "GROUP") or self._inside:
            raise OraError(934 if not self._inside else 978, offset=node.offset)
        self._inside = not windowed
        try:
            return self._aggregate(node, scope)
        finally:
            self._inside = False

    def compared_rowids(self, op: str, left: Typed, right: Typed) -> str:
        return rowids.compared(op, left, right)

    def _need_window_allowed(self, node: s.Call) -> None:
        if self.clause in ("WHERE", "ON", "GROUP", "HAVING"):
            raise OraError(30483, offset=node.offset)

    def _aggregate(self, node: s.Call, scope: Scope) -> Typed:
        name, over = node.path[0], self._over(node, scope)
        if name == "COUNT" and node.star:
            return values.whole_number(f"count(*){over}")
        if name == "LISTAGG":
            return self._listagg(node, scope, over)
        if len(node.args) != 1:
            raise OraError(909, offset=node.offset)
        value = self.value(node.args[0], scope)
        distinct = "DISTINCT " if node.distinct else ""
        if name == "COUNT":
            counted = values.sort_key(value) if node.distinct else value.sql
            return values.whole_number(f"count({distinct}{counted}){over}")
        if name in ("MIN", "MAX"):
            return self._extreme(name.lower(), value, over)
        value = values.as_number(value)
        total = self._sum(value, distinct, over)
        if name == "SUM":
            return total
        count = f"CAST(count({distinct}{value.sql}){over} AS VARCHAR)"
        return Typed(f"ora_divide({values.canonical_sql(total)}, {count})", NUMBER)

    @staticmethod
    def _sum(value: Typed, distinct: str, over: str) -> Typed:
        if value.type.fixed is None:
            return Typed(exact.sum_of_texts(value.sql, distinct, over), NUMBER)
        if value.type.fixed[0] > exact.SAFE_DIGITS:
            return Typed(exact.sum_of_many_digits(value, distinct, over), NUMBER)
        fixed = (38, value.type.fixed[1])
        return Typed(f"sum({distinct}{value.sql}){over}", number(fixed))

    @staticmethod
    def _extreme(function: str, value: Typed, over: str) -> Typed:
        key = values.sort_key(value)
        # The size of a text stays; the precision of a number does not, as in Oracle.
        kind = number(value.type.fixed) if value.type.kind == "NUMBER" else value.type
        if key == value.sql:
            return Typed(f"{function}({value.sql}){over}", kind)
        if kind.kind == "NUMBER":
            return Typed(exact.extreme_of_texts(function, value.sql, over), kind)
        return Typed(f"arg_{function}({value.sql}, {key}){over}", kind)

    def _listagg(self, node: s.Call, scope: Scope, over: str) -> Typed:
        if not 1 <= len(node.args) <= 2 or node.distinct or over:
            raise unimplemented("this form of LISTAGG")
        value = values.as_text(self.value(node.args[0], scope), self.nls)
        between = "''"
        if len(node.args) > 1:
            between = values.as_text(self.value(node.args[1], scope), self.nls).sql
        order = self.sorting(node.within, scope) if node.within else ""
        sql = f"ora_at_most_4000(string_agg({value.sql}, coalesce({between}, ''){order}))"
        return Typed(sql, varchar2(4000))

    def _over(self, node: s.Call, scope: Scope) -> str:
        if node.over is None:
            return ""
        parts = []
        if node.over.partition:
            keys = [values.group_key(self.value(p, scope)) for p in node.over.partition]
            parts.append("PARTITION BY " + ", ".join(keys))
        if node.over.order:
            parts.append(self.sorting(node.over.order, scope).strip())
        if node.over.frame:
            parts.append(node.over.frame)
        return f" OVER ({' '.join(parts)})"

    def sorting(self, items: tuple[s.OrderItem, ...], scope: Scope) -> str:
        """An ORDER BY of a window: a number there is a constant, not a position."""
        terms = []
        for item in items:
            key = values.sort_key(self.value(item.value, scope))
            terms.append(key + direction(item))
        return " ORDER BY " + ", ".join(terms)

    def _ranked(self, node: s.Call, scope: Scope) -> Typed:
        assert node.over is not None
        name = node.path[0]
        if not node.over.order:
            raise OraError(30485, offset=node.offset)
        if len(node.args) != (1 if name == "NTILE" else 0):
            raise OraError(909, offset=node.offset)
        argument = self.whole(node.args[0], scope) if node.args else ""
        return values.whole_number(f"{name.lower()}({argument}){self._over(node, scope)}")

    def _neighbour(self, node: s.Call, scope: Scope) -> Typed:
        assert node.over is not None
        name, over = node.path[0], self._over(node, scope)
        shifts = name in ("LAG", "LEAD")
        if not 1 <= len(node.args) <= (3 if shifts else 1):
            raise OraError(909, offset=node.offset)
        if shifts and not node.over.order:
            raise OraError(30485, offset=node.offset)
        value = self.value(node.args[0], scope)
        arguments = [value.sql]
        if len(node.args) > 1:
            arguments.append(self.whole(node.args[1], scope))
        if len(node.args) > 2:
            given = [value, self.value(node.args[2], scope)]
            value, default = values.unified(given, self.nls, value.type)
            arguments = [value.sql, arguments[1], default.sql]
        return Typed(f"{name.lower()}({', '.join(arguments)}){over}", value.type)

    # -- the rule of GROUP BY

    def check_grouped(self, node: object, scope: Scope, keys: frozenset[str], number: int) -> None:
        """Refuse `node` with `number` when it reads a column that is neither grouped nor inside
        an aggregate."""
        if isinstance(node, tuple):
            for one in node:
                self.check_grouped(one, scope, keys, number)
            return
        if is_aggregate(node) or not dataclasses.is_dataclass(node):
            return
        if isinstance(node, s.Value) and self._is_key(node, scope, keys):
            return
        if isinstance(node, s.ColumnRef) and self._is_own_column(node, scope):
            raise OraError(number, offset=node.offset)
        if isinstance(node, s.Star):
            raise OraError(number)
        if isinstance(node, s.Query):
            return
        for field in dataclasses.fields(node):
            self.check_grouped(getattr(node, field.name), scope, keys, number)

    def _is_key(self, node: s.Value, scope: Scope, keys: frozenset[str]) -> bool:
        if not keys or isinstance(node, (s.Row, s.Star, s.Interval)):
            return False
        return self.value(node, scope).sql in keys

    def _is_own_column(self, node: s.ColumnRef, scope: Scope) -> bool:
        try:
            return scope.resolve(node)[1]
        except OraError:
            return False  # a pseudo column; an unknown name was refused when it was compiled


def direction(item: s.OrderItem) -> str:
    """NULLs sort as the largest values."""
    nulls = item.nulls or ("FIRST" if item.descending else "LAST")
    return f"{' DESC' if item.descending else ''} NULLS {nulls}"


def renamed(value: Typed, sql: str) -> Typed:
    """The column of an inner query under its outer name."""
    return replace(value, sql=sql, text=None, null=False, row=None)
