"""Compiles whole statements: queries to stream, and DML as DuckDB statements over row versions."""

from __future__ import annotations

from dataclasses import dataclass

from kpcluigi.rehearsal.oracle import syntax as s
from kpcluigi.rehearsal.oracle import values
from kpcluigi.rehearsal.oracle.catalog import HIDDEN_OFFSET, Column, Table, pad_char
from kpcluigi.rehearsal.oracle.errors import OraError, unimplemented
from kpcluigi.rehearsal.oracle.queries import Block, Queries
from kpcluigi.rehearsal.oracle.scope import Scope, Source, table_columns
from kpcluigi.rehearsal.oracle.values import Typed


@dataclass(frozen=True)
class Change:
    """One DML statement: what DuckDB runs, in order, in one transaction.

    Attributes:
        steps: the first one's count of rows is the statement's.
        duplicates: finds a key that the statement made double; None when it cannot.
        constraint: what ORA-00001 names.
    """

    table: Table
    steps: tuple[str, ...]
    duplicates: str | None
    constraint: str


FRESH = -(1 << 62)
"""What `_from_scn` holds within an UPDATE; no session's mark is that low."""


class Statements(Queries):
    """DML. Rows are never overwritten: a change closes a version and opens another."""

    def plan(self, statement: s.Query | s.Insert | s.Update | s.Delete) -> Block | Change:
        match statement:
            case s.Query():
                return self.query(statement)
            case s.Insert():
                return self._insert(statement)
            case s.Update():
                return self._update(statement)
            case s.Delete():
                return self._delete(statement)

    def _target(self, verb: str, ref: s.TableRef) -> Table:
        table = self.around.find(ref.path, ref.offset)
        known = self.around.dictionary.get(table.name)
        is_view = known is not None and known[0] is table
        if is_view or not self.around.privileges.may_change(verb, table):
            raise OraError(1031)
        if self.around.snapshot is not None:
            raise OraError(1456)
        return table

    @property
    def _mark(self) -> int:
        assert self.around.writer is not None
        return -self.around.writer

    def _insert(self, node: s.Insert) -> Change:
        table = self._target("INSERT", node.table)
        names = [c.text for c in node.columns] or [c.name for c in table.columns]
        for name in names:
            if name not in table.by_name:
                raise OraError(904, f'"{name}"')
        if len(set(names)) < len(names):
            raise OraError(957)
        if node.query is None:
            given = [self.value(v, Scope([])) for v in node.values]
            source = ""
        else:
            block = self.query(node.query)
            alias = self.fresh()
            given = [
                Typed(f"{alias}.c{i}", c.type, c.nullable) for i, c in enumerate(block.columns)
            ]
            source = f" FROM ({block.sql}) AS {alias}"
        if len(given) != len(names):
            raise OraError(947 if len(given) < len(names) else 913)
        by_name = dict(zip(names, given, strict=True))
        made = {
            c.name: self._stored(table, c, by_name.get(c.name, values.NULL), 1400)
            for c in table.columns
        }
        return self._change(table, [self._insertion(table, made, source)], set(names))

    def _update(self, node: s.Update) -> Change:
        table = self._target("UPDATE", node.table)
        scope, alias = self._own_scope(table, node.table)
        assigned = {}
        for name, value in node.assignments:
            if name.text not in table.by_name:
                raise OraError(904, f'"{name.text}"')
            assigned[name.text] = self.value(value, scope)
        where = self._condition(node.where, scope)
        made = {}
        for column in table.columns:
            if column.name in assigned:
                made[column.name] = self._stored(table, column, assigned[column.name], 1407)
            else:
                made[column.name] = self._kept(column, alias)
        made["_row"] = {"_row": f"{alias}._row"}
        # The new versions carry a mark of their own until the old ones are closed, so that the
        # closing step, which comes second, does not take them for old.
        source = f" FROM ({self.rows_of(table, node.table)}) AS {alias}{where}"
        steps = [
            self._insertion(table, made, source, FRESH),
            self._closing(table, alias, where),
            f"UPDATE {table.engine_name} SET _from_scn = {self._mark} WHERE _from_scn = {FRESH}",
        ]
        return self._change(table, steps, set(assigned))

    def _delete(self, node: s.Delete) -> Change:
        table = self._target("DELETE", node.table)
        scope, alias = self._own_scope(table, node.table)
        where = self._condition(node.where, scope)
        return self._change(table, [self._closing(table, alias, where)], set())

    def _own_scope(self, table: Table, ref: s.TableRef) -> tuple[Scope, str]:
        alias = self.fresh()
        columns, shown = table_columns(table, alias)
        name = table.name if ref.alias is None else ref.alias.text
        return Scope([Source(name, table.owner, columns, shown)]), alias

    def _condition(self, node: s.Condition | None, scope: Scope) -> str:
        self.clause = "WHERE"
        sql = "" if node is None else f" WHERE {self.condition(node, scope)}"
        self.clause = "SELECT"
        return sql

    def _kept(self, column: Column, alias: str) -> dict[str, str]:
        kept = {column.name: f'{alias}."{column.name}"'}
        if column.oracle.kind == "TSTZ":
            hidden = HIDDEN_OFFSET + column.name
            kept[hidden] = f'{alias}."{hidden}"'
        return kept

    def _insertion(
        self, table: Table, made: dict[str, dict[str, str]], source: str, mark: int | None = None
    ) -> str:
        columns = {name: sql for part in made.values() for name, sql in part.items()}
        columns["_from_scn"] = str(self._mark if mark is None else mark)
        names = ", ".join(f'"{name}"' for name in columns)
        values_sql = ", ".join(columns.values())
        return f"INSERT INTO {table.engine_name} ({names}) SELECT {values_sql}{source}"

    def _closing(self, table: Table, alias: str, where: str) -> str:
        mine = self._mark
        alive = f"({alias}._from_scn >= 0 OR {alias}._from_scn = {mine})"
        alive += f" AND {alias}._to_scn IS NULL"
        condition = f"{where} AND {alive}" if where else f" WHERE {alive}"
        return f"UPDATE {table.engine_name} AS {alias} SET _to_scn = {mine}{condition}"

    def _change(self, table: Table, steps: list[str], touched: set[str]) -> Change:
        duplicates = None
        key = table.primary_key
        if key and touched & set(key):
            names = ", ".join(f'"{k}"' for k in key)
            mine = f"SELECT {names} FROM {table.engine_name} WHERE _from_scn = {self._mark}"
            current = f"{table.engine_name} WHERE _to_scn IS NULL AND ({names}) IN ({mine})"
            duplicates = f"SELECT 1 FROM {current} GROUP BY {names} HAVING count(*) > 1 LIMIT 1"
        constraint = f"{table.owner}.{constraint_name(table)}"
        return Change(table, tuple(steps), duplicates, constraint)

    def _stored(self, table: Table, column: Column, value: Typed, number: int) -> dict[str, str]:
        """SQL for a column's new value, checked as Oracle checks it."""
        kind = column.oracle
        place = f'"{table.owner}"."{table.name}"."{column.name}"'
        made = values.convert(value, kind, self.nls)
        sql = made.sql
        if made.null:
            pass
        elif kind.rounds_elsewhere:
            raise unimplemented(f"a value for {column.type}")
        elif kind.kind == "NUMBER":
            sql = (
                values.canonical_sql(made)
                if kind.fixed is None
                else self.fitted_number(made, kind.fixed)
            )
        elif kind.kind in ("VARCHAR2", "CHAR"):
            size = kind.chars if kind.by_char else kind.size
            checks = f"{size}, {kind.by_char}, {values.quoted(place)}"
            sql = f"ora_text_fits({sql}, {checks})"
            if kind.kind == "CHAR":
                sql = pad_char(sql, kind)
        elif kind.kind == "RAW":
            sql = f"ora_raw_fits({sql}, {kind.size}, {values.quoted(place)})"
        if not column.nullable:
            refusal = values.quoted(OraError(number, place).text)
            nothing = f"CAST(error({refusal}) AS {values.engine_type(kind)})"
            sql = f"CASE WHEN {made.sql} IS NULL THEN {nothing} ELSE {sql} END"
        if kind.kind == "TSTZ":
            return {
                column.name: f"({sql}).u",
                HIDDEN_OFFSET + column.name: f"coalesce(({sql}).o, 0)",
            }
        return {column.name: sql}


def constraint_name(table: Table) -> str:
    """The name of the primary key's constraint."""
    return f"{table.name}_PK"
