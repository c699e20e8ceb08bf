"""Which tables and columns a name means: the catalogue, the session, and a query's FROM."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from kpcluigi.rehearsal.oracle import segments
from kpcluigi.rehearsal.oracle.binds import Bound
from kpcluigi.rehearsal.oracle.catalog import HIDDEN_OFFSET, PUBLIC, Place, Table
from kpcluigi.rehearsal.oracle.errors import OraError, unimplemented
from kpcluigi.rehearsal.oracle.oratypes import ROWID, OraType
from kpcluigi.rehearsal.oracle.privileges import Privileges
from kpcluigi.rehearsal.oracle.syntax import ColumnRef, Name
from kpcluigi.rehearsal.oracle.undo import Past
from kpcluigi.rehearsal.oracle.values import Nls, Typed


@dataclass(frozen=True)
class Surroundings:
    """All that a statement's meaning depends on beside its text.

    Attributes:
        dictionary: for each view of the data dictionary, SQL that DuckDB runs in its place.
        context: SYS_CONTEXT('USERENV', …) and the like, by parameter.
        current_scn: gives the present SCN; asked only by statements that name it.
        snapshot: the SCN that every table is read at, in a READ ONLY transaction.
        need_undo: ORA-01555 unless the tables can be read at these SCNs.
        privileges: what the user may do.
        writer: the mark of this session's uncommitted rows, when it has any.
    """

    tables: Mapping[Place, Table]
    synonyms: Mapping[Place, Place]
    dictionary: Mapping[str, tuple[Table, Callable[[], str]]]
    user: str
    schema: str
    nls: Nls
    context: Mapping[str, str | None]
    current_scn: Callable[[], int]
    need_undo: Callable[[Iterable[Past]], None]
    privileges: Privileges
    snapshot: int | None = None
    writer: int | None = None

    def find(self, path: tuple[Name, ...], offset: int) -> Table:
        """The table or dictionary view that `path` names, maybe by a synonym.

        Raises:
            OraError: ORA-00942; ORA-00980 for a synonym that leads nowhere.
        """
        if len(path) > 2:
            raise OraError(933, offset=offset)
        name = path[-1].text
        owner = path[0].text if len(path) == 2 else self.schema
        at: Place = (owner, name)
        leads_to = self.synonyms.get(at)
        if leads_to is None and len(path) == 1 and at not in self.tables:
            leads_to = self.synonyms.get((PUBLIC, name))
        found = self.tables.get(leads_to or at)
        if found is None and leads_to is not None:
            raise OraError(980, offset=offset)
        if found is not None:
            if not self.privileges.may_select(found):
                raise OraError(942, offset=offset)
            return found
        if (
            (len(path) == 1 or owner in ("SYS", "PUBLIC"))
            and name in self.dictionary
            and self.privileges.may_read_view(name)
        ):
            return self.dictionary[name][0]
        raise OraError(942, offset=offset)


@dataclass
class Source:
    """One item of a FROM: its name, and its columns as SQL. An ambiguous column is None.

    `rowless` is the error for asking it for a ROWID when it has none.
    """

    name: str | None
    owner: str | None
    columns: dict[str, Typed | None]
    shown: list[str] = field(default_factory=list)
    rowless: int = 1445


@dataclass
class Scope:
    """The sources of one query block, inside those of the blocks around it."""

    sources: list[Source]
    parent: Scope | None = None
    merged: dict[str, Typed] = field(default_factory=dict)
    aliases: dict[str, Typed] = field(default_factory=dict)

    def resolve(self, ref: ColumnRef) -> tuple[Typed, bool]:
        """The column and whether it is of this very block; ORA-00904, ORA-00918."""
        found = self._here(ref)
        if found is not None:
            return found, True
        outer = self.parent
        while outer is not None:
            found = outer._here(ref)
            if found is not None:
                return found, False
            outer = outer.parent
        raise OraError(904, printed(ref), offset=ref.offset)

    def _here(self, ref: ColumnRef) -> Typed | None:
        column = ref.parts[-1].text
        if len(ref.parts) == 1 and column in self.merged:
            return self.merged[column]
        if column == "ROWID":
            self._need_rowid(ref)
        matches = [
            s.columns[column]
            for s in self.sources
            if column in s.columns and _is_named(s, ref.parts[:-1])
        ]
        if len(matches) > 1 or matches == [None]:
            raise OraError(918, offset=ref.offset)
        if matches:
            return matches[0]
        return self.aliases.get(column) if len(ref.parts) == 1 else None

    def _need_rowid(self, ref: ColumnRef) -> None:
        """ROWID is of one source of this very block, which must have one."""
        named = [s for s in self.sources if _is_named(s, ref.parts[:-1])]
        if len(named) > 1:
            raise OraError(918, offset=ref.offset)
        if named and "ROWID" not in named[0].columns:
            if named[0].rowless == 3001:
                raise unimplemented(
                    "ROWID of DUAL or of an inline view; name it inside: ROWID AS r"
                )
            raise OraError(named[0].rowless, offset=ref.offset)

    def named(self, path: tuple[Name, ...]) -> Source:
        """The source that `path.*` means."""
        for source in self.sources:
            if _is_named(source, path):
                return source
        raise OraError(904, ".".join(f'"{p.text}"' for p in path))


def _is_named(source: Source, path: tuple[Name, ...]) -> bool:
    if not path:
        return True
    if len(path) == 1:
        return source.name == path[0].text
    return source.owner == path[0].text and source.name == path[1].text


def printed(ref: ColumnRef) -> str:
    """A reference as ORA-00904 prints it: every part in quotes."""
    return ".".join(f'"{p.text}"' for p in ref.parts)


def table_columns(table: Table, alias: str) -> tuple[dict[str, Typed | None], list[str]]:
    """The columns of `table` under DuckDB's `alias`, and their order."""
    columns: dict[str, Typed | None] = {}
    for column in table.columns:
        sql = f'{alias}."{column.name}"'
        if column.oracle.kind == "TSTZ":
            sql = (
                f"CASE WHEN {sql} IS NOT NULL THEN "
                f'struct_pack(u := {sql}, o := {alias}."{HIDDEN_OFFSET}{column.name}") END'
            )
            sql = f"({sql})"
        columns[column.name] = Typed(sql, column.oracle, column.nullable)
    if table.number:
        row = f"{alias}._row"
        columns["ROWID"] = Typed(
            segments.rowid_sql(row, table.number),
            ROWID,
            nullable=False,
            row=(row, segments.first_rowid(table.number)),
        )
    return columns, [c.name for c in table.columns]


@dataclass
class Parameters:
    """The bind values of one run, and which of them DuckDB is given.

    Attributes:
        used: how often the SQL reads each of them.
        fixed_by_value: whether the SQL holds a value itself and serves this run only.
        explains: whether nothing will run, so that values may be missing.
    """

    bound: tuple[Bound, ...]
    used: Counter[int] = field(default_factory=Counter)
    fixed_by_value: bool = False
    explains: bool = False

    def at(self, index: int) -> Bound:
        if index >= len(self.bound):
            if self.explains:
                return Bound(None, OraType("VARCHAR2"))
            raise OraError(1008)
        return self.bound[index]
