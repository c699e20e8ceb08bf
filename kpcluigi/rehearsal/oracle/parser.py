"""Oracle's grammar of queries and statements, and nothing that Oracle 19c would refuse."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import Literal

from kpcluigi.rehearsal.oracle import syntax as s
from kpcluigi.rehearsal.oracle.errors import OraError, unimplemented
from kpcluigi.rehearsal.oracle.parsing import RESERVED, Expressions

JoinKind = Literal["INNER", "LEFT", "RIGHT", "FULL", "CROSS"]
AsOf = Literal["SCN", "TIMESTAMP"]
_PLSQL = ("BEGIN", "DECLARE", "CALL")
_REFUSED = {
    "MERGE", "CREATE", "DROP", "TRUNCATE", "GRANT", "REVOKE", "LOCK", "COMMENT", "ANALYZE",
    "SAVEPOINT", "RENAME", "PURGE", "FLASHBACK", "AUDIT", "NOAUDIT",
}  # fmt: skip
_AFTER_TABLE = frozenset(
    {"WHERE", "JOIN", "INNER", "LEFT", "RIGHT", "FULL", "CROSS", "NATURAL", "ON", "USING", "GROUP",
     "HAVING", "ORDER", "UNION", "MINUS", "INTERSECT", "OFFSET", "FETCH", "FOR", "CONNECT", "START",
     "AS", "SET", "VALUES", "SELECT", "SAMPLE", "PARTITION", "SUBPARTITION", "PIVOT", "UNPIVOT",
     "VERSIONS", "MODEL", "LIMIT", "RETURNING", "LOG"}
)  # fmt: skip


@lru_cache(maxsize=2000)
def parse(sql: str) -> s.Parsed:
    """The statement that `sql` is.

    Raises:
        OraError: with Oracle's number for what is wrong; ORA-03001 for what Oracle can do and the
            stand-in cannot; ORA-06550 for PL/SQL.
    """
    parser = Parser(sql)
    statement = parser.statement()
    return s.Parsed(statement, tuple(parser.binds), parser.hints)


class Parser(Expressions):
    """One statement's grammar."""

    def statement(self) -> s.Statement:
        word = self.now.text if self.now.kind == "word" else ""
        if word in _PLSQL:
            raise OraError(6550)
        found = self._statement(word)
        if self.now.kind != "end":
            raise self.error(933)
        return found

    def _statement(self, word: str) -> s.Statement:
        if word in ("SELECT", "WITH") or self.is_op("("):
            return self.query()
        if word == "INSERT":
            return self._insert()
        if word == "UPDATE":
            return self._update()
        if word == "DELETE":
            return self._delete()
        if self.accept("EXPLAIN"):
            return self._explain()
        if self.accept("ALTER", "SESSION"):
            return self._alter_session()
        if self.accept("SET", "TRANSACTION"):
            return self._set_transaction()
        if self.accept("COMMIT"):
            self.accept("WORK")
            return s.EndTransaction(commit=True)
        if self.accept("ROLLBACK"):
            self.accept("WORK")
            return s.EndTransaction(commit=False)
        if word in _REFUSED or word == "ALTER":
            raise unimplemented(f"{word} statements")
        raise self.error(900)

    # -- queries

    def query(self) -> s.Query:
        common: list[s.CommonTable] = []
        if self.accept("WITH"):
            common.append(self._common_table())
            while self.accept_op(","):
                common.append(self._common_table())
        body = self._body()
        order = self.order_by() if self.is_word("ORDER") else ()
        offset, fetch, percent, ties = self._row_limit()
        if self.is_word("FOR"):
            raise unimplemented("SELECT … FOR UPDATE")
        return s.Query(body, tuple(common), order, offset, fetch, percent, ties)

    def _common_table(self) -> s.CommonTable:
        name = self.name(903)
        columns: list[s.Name] = []
        if self.accept_op("("):
            columns.append(self.name(904))
            while self.accept_op(","):
                columns.append(self.name(904))
            self.need_op(")", 907)
        self.need(905, "AS")
        self.need_op("(", 906)
        query = self.query()
        self.need_op(")", 907)
        return s.CommonTable(name, tuple(columns), query)

    def _body(self) -> s.Body:
        left = self._branch()
        while True:
            if self.accept("UNION", "ALL"):
                left = s.SetOperation("UNION ALL", left, self._branch())
            elif self.accept("UNION"):
                left = s.SetOperation("UNION", left, self._branch())
            elif self.accept("MINUS"):
                left = s.SetOperation("MINUS", left, self._branch())
            elif self.accept("INTERSECT"):
                left = s.SetOperation("INTERSECT", left, self._branch())
            else:
                return left

    def _branch(self) -> s.Body:
        if self.accept_op("("):
            query = self.query()
            self.need_op(")", 907)
            return s.Nested(query)
        return self._select()

    def _select(self) -> s.Select:
        self.need(928, "SELECT")
        distinct = self.accept("DISTINCT") or self.accept("UNIQUE")
        if not distinct:
            self.accept("ALL")
        items = [self._select_item()]
        while self.accept_op(","):
            items.append(self._select_item())
        self.need(923, "FROM")
        sources = [self._source()]
        while self.accept_op(","):
            sources.append(self._source())
        where = self.condition() if self.accept("WHERE") else None
        if self.is_word("CONNECT") or self.is_word("START"):
            raise unimplemented("hierarchical queries (CONNECT BY)")
        group: list[s.Value] = []
        if self.accept("GROUP"):
            self.need(924, "BY")
            if self.is_word("ROLLUP") or self.is_word("CUBE") or self.is_word("GROUPING"):
                raise unimplemented(f"GROUP BY {self.now.text}")
            group.append(self.value())
            while self.accept_op(","):
                group.append(self.value())
        having = self.condition() if self.accept("HAVING") else None
        return s.Select(tuple(items), tuple(sources), where, tuple(group), having, distinct)

    def _select_item(self) -> s.SelectItem:
        start = self.now.start
        if self.accept_op("*"):
            return s.SelectItem(s.Star(), None, "*")
        if self.is_word("FROM"):
            raise self.error(936)
        value = self.value()
        text = self.sql[start : self.ahead(-1).end]
        alias = None
        if self.accept("AS") or (
            self.now.kind == "quoted" or (self.now.kind == "word" and self.now.text not in RESERVED)
        ):
            alias = self.name(923)
        if isinstance(value, s.Star) and alias is not None:
            raise self.error(923)
        return s.SelectItem(value, alias, text)

    def _source(self) -> s.Source:
        left = self._table()
        while True:
            kind = self._join_kind()
            if kind is None:
                return left
            right = self._table()
            if kind == "CROSS":
                left = s.Join(left, right, "CROSS")
            elif self.accept("ON"):
                left = s.Join(left, right, kind, on=self.condition())
            elif self.accept("USING"):
                self.need_op("(", 906)
                names = [self.name(904)]
                while self.accept_op(","):
                    names.append(self.name(904))
                self.need_op(")", 907)
                left = s.Join(left, right, kind, using=tuple(names))
            else:
                raise self.error(905)

    def _join_kind(self) -> JoinKind | None:
        if self.is_word("NATURAL"):
            raise unimplemented("NATURAL JOIN")
        if self.accept("JOIN") or self.accept("INNER", "JOIN"):
            return "INNER"
        if self.accept("CROSS", "JOIN"):
            return "CROSS"
        for side in ("LEFT", "RIGHT", "FULL"):
            if self.accept(side, "OUTER", "JOIN") or self.accept(side, "JOIN"):
                return "LEFT" if side == "LEFT" else "RIGHT" if side == "RIGHT" else "FULL"
        return None

    def _table(self) -> s.Source:
        if self.accept_op("("):
            if self.is_word("SELECT") or self.is_word("WITH") or self.is_op("("):
                query = self.query()
                self.need_op(")", 907)
                return s.QueryRef(query, self._table_alias())
            inner = self._source()
            self.need_op(")", 907)
            return inner
        start = self.now.start
        if self.is_word("TABLE") or self.is_word("LATERAL") or self.is_word("XMLTABLE"):
            raise unimplemented(f"FROM {self.now.text}")
        path = [self.name(903)]
        while self.accept_op("."):
            path.append(self.name(903))
        if self.is_op("@"):
            raise unimplemented("database links")
        for word in ("PARTITION", "SUBPARTITION", "PIVOT", "UNPIVOT", "VERSIONS"):
            if self.is_word(word):
                raise unimplemented(f"FROM table {word}")
        # SAMPLE belongs to the table, AS OF to the reference: the other order is ORA-00933.
        sample = self._sample()
        as_of = self._as_of()
        return s.TableRef(tuple(path), self._table_alias(), as_of, start, sample)

    def _sample(self) -> s.Sample | None:
        if not self.accept("SAMPLE"):
            return None
        block = self.accept("BLOCK")
        percent = self._number_in_parentheses("SAMPLE")
        seed = self._number_in_parentheses("SEED") if self.accept("SEED") else None
        return s.Sample(percent, block, seed)

    def _number_in_parentheses(self, what: str) -> Decimal:
        self.need_op("(", 906)
        value = self.value()
        self.need_op(")", 907)
        if not isinstance(value, s.Number):
            raise unimplemented(f"{what} of anything but a number literal")
        return value.value

    def _as_of(self) -> tuple[AsOf, s.Value] | None:
        if not self.is_word("AS", "OF"):
            return None
        self.at += 2
        if self.accept("SCN"):
            return "SCN", self.value()
        if self.accept("TIMESTAMP"):
            return "TIMESTAMP", self.value()
        raise self.error(905)

    def _table_alias(self) -> s.Name | None:
        if self.now.kind == "quoted":
            return self.name(933)
        if (
            self.now.kind == "word"
            and self.now.text not in RESERVED
            and self.now.text not in _AFTER_TABLE
        ):
            return self.name(933)
        return None

    def order_by(self) -> tuple[s.OrderItem, ...]:
        self.need(905, "ORDER")
        self.need(924, "BY")
        items = [self._order_item()]
        while self.accept_op(","):
            items.append(self._order_item())
        return tuple(items)

    def _order_item(self) -> s.OrderItem:
        value = self.value()
        descending = self.accept("DESC")
        if not descending:
            self.accept("ASC")
        if self.accept("NULLS", "FIRST"):
            return s.OrderItem(value, descending, "FIRST")
        if self.accept("NULLS", "LAST"):
            return s.OrderItem(value, descending, "LAST")
        return s.OrderItem(value, descending)

    def _row_limit(self) -> tuple[s.Value | None, s.Value | None, bool, bool]:
        offset = fetch = None
        percent = ties = False
        if self.accept("OFFSET"):
            offset = self.value()
            if not (self.accept("ROWS") or self.accept("ROW")):
                raise self.error(905)
        if self.accept("FETCH"):
            if not (self.accept("FIRST") or self.accept("NEXT")):
                raise self.error(905)
            one_row = self.is_word("ROW") or self.is_word("ROWS")
            fetch = s.Number(Decimal(1)) if one_row else self.value()
            percent = self.accept("PERCENT")
            if not (self.accept("ROWS") or self.accept("ROW")):
                raise self.error(905)
            ties = self.accept("WITH", "TIES")
            if not ties:
                self.need(905, "ONLY")
        return offset, fetch, percent, ties

    # -- statements that change something

    def _target(self) -> s.TableRef:
        start = self.now.start
        if self.is_op("("):
            raise unimplemented("DML on an inline view")
        path = [self.name(903)]
        while self.accept_op("."):
            path.append(self.name(903))
        return s.TableRef(tuple(path), self._table_alias(), None, start)

    def _insert(self) -> s.Insert:
        self.need(900, "INSERT")
        if self.is_word("ALL") or self.is_word("FIRST"):
            raise unimplemented("multi-table INSERT")
        self.need(925, "INTO")
        table = self._target()
        columns: list[s.Name] = []
        if self.is_op("(") and not self._opens_query():
            self.take()
            columns.append(self._column_name())
            while self.accept_op(","):
                columns.append(self._column_name())
            self.need_op(")", 917 if self.now.kind in ("word", "quoted") else 907)
        if self.accept("VALUES"):
            self.need_op("(", 906)
            values = [self.value()]
            while self.accept_op(","):
                values.append(self.value())
            self.need_op(")", 917 if self.now.kind != "end" else 907)
            self._no_returning()
            return s.Insert(table, tuple(columns), tuple(values))
        if self.is_word("SELECT") or self.is_word("WITH") or self.is_op("("):
            return s.Insert(table, tuple(columns), query=self.query())
        raise self.error(926)

    def _column_name(self) -> s.Name:
        if self.now.kind == "word" and self.now.text in RESERVED:
            raise self.error(1747)
        return self.name(928)

    def _opens_query(self) -> bool:
        return self.ahead().kind == "word" and self.ahead().text in ("SELECT", "WITH")

    def _update(self) -> s.Update:
        self.need(900, "UPDATE")
        table = self._target()
        self.need(971, "SET")
        assignments = [self._assignment()]
        while self.accept_op(","):
            assignments.append(self._assignment())
        where = self.condition() if self.accept("WHERE") else None
        self._no_returning()
        return s.Update(table, tuple(assignments), where)

    def _assignment(self) -> tuple[s.Name, s.Value]:
        if self.is_op("("):
            raise unimplemented("UPDATE … SET (a, b) = (…)")
        name = self._column_name()
        if self.accept_op("."):
            name = self._column_name()
        self.need_op("=", 927)
        return name, self.value()

    def _delete(self) -> s.Delete:
        self.need(900, "DELETE")
        self.accept("FROM")
        table = self._target()
        where = self.condition() if self.accept("WHERE") else None
        self._no_returning()
        return s.Delete(table, where)

    def _no_returning(self) -> None:
        if self.is_word("RETURNING") or self.is_word("RETURN"):
            raise unimplemented("RETURNING … INTO")
        if self.is_word("LOG"):
            raise unimplemented("LOG ERRORS")

    # -- the session

    def _explain(self) -> s.Explain:
        self.need(905, "PLAN")
        if self.accept("SET"):
            self.need(905, "STATEMENT_ID")
            self.need_op("=", 927)
            if self.take().kind != "string":
                raise self.error(900)
        if self.accept("INTO"):
            self.name(903)
        self.need(905, "FOR")
        found = self._statement(self.now.text if self.now.kind == "word" else "")
        if not isinstance(found, (s.Query, s.Insert, s.Update, s.Delete)):
            raise self.error(900)
        return s.Explain(found)

    def _alter_session(self) -> s.AlterSession:
        if self.is_word("DISABLE") or self.is_word("ENABLE") or self.is_word("FORCE"):
            return self._parallel()
        self.need(2248, "SET")
        settings: list[tuple[str, str]] = []
        while self.now.kind in ("word", "quoted"):
            name = self.take().text
            self.need_op("=", 927)
            settings.append((name, self.take().text))
        if not settings:
            raise self.error(2248)
        return s.AlterSession(tuple(settings))

    def _parallel(self) -> s.AlterSession:
        verb = self.take().text
        self.need(2248, "PARALLEL")
        if not any(self.accept(w) for w in ("QUERY", "DML", "DDL")):
            raise self.error(2248)
        if self.accept("PARALLEL"):
            self.take()
        return s.AlterSession((("PARALLEL", verb),))

    def _set_transaction(self) -> s.SetTransaction:
        if self.accept("READ", "ONLY"):
            return s.SetTransaction(read_only=True)
        if self.accept("READ", "WRITE"):
            return s.SetTransaction(read_only=False)
        if self.accept("ISOLATION", "LEVEL", "READ", "COMMITTED"):
            return s.SetTransaction(read_only=False)
        raise unimplemented("SET TRANSACTION other than READ ONLY, READ WRITE, READ COMMITTED")
