"""Compiles Oracle's queries: FROM, WHERE, GROUP BY, set operations, ORDER BY and row limits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from kpcluigi.rehearsal.oracle import syntax as s
from kpcluigi.rehearsal.oracle import values
from kpcluigi.rehearsal.oracle.aggregates import (
    Aggregates,
    direction,
    has_aggregate,
    renamed,
    walk,
)
from kpcluigi.rehearsal.oracle.catalog import Table
from kpcluigi.rehearsal.oracle.errors import OraError, unimplemented
from kpcluigi.rehearsal.oracle.samples import sample_sql
from kpcluigi.rehearsal.oracle.scope import (
    Parameters,
    Scope,
    Source,
    Surroundings,
    printed,
    table_columns,
)
from kpcluigi.rehearsal.oracle.undo import Past
from kpcluigi.rehearsal.oracle.values import Typed


@dataclass(frozen=True)
class Block:
    """A compiled query. Its columns are called c0, c1, … in DuckDB; `names` are Oracle's.

    `rowless` is the error for asking it for a ROWID, when it stands in a FROM.
    """

    sql: str
    names: tuple[str, ...]
    columns: tuple[Typed, ...]
    rowless: int = 1446


class Queries(Aggregates):
    """Query blocks, from the inside out."""

    def __init__(self, around: Surroundings, parameters: Parameters) -> None:
        super().__init__(around, parameters)
        self._common: dict[str, tuple[str, Block]] = {}
        self.past: list[Past] = []

    def subquery(self, query: s.Query, scope: Scope | None) -> tuple[str, list[Typed]]:
        clause, inside = self.clause, self._inside
        self._inside = False
        try:
            block = self.query(query, scope)
        finally:
            self.clause, self._inside = clause, inside
        return block.sql, list(block.columns)

    def query(self, query: s.Query, parent: Scope | None = None) -> Block:
        before = dict(self._common)
        prefix = self._with(query.common, parent)
        limit = self._limit(query)
        if isinstance(query.body, s.Select):
            block = self._select(query.body, query.order, parent, limit)
        else:
            block = self._set_operation(query.body, parent)
            block = replace(block, sql=f"{block.sql}{self._set_order(query, block)}{limit}")
        self._common = before
        return replace(block, sql=prefix + block.sql)

    def _with(self, tables: tuple[s.CommonTable, ...], parent: Scope | None) -> str:
        parts = []
        for table in tables:
            block = self.query(table.query, parent)
            if table.columns:
                if len(table.columns) != len(block.names):
                    raise OraError(32038)
                block = replace(block, names=tuple(c.text for c in table.columns))
            alias = self.fresh()
            self._common[table.name.text] = (alias, block)
            parts.append(f"{alias} AS ({block.sql})")
        return f"WITH {', '.join(parts)} " if parts else ""

    def _limit(self, query: s.Query) -> str:
        if query.percent or query.with_ties:
            raise unimplemented("FETCH FIRST … PERCENT or WITH TIES")
        sql = ""
        if query.fetch is not None:
            sql += f" LIMIT {self._row_count(query.fetch)}"
        if query.offset is not None:
            sql += f" OFFSET {self._row_count(query.offset)}"
        return sql

    def _row_count(self, node: s.Value) -> str:
        count = values.as_number(self.value(node, Scope([])))
        return f"greatest(0, CAST(ora_floor({values.canonical_sql(count)}) AS BIGINT))"

    # -- one block

    def _select(
        self,
        node: s.Select,
        order: tuple[s.OrderItem, ...],
        parent: Scope | None,
        limit: str,
    ) -> Block:
        scope = Scope([], parent)
        self.clause = "ON"
        froms = ", ".join([self._source(source, scope) for source in node.sources])
        self.clause = "WHERE"
        where, rownum = self._where(node.where, scope)
        grouped = bool(node.group) or node.having is not None or has_aggregate(node.items)
        self.clause = "GROUP"
        keys = [values.group_key(self.value(g, scope)) for g in node.group]
        self.clause = "SELECT"
        items = self._items(node, scope)
        tail = ""
        if grouped:
            tail = self._grouping(node, order, scope, keys)
        if rownum is not None:
            froms, where, limit = self._row_numbers(
                rownum, froms, where, limit, bool(grouped or order or node.distinct), scope
            )
        self.clause = "ORDER"
        sorting = self._order(node, order, items, scope, keys if grouped else None)
        shown = ", ".join(f"{value.sql} AS c{i}" for i, (_, value) in enumerate(items))
        if node.distinct:
            for _, value in items:
                values.group_key(value)
        sql = f"SELECT {'DISTINCT ' if node.distinct else ''}{shown} FROM {froms}"
        sql += f"{' WHERE ' + where if where else ''}{tail}{sorting}{limit}"
        return Block(
            sql,
            tuple(name for name, _ in items),
            tuple(renamed(value, f"c{i}") for i, (_, value) in enumerate(items)),
            1446 if grouped or node.distinct or limit else 1445 if len(scope.sources) > 1 else 3001,
        )

    def _items(self, node: s.Select, scope: Scope) -> list[tuple[str, Typed]]:
        found: list[tuple[str, Typed]] = []
        if any(i.text == "*" and len(node.items) > 1 for i in node.items):
            raise OraError(923)
        for item in node.items:
            if isinstance(item.value, s.Star):
                sources = [scope.named(item.value.table)] if item.value.table else scope.sources
                for source in sources:
                    for name in source.shown:
                        column = source.columns[name]
                        if column is None:
                            raise OraError(918)
                        found.append((name, column))
                continue
            found.append((_item_name(item), self.value(item.value, scope)))
        return found

    def _grouping(
        self, node: s.Select, order: tuple[s.OrderItem, ...], scope: Scope, keys: list[str]
    ) -> str:
        tail = f" GROUP BY {', '.join(keys)}" if keys else ""
        known = frozenset(keys)
        number = 979 if node.group else 937
        self.check_grouped(tuple(i.value for i in node.items), scope, known, number)
        if node.having is not None:
            self.clause = "HAVING"
            tail += f" HAVING {self.condition(node.having, scope)}"
            self.check_grouped(node.having, scope, known, 979)
            self.clause = "SELECT"
        return tail

    def _order(
        self,
        node: s.Select,
        order: tuple[s.OrderItem, ...],
        items: list[tuple[str, Typed]],
        scope: Scope,
        keys: list[str] | None,
    ) -> str:
        if not order:
            return ""
        named = dict(reversed([(n, v) for n, v in items]))
        aliased = {i.alias.text: named[i.alias.text] for i in node.items if i.alias is not None}
        shown = {value.sql for _, value in items}
        terms = []
        for item in order:
            value = self._order_value(item.value, aliased, items, scope)
            if node.distinct and value.sql not in shown:
                raise OraError(1791)
            if keys is not None and value.sql not in shown:
                self.check_grouped(item.value, scope, frozenset(keys), 979)
            terms.append(values.sort_key(value) + direction(item))
        return " ORDER BY " + ", ".join(terms)

    def _order_value(
        self,
        node: s.Value,
        aliased: dict[str, Typed],
        items: list[tuple[str, Typed]],
        scope: Scope,
    ) -> Typed:
        if isinstance(node, s.Number):
            at = int(node.value)
            if at != node.value or not 1 <= at <= len(items):
                raise OraError(1785)
            return items[at - 1][1]
        if isinstance(node, s.ColumnRef) and len(node.parts) == 1:
            named = aliased.get(node.parts[0].text)
            if named is not None:
                return named
        scope.aliases = aliased
        try:
            return self.value(node, scope)
        finally:
            scope.aliases = {}

    # -- WHERE, and ROWNUM in it

    def _where(
        self, node: s.Condition | None, scope: Scope
    ) -> tuple[str, list[s.Compare | s.Between] | None]:
        """SQL of the conditions that do not read ROWNUM, and those that do."""
        if node is None:
            return "", None
        parts = node.items if isinstance(node, s.Logic) and node.op == "AND" else (node,)
        plain = [p for p in parts if not _reads_rownum(p)]
        counted: list[s.Compare | s.Between] = []
        for part in parts:
            if _reads_rownum(part):
                if not isinstance(part, (s.Compare, s.Between)):
                    raise unimplemented("ROWNUM in a condition other than ROWNUM <= n")
                counted.append(part)
        sql = " AND ".join(self.condition(p, scope) for p in plain)
        return sql, counted or None

    def _row_numbers(
        self,
        conditions: list[s.Compare | s.Between],
        froms: str,
        where: str,
        limit: str,
        later: bool,
        scope: Scope,
    ) -> tuple[str, str, str]:
        """The first rows only, taken before anything that comes later in the block."""
        counts = [self._row_limit(c, scope) for c in conditions]
        most = counts[0] if len(counts) == 1 else f"least({', '.join(counts)})"
        if not later and not limit:
            return froms, where, f" LIMIT {most}"
        if len(scope.sources) != 1:
            raise unimplemented("ROWNUM with a join and ORDER BY, GROUP BY or DISTINCT")
        alias = froms.rpartition(" AS ")[2]
        inner = f"SELECT * FROM {froms}{' WHERE ' + where if where else ''} LIMIT {most}"
        return f"({inner}) AS {alias}", "", limit

    def _row_limit(self, node: s.Compare | s.Between, scope: Scope) -> str:
        if isinstance(node, s.Between):
            if node.negated or not isinstance(node.low, s.Number) or node.low.value > 1:
                raise unimplemented("ROWNUM BETWEEN anything but 1 AND n")
            return self._row_count(node.high)
        op, bound = node.op, node.right
        if _is_rownum(node.right):
            op = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}.get(op, op)
            bound = node.left
        elif not _is_rownum(node.left):
            raise unimplemented("an expression of ROWNUM in a condition")
        count = self._row_count(bound)
        if op == "<=":
            return count
        if op == "<":
            number = values.as_number(self.value(bound, scope))
            ceiling = f"CAST(ora_ceil({values.canonical_sql(number)}) AS BIGINT)"
            return f"greatest(0, {ceiling} - 1)"
        if op == "=":
            return f"CASE WHEN {count} = 1 THEN 1 ELSE 0 END"
        # No row is ever the second before one was the first.
        return "0" if op == ">" else f"CASE WHEN {count} <= 1 THEN 9223372036854775807 ELSE 0 END"

    def pseudo(self, name: str, scope: Scope) -> Typed | None:
        if name == "ROWNUM":
            if self.clause not in ("SELECT", "ORDER"):
                raise unimplemented("ROWNUM in this place")
            return values.whole_number("row_number() OVER ()")
        return super().pseudo(name, scope)

    # -- FROM

    def _source(self, node: s.Source, scope: Scope) -> str:
        match node:
            case s.TableRef():
                return self._table(node, scope)
            case s.QueryRef():
                block = self.query(node.query, scope.parent)
                self.clause = "ON"
                name = None if node.alias is None else node.alias.text
                return self._inline(f"({block.sql})", block, name, scope)
            case s.Join():
                return self._join(node, scope)

    def _inline(self, sql: str, block: Block, name: str | None, scope: Scope) -> str:
        alias = self.fresh()
        columns: dict[str, Typed | None] = {}
        for i, (column, value) in enumerate(zip(block.names, block.columns, strict=True)):
            columns[column] = None if column in columns else renamed(value, f"{alias}.c{i}")
        scope.sources.append(Source(name, None, columns, list(block.names), block.rowless))
        return f"{sql} AS {alias}"

    def _table(self, node: s.TableRef, scope: Scope) -> str:
        common = self._common.get(node.path[-1].text) if len(node.path) == 1 else None
        name = node.path[-1].text if node.alias is None else node.alias.text
        if common is not None:
            return self._inline(common[0], common[1], name, scope)
        table = self.around.find(node.path, node.offset)
        alias = self.fresh()
        columns, shown = table_columns(table, alias)
        rowless = 3001 if table.name == "DUAL" else 1445
        scope.sources.append(Source(name, table.owner, columns, shown, rowless))
        return f"({self.rows_of(table, node)}) AS {alias}"

    def rows_of(self, table: Table, node: s.TableRef) -> str:
        """SQL for the rows that this statement sees."""
        known = self.around.dictionary.get(table.name)
        if known is not None and known[0] is table:
            if node.as_of is not None:
                raise OraError(8188 if table.name == "DUAL" else 1031)
            if node.sample is not None:
                raise unimplemented("SAMPLE of DUAL") if table.name == "DUAL" else OraError(1445)
            # Some views show the present moment, which a kept plan would not.
            self.parameters.fixed_by_value = True
            return known[1]()
        scn = self.around.snapshot
        if node.as_of is not None:
            if not self.around.privileges.may_flash_back(table):
                raise OraError(1031)
            scn = self._as_of(*node.as_of)
        if scn is not None:
            self.around.need_undo([(table, scn)])
            self.past.append((table, scn))
            until = f"(_to_scn IS NULL OR _to_scn > {scn} OR _to_scn < 0)"
            alive = f"_from_scn BETWEEN 0 AND {scn} AND {until}"
        elif self.around.writer is not None:
            mine = -self.around.writer
            alive = f"(_from_scn >= 0 OR _from_scn = {mine}) AND (_to_scn IS NULL OR "
            alive += f"(_to_scn < 0 AND _to_scn <> {mine}))"
        else:
            alive = "_from_scn >= 0 AND (_to_scn IS NULL OR _to_scn < 0)"
        if node.sample is not None:
            self.parameters.fixed_by_value |= node.sample.seed is None
            alive = f"{sample_sql(node.sample)} AND {alive}"
        return f"SELECT * FROM {table.engine_name} WHERE {alive}"

    def _as_of(self, kind: str, node: s.Value) -> int:
        if kind == "TIMESTAMP":
            raise unimplemented("AS OF TIMESTAMP; use AS OF SCN")
        self.parameters.fixed_by_value = True
        if isinstance(node, s.Bind):
            given = self.parameters.at(node.index).value
            text = None if given is None else _digits(given)
        else:
            text = _digits(node.value) if isinstance(node, s.Number) else None
        if text is None and self.parameters.explains:
            return self.around.current_scn()
        if text is None or not text.isdigit():
            raise OraError(8181)
        scn = int(text)
        if scn > self.around.current_scn():
            raise OraError(8181)
        return scn

    def _join(self, node: s.Join, scope: Scope) -> str:
        # The names of the inner sides must not see what stands to the left of the join.
        inner = Scope([], scope.parent)
        left = self._source(node.left, inner)
        count = len(inner.sources)
        right = self._source(node.right, inner)
        condition = ""
        if node.on is not None:
            condition = f" ON {self.condition(node.on, inner)}"
        elif node.using:
            condition = f" ON {self._using(node, inner, count)}"
        if node.kind == "RIGHT" or node.kind == "FULL":
            _may_be_null(inner.sources[:count])
        if node.kind in ("LEFT", "FULL"):
            _may_be_null(inner.sources[count:])
        scope.sources.extend(inner.sources)
        scope.merged.update(inner.merged)
        return f"({left} {node.kind} JOIN {right}{condition})"

    def _using(self, node: s.Join, scope: Scope, count: int) -> str:
        parts = []
        for name in node.using:
            sides = []
            for group in (scope.sources[:count], scope.sources[count:]):
                ref = s.ColumnRef((name,))
                sides.append(Scope(group).resolve(ref)[0])
            x, y = values.comparable(sides[0], sides[1], self.nls)
            parts.append(f"{x} = {y}")
            first, second = values.unified(sides, self.nls)
            scope.merged[name.text] = Typed(f"coalesce({first.sql}, {second.sql})", first.type)
        return "(" + " AND ".join(parts) + ")"

    # -- set operations

    def _set_operation(self, node: s.Body, parent: Scope | None) -> Block:
        if isinstance(node, s.Select):
            return self._select(node, (), parent, "")
        if isinstance(node, s.Nested):
            return self.query(node.query, parent)
        left, right = (
            self._set_operation(node.left, parent),
            self._set_operation(node.right, parent),
        )
        if len(left.columns) != len(right.columns):
            raise OraError(1789)
        sides: tuple[list[str], list[str]] = ([], [])
        columns = []
        for i, pair in enumerate(zip(left.columns, right.columns, strict=True)):
            try:
                unified = values.unified(list(pair), self.nls)
            except OraError as error:
                raise OraError(1790) if error.number == 932 else error from None
            if node.op != "UNION ALL":
                values.group_key(unified[0])
            for side, value in zip(sides, unified, strict=True):
                side.append(f"{value.sql} AS c{i}")
            nullable = pair[0].nullable or pair[1].nullable
            columns.append(Typed(f"c{i}", unified[0].type, nullable))
        op = "EXCEPT" if node.op == "MINUS" else node.op
        a, b = (
            f"(SELECT {', '.join(shown)} FROM ({side.sql}) AS {self.fresh()})"
            for shown, side in zip(sides, (left, right), strict=True)
        )
        names = ", ".join(f"c{i}" for i in range(len(columns)))
        sql = f"SELECT {names} FROM ({a} {op} {b}) AS {self.fresh()}"
        return Block(sql, left.names, tuple(columns))

    def _set_order(self, query: s.Query, block: Block) -> str:
        items = [(n, v) for n, v in zip(block.names, block.columns, strict=True)]
        if not query.order:
            return ""
        terms = []
        by_name = dict(reversed(items))
        for item in query.order:
            node = item.value
            if isinstance(node, s.Number):
                value = self._order_value(node, {}, items, Scope([]))
            elif isinstance(node, s.ColumnRef) and node.parts[-1].text in by_name:
                value = by_name[node.parts[-1].text]
            else:
                shown = printed(node) if isinstance(node, s.ColumnRef) else ""
                raise OraError(904, shown) if shown else OraError(1785)
            terms.append(values.sort_key(value) + direction(item))
        return " ORDER BY " + ", ".join(terms)


def _digits(value: object) -> str:
    """A number without an exponent: 1000200 comes over the wire as 10002E+2."""
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _reads_rownum(node: object) -> bool:
    return any(_is_rownum(n) for n in walk(node))


def _is_rownum(node: object) -> bool:
    return isinstance(node, s.ColumnRef) and node.parts == (s.Name("ROWNUM"),)


def _may_be_null(sources: list[Source]) -> None:
    """The side of an outer join that may be missing."""
    for source in sources:
        source.columns = {
            name: None if value is None else replace(value, nullable=True)
            for name, value in source.columns.items()
        }


def _item_name(item: s.SelectItem) -> str:
    """The column's name: the alias, the column, or the expression as written without blanks."""
    if item.alias is not None:
        return item.alias.text
    if isinstance(item.value, s.ColumnRef):
        return item.value.parts[-1].text
    return "".join(item.text.split()).upper()
