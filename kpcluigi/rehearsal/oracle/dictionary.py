"""Oracle's data dictionary over the catalogue: ALL_*, USER_*, V$* and DUAL, as SQL for DuckDB.

A view is a `Table` of owner SYS, so that names and types resolve as those of any table, and SQL
that gives its rows. Static views are made once; those of sessions and clocks when they are read.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from kpcluigi.rehearsal.oracle import segments
from kpcluigi.rehearsal.oracle.catalog import PUBLIC, Column, Table
from kpcluigi.rehearsal.oracle.engine import Database
from kpcluigi.rehearsal.oracle.oratypes import OraType, storage
from kpcluigi.rehearsal.oracle.privileges import SYSTEM, Grants, Privileges
from kpcluigi.rehearsal.oracle.statements import constraint_name
from kpcluigi.rehearsal.oracle.storage_views import storage_views
from kpcluigi.rehearsal.oracle.values import quoted
from kpcluigi.rehearsal.oracle.work import Work

if TYPE_CHECKING:
    from kpcluigi.rehearsal.oracle.session import Session

Value = str | int | None
Rows = Sequence[Sequence[Value]]
View = tuple[Table, Callable[[], str]]

BANNER = "Oracle Database 19c Enterprise Edition Release 19.0.0.0.0 - Production"
_CREATED = "2019-01-01 00:00:00"

_NLS = {
    "NLS_CHARACTERSET": "AL32UTF8", "NLS_NCHAR_CHARACTERSET": "AL16UTF16",
    "NLS_LANGUAGE": "AMERICAN", "NLS_TERRITORY": "AMERICA", "NLS_SORT": "BINARY",
    "NLS_COMP": "BINARY", "NLS_LENGTH_SEMANTICS": "BYTE", "NLS_RDBMS_VERSION": "19.0.0.0.0",
}  # fmt: skip


def _view(name: str, columns: str) -> Table:
    """A view from text such as "OWNER VARCHAR2(128), NUM_ROWS NUMBER"."""
    found = []
    depth, start = 0, 0
    for at, mark in enumerate(columns + ","):
        depth += {"(": 1, ")": -1}.get(mark, 0)
        if mark == "," and depth == 0:
            column, _, type_ = columns[start:at].strip().partition(" ")
            found.append(Column(column, type_))
            start = at + 1
    return Table("SYS", name, tuple(found))


def _cell(value: Value, column: Column) -> str:
    kind = storage(column.oracle)
    if value is None or value == "":
        return f"CAST(NULL AS {kind})"
    return f"CAST({quoted(str(value))} AS {kind})"


def rows_sql(view: Table, rows: Rows) -> str:
    """SQL that gives `rows` as the columns of `view`."""
    names = ", ".join(f'"{c.name}"' for c in view.columns)
    if not rows:
        nothing = ", ".join(_cell(None, c) for c in view.columns)
        return f"SELECT * FROM (VALUES ({nothing})) AS v({names}) WHERE false"
    lines = ", ".join(
        "(" + ", ".join(_cell(v, c) for v, c in zip(row, view.columns, strict=True)) + ")"
        for row in rows
    )
    return f"SELECT * FROM (VALUES {lines}) AS v({names})"


_NAME = "VARCHAR2(128)"
_TABLES = _view(
    "ALL_TABLES",
    f"OWNER {_NAME}, TABLE_NAME {_NAME}, TABLESPACE_NAME VARCHAR2(30), IOT_NAME {_NAME},"
    " STATUS VARCHAR2(8), NUM_ROWS NUMBER, BLOCKS NUMBER, AVG_ROW_LEN NUMBER,"
    " PARTITIONED VARCHAR2(3), IOT_TYPE VARCHAR2(12), TEMPORARY VARCHAR2(1), NESTED VARCHAR2(3),"
    " DURATION VARCHAR2(15), COMPRESSION VARCHAR2(8), COMPRESS_FOR VARCHAR2(30),"
    " DROPPED VARCHAR2(3), LAST_ANALYZED DATE",
)
_USER_TABLES = Table("SYS", "USER_TABLES", _TABLES.columns[1:])
_COLUMNS_TEXT = (
    f"OWNER {_NAME}, TABLE_NAME {_NAME}, COLUMN_NAME {_NAME}, DATA_TYPE {_NAME},"
    " DATA_TYPE_MOD VARCHAR2(3), DATA_TYPE_OWNER VARCHAR2(128), DATA_LENGTH NUMBER,"
    " DATA_PRECISION NUMBER, DATA_SCALE NUMBER, NULLABLE VARCHAR2(1), COLUMN_ID NUMBER,"
    " DEFAULT_LENGTH NUMBER, DATA_DEFAULT LONG, CHAR_LENGTH NUMBER, CHAR_USED VARCHAR2(1),"
    " CHAR_COL_DECL_LENGTH NUMBER, NUM_DISTINCT NUMBER, NUM_NULLS NUMBER,"
    " DEFAULT_ON_NULL VARCHAR2(3),"
    " IDENTITY_COLUMN VARCHAR2(3), CHARACTER_SET_NAME VARCHAR2(44), COLLATION VARCHAR2(100)"
)
_COLUMNS = _view("ALL_TAB_COLUMNS", _COLUMNS_TEXT)
_COLS = _view(
    "ALL_TAB_COLS",
    _COLUMNS_TEXT + ", HIDDEN_COLUMN VARCHAR2(3), VIRTUAL_COLUMN VARCHAR2(3),"
    " SEGMENT_COLUMN_ID NUMBER, INTERNAL_COLUMN_ID NUMBER, QUALIFIED_COL_NAME VARCHAR2(4000),"
    " USER_GENERATED VARCHAR2(3)",
)
_OBJECTS = _view(
    "ALL_OBJECTS",
    f"OWNER {_NAME}, OBJECT_NAME {_NAME}, SUBOBJECT_NAME {_NAME}, OBJECT_ID NUMBER,"
    " DATA_OBJECT_ID NUMBER, OBJECT_TYPE VARCHAR2(23), CREATED DATE, LAST_DDL_TIME DATE,"
    " STATUS VARCHAR2(7), TEMPORARY VARCHAR2(1), GENERATED VARCHAR2(1), SECONDARY VARCHAR2(1)",
)
_DBA_OBJECTS = Table("SYS", "DBA_OBJECTS", _OBJECTS.columns)
_CONSTRAINTS = _view(
    "ALL_CONSTRAINTS",
    f"OWNER {_NAME}, CONSTRAINT_NAME {_NAME}, CONSTRAINT_TYPE VARCHAR2(1), TABLE_NAME {_NAME},"
    f" SEARCH_CONDITION LONG, SEARCH_CONDITION_VC VARCHAR2(4000), R_OWNER {_NAME},"
    f" R_CONSTRAINT_NAME {_NAME}, DELETE_RULE VARCHAR2(9), STATUS VARCHAR2(8),"
    " DEFERRABLE VARCHAR2(14), DEFERRED VARCHAR2(9), VALIDATED VARCHAR2(13),"
    f" GENERATED VARCHAR2(14), INDEX_OWNER {_NAME}, INDEX_NAME {_NAME}",
)
_CONS_COLUMNS = _view(
    "ALL_CONS_COLUMNS",
    f"OWNER {_NAME}, CONSTRAINT_NAME {_NAME}, TABLE_NAME {_NAME}, COLUMN_NAME VARCHAR2(4000),"
    " POSITION NUMBER",
)
_INDEXES = _view(
    "ALL_INDEXES",
    f"OWNER {_NAME}, INDEX_NAME {_NAME}, INDEX_TYPE VARCHAR2(27), TABLE_OWNER {_NAME},"
    f" TABLE_NAME {_NAME}, TABLE_TYPE VARCHAR2(11), UNIQUENESS VARCHAR2(9),"
    " COMPRESSION VARCHAR2(13), PREFIX_LENGTH NUMBER, STATUS VARCHAR2(8)",
)
_IND_COLUMNS = _view(
    "ALL_IND_COLUMNS",
    f"INDEX_OWNER {_NAME}, INDEX_NAME {_NAME}, TABLE_OWNER {_NAME}, TABLE_NAME {_NAME},"
    " COLUMN_NAME VARCHAR2(4000), COLUMN_POSITION NUMBER, COLUMN_LENGTH NUMBER,"
    " CHAR_LENGTH NUMBER, DESCEND VARCHAR2(4)",
)
_EMPTY = (
    _view("ALL_IND_EXPRESSIONS", f"INDEX_OWNER {_NAME}, INDEX_NAME {_NAME}, TABLE_OWNER {_NAME},"
          f" TABLE_NAME {_NAME}, COLUMN_EXPRESSION LONG, COLUMN_POSITION NUMBER"),
    _view("ALL_VIEWS", f"OWNER {_NAME}, VIEW_NAME {_NAME}, TEXT_LENGTH NUMBER, TEXT LONG"),
    _view("ALL_MVIEWS", f"OWNER {_NAME}, MVIEW_NAME {_NAME}, CONTAINER_NAME {_NAME}, QUERY LONG"),
    _view("ALL_SEQUENCES", f"SEQUENCE_OWNER {_NAME}, SEQUENCE_NAME {_NAME}, LAST_NUMBER NUMBER"),
    _view("ALL_TAB_IDENTITY_COLS", f"OWNER {_NAME}, TABLE_NAME {_NAME}, COLUMN_NAME {_NAME},"
          f" GENERATION_TYPE VARCHAR2(10), SEQUENCE_NAME {_NAME}, IDENTITY_OPTIONS VARCHAR2(298)"),
    _view("ALL_TAB_PARTITIONS", f"TABLE_OWNER {_NAME}, TABLE_NAME {_NAME}, PARTITION_NAME {_NAME},"
          " HIGH_VALUE LONG, PARTITION_POSITION NUMBER, NUM_ROWS NUMBER"),
    _view("ALL_DB_LINKS", f"OWNER {_NAME}, DB_LINK {_NAME}, USERNAME {_NAME}, HOST VARCHAR2(2000)"),
    _view("ALL_MVIEW_COMMENTS", f"OWNER {_NAME}, MVIEW_NAME {_NAME}, COMMENTS VARCHAR2(4000)"),
)  # fmt: skip
_SYNONYMS = _view(
    "ALL_SYNONYMS",
    f"OWNER {_NAME}, SYNONYM_NAME {_NAME}, TABLE_OWNER {_NAME}, TABLE_NAME {_NAME},"
    f" DB_LINK {_NAME}, ORIGIN_CON_ID NUMBER",
)
_USER_SYNONYMS = Table("SYS", "USER_SYNONYMS", _SYNONYMS.columns[1:])
_TAB_COMMENTS = _view(
    "ALL_TAB_COMMENTS",
    f"OWNER {_NAME}, TABLE_NAME {_NAME}, TABLE_TYPE VARCHAR2(11), COMMENTS VARCHAR2(4000)",
)
_COL_COMMENTS = _view(
    "ALL_COL_COMMENTS",
    f"OWNER {_NAME}, TABLE_NAME {_NAME}, COLUMN_NAME {_NAME}, COMMENTS VARCHAR2(4000)",
)
_USERS = _view("ALL_USERS", f"USERNAME {_NAME}, USER_ID NUMBER, CREATED DATE")
_PRIVS = _view("SESSION_PRIVS", "PRIVILEGE VARCHAR2(40)")
_TAB_PRIVS = _view(
    "ALL_TAB_PRIVS",
    f"GRANTOR {_NAME}, GRANTEE {_NAME}, TABLE_SCHEMA {_NAME}, TABLE_NAME {_NAME},"
    " PRIVILEGE VARCHAR2(40), GRANTABLE VARCHAR2(3)",
)
_VERSION = _view("V$VERSION", "BANNER VARCHAR2(80), BANNER_FULL VARCHAR2(160), CON_ID NUMBER")
_COMPONENT = _view(
    "PRODUCT_COMPONENT_VERSION",
    f"PRODUCT {_NAME}, VERSION VARCHAR2(160), VERSION_FULL VARCHAR2(160), STATUS VARCHAR2(160)",
)
_NLS_DATABASE = _view("NLS_DATABASE_PARAMETERS", f"PARAMETER {_NAME}, VALUE VARCHAR2(64)")
_NLS_SESSION = _view("NLS_SESSION_PARAMETERS", f"PARAMETER {_NAME}, VALUE VARCHAR2(64)")
_DATABASE = _view(
    "V$DATABASE",
    "DBID NUMBER, NAME VARCHAR2(9), CREATED DATE, LOG_MODE VARCHAR2(12), OPEN_MODE VARCHAR2(20),"
    " CURRENT_SCN NUMBER, DB_UNIQUE_NAME VARCHAR2(30), PLATFORM_NAME VARCHAR2(101)",
)
_INSTANCE = _view(
    "V$INSTANCE",
    "INSTANCE_NUMBER NUMBER, INSTANCE_NAME VARCHAR2(16), HOST_NAME VARCHAR2(64),"
    " VERSION VARCHAR2(17), VERSION_FULL VARCHAR2(17), STATUS VARCHAR2(12)",
)
_SESSION = _view(
    "V$SESSION",
    "SID NUMBER, SERIAL# NUMBER, USERNAME VARCHAR2(128), STATUS VARCHAR2(8), SCHEMANAME"
    " VARCHAR2(128), PROGRAM VARCHAR2(48), MODULE VARCHAR2(64), ACTION VARCHAR2(64),"
    " CLIENT_IDENTIFIER VARCHAR2(64), TYPE VARCHAR2(10)",
)
_DUAL = _view("DUAL", "DUMMY VARCHAR2(1)")


class Dictionary:
    """All dictionary views of one server."""

    def __init__(
        self,
        database: Database,
        grants: Grants,
        service: str,
        sessions: Callable[[], list[Session]],
    ) -> None:
        self._database = database
        self._grants = grants
        self._user = grants.now.user
        self._started = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
        self._service = service
        self._sessions = sessions
        self._tables = [t for _, t in sorted(database.tables.items())]
        self._static: dict[str, View] = {}
        for view, rows in self._static_views():
            self._add(view, rows)

    def views(self, work: Work) -> Mapping[str, View]:
        """The views as one session sees them."""
        privileges = self._grants.now
        hidden = [t for t in self._tables if not privileges.may_select(t)]
        known = dict(self._static)
        if hidden:
            known = {name: _without(view, hidden) for name, view in known.items()}
        live: dict[str, View] = {
            "V$DATABASE": (_DATABASE, lambda: rows_sql(_DATABASE, [self._of_database()])),
            "V$SESSION": (_SESSION, lambda: rows_sql(_SESSION, self._of_sessions())),
            "NLS_SESSION_PARAMETERS": (
                _NLS_SESSION,
                lambda: rows_sql(_NLS_SESSION, self._of_nls(work)),
            ),
            "SESSION_PRIVS": (_PRIVS, lambda: rows_sql(_PRIVS, self._of_privileges(privileges))),
            "ALL_TAB_PRIVS": (
                _TAB_PRIVS,
                lambda: rows_sql(_TAB_PRIVS, self._of_grants(privileges)),
            ),
            "ALL_SYNONYMS": (
                _SYNONYMS,
                lambda: rows_sql(_SYNONYMS, self._of_synonyms(privileges)),
            ),
            "USER_SYNONYMS": (
                _USER_SYNONYMS,
                lambda: rows_sql(
                    _USER_SYNONYMS,
                    [r[1:] for r in self._of_synonyms(privileges) if r[0] == self._user],
                ),
            ),
            "ALL_TABLES": (
                _TABLES,
                lambda: rows_sql(
                    _TABLES, [self._table_row(t) for t in self._tables if t not in hidden]
                ),
            ),
            "USER_TABLES": (
                _USER_TABLES,
                lambda: rows_sql(
                    _USER_TABLES,
                    [self._table_row(t)[1:] for t in self._tables if t.owner == self._user],
                ),
            ),
        }
        objects, synonyms = known["ALL_OBJECTS"][1], self._synonym_objects(privileges)
        live["ALL_OBJECTS"] = (
            _OBJECTS,
            lambda: f"{objects()} UNION ALL {rows_sql(_OBJECTS, synonyms)}",
        )
        return {**known, **live, **self._of_storage()}

    def _of_storage(self) -> dict[str, View]:
        found = storage_views(self._database, self._tables, self._user)

        def as_sql(view: Table, rows: Callable[[], Rows]) -> Callable[[], str]:
            return lambda: rows_sql(view, rows())

        return {name: (view, as_sql(view, rows)) for name, (view, rows) in found.items()}

    @staticmethod
    def _of_privileges(privileges: Privileges) -> Rows:
        return [["CREATE TABLE"], *([p] for p in SYSTEM if p in privileges.held)]

    def _of_grants(self, privileges: Privileges) -> Rows:
        return [
            [t.owner, self._user, t.owner, t.name, verb, "NO"]
            for t in self._tables
            for verb in ("FLASHBACK", "SELECT")
            if f"{verb} {t.owner}.{t.name}" in privileges.held
        ]

    def _of_synonyms(self, privileges: Privileges) -> Rows:
        """Own and public ones, wherever they lead; others' where the table may be read."""
        tables = self._database.tables
        return [
            [owner, name, *to, None, 0]
            for (owner, name), to in sorted(self._database.synonyms.items())
            if owner in (self._user, PUBLIC)
            or ((table := tables.get(to)) is not None and privileges.may_select(table))
        ]

    def _synonym_objects(self, privileges: Privileges) -> Rows:
        beyond = len(self._tables) + 1
        return [
            [owner, name, None, segments.object_number(beyond + i), None, "SYNONYM", _CREATED,
             _CREATED, "VALID", "N", "N", "N"]
            for i, (owner, name, *_) in enumerate(self._of_synonyms(privileges))
        ]  # fmt: skip

    def _add(self, view: Table, rows: Rows) -> None:
        """Add a view; an ALL_ view brings its DBA_ twin's refusal and its USER_ twin."""
        sql = rows_sql(view, rows)
        self._static[view.name] = (view, lambda: sql)
        owner = view.columns[0].name
        if view.name.startswith("ALL_") and owner in ("OWNER", "INDEX_OWNER", "TABLE_OWNER"):
            # A USER_ view has no owner of its own.
            mine = Table("SYS", "USER_" + view.name[4:], view.columns[1:])
            own = [row[1:] for row in rows if row[0] == self._user]
            own_sql = rows_sql(mine, own)
            self._static[mine.name] = (mine, lambda: own_sql)

    def _of_database(self) -> list[Value]:
        # V$DATABASE is read anew by every statement; its SQL holds the SCN of that moment.
        scn = self._database.current_scn()
        name = self._service[:8].upper()
        return [
            1470_000_001,
            name,
            _CREATED,
            "ARCHIVELOG",
            "READ WRITE",
            scn,
            name,
            "Linux x86 64-bit",
        ]

    def _of_sessions(self) -> Rows:
        return [
            [
                s.sid,
                s.serial,
                self._user,
                "ACTIVE",
                s.work.schema,
                s.program[:48],
                s.attributes["module"][:64],
                s.attributes["action"][:64],
                s.attributes["client_identifier"][:64],
                "USER",
            ]
            for s in self._sessions()
        ]

    @staticmethod
    def _of_nls(work: Work) -> Rows:
        nls = work.nls
        return [
            *((k, v) for k, v in _NLS.items() if "CHARACTERSET" not in k and "RDBMS" not in k),
            ("NLS_DATE_FORMAT", nls.date_format),
            ("NLS_TIMESTAMP_FORMAT", nls.timestamp_format),
            ("NLS_TIMESTAMP_TZ_FORMAT", nls.timestamp_tz_format),
            ("NLS_NUMERIC_CHARACTERS", nls.numeric_characters),
        ]

    def _static_views(self) -> list[tuple[Table, Rows]]:
        tables = self._tables
        columns = [_column_row(t, i, c) for t in tables for i, c in enumerate(t.columns, 1)]
        owners = sorted({self._user, *(t.owner for t in tables)})
        keyed = [t for t in tables if t.primary_key]
        objects = self._object_rows()
        return [
            (_COLUMNS, columns),
            (_COLS, [[*c, "NO", "NO", c[10], c[10], c[2], "YES"] for c in columns]),
            (_OBJECTS, objects),
            (_DBA_OBJECTS, objects),
            (_CONSTRAINTS, [r for t in tables for r in _constraint_rows(t)]),
            (_CONS_COLUMNS, [r for t in tables for r in _constraint_columns(t)]),
            (_INDEXES, [
                [t.owner, constraint_name(t), "NORMAL", t.owner, t.name, "TABLE", "UNIQUE",
                 "DISABLED", None, "VALID"] for t in keyed
            ]),
            (_IND_COLUMNS, [
                [t.owner, constraint_name(t), t.owner, t.name, k, i, 22, 0, "ASC"]
                for t in keyed for i, k in enumerate(t.primary_key, 1)
            ]),
            *((view, []) for view in _EMPTY),
            (_TAB_COMMENTS, [[t.owner, t.name, "TABLE", None] for t in tables]),
            (_COL_COMMENTS, [[t.owner, t.name, c.name, None] for t in tables for c in t.columns]),
            (_USERS, [[owner, 100 + i, _CREATED] for i, owner in enumerate(owners)]),
            (_VERSION, [[BANNER, f"{BANNER}\nVersion 19.3.0.0.0", 0]]),
            (_COMPONENT, [
                ["Oracle Database 19c Enterprise Edition ", "19.0.0.0.0", "19.3.0.0.0",
                 "Production"]
            ]),
            (_NLS_DATABASE, [*_NLS.items(), ("NLS_DATE_FORMAT", "DD-MON-RR"),
                             ("NLS_NUMERIC_CHARACTERS", ".,")]),
            (_INSTANCE, [
                [1, self._service.lower()[:16], "rehearsal", "19.0.0.0.0", "19.3.0.0.0", "OPEN"]
            ]),
            (_DUAL, [["X"]]),
        ]  # fmt: skip

    def _table_row(self, table: Table) -> list[Value]:
        # The statistics are those of this moment, where Oracle has those of the last ANALYZE.
        blocks = segments.blocks_of(self._database.rows_ever(table))
        rows = self._database.rows_now(table)
        average = segments.BLOCK_BYTES // segments.ROWS_PER_BLOCK if rows else 0
        return [table.owner, table.name, "USERS", None, "VALID", rows, blocks, average, "NO", None,
                "N", "NO", None, "DISABLED", None, "NO", self._started]  # fmt: skip

    def _object_rows(self) -> list[list[Value]]:
        rows: list[list[Value]] = []
        for table in self._tables:
            at = segments.object_number(table.number)
            rows.append([
                table.owner, table.name, None, at, at, "TABLE", _CREATED, _CREATED, "VALID", "N",
                "N", "N",
            ])  # fmt: skip
            if table.primary_key:
                rows.append([
                    table.owner, constraint_name(table), None, at + 1, at + 1, "INDEX", _CREATED,
                    _CREATED, "VALID", "N", "N", "N",
                ])  # fmt: skip
        return rows


def _without(view: View, hidden: Sequence[Table]) -> View:
    """The rows of a view that are not of these tables."""
    columns = {c.name for c in view[0].columns}
    owner = next((c for c in ("TABLE_OWNER", "OWNER") if c in columns), None)
    name = next((c for c in ("TABLE_NAME", "OBJECT_NAME") if c in columns), None)
    if owner is None or name is None or view[0].name.startswith("DBA_"):
        return view
    pairs = [
        (t.owner, n)
        for t in hidden
        for n in ([t.name, constraint_name(t)] if name == "OBJECT_NAME" else [t.name])
    ]
    gone = ", ".join(f"({quoted(o)}, {quoted(n)})" for o, n in pairs)
    condition = f'("{owner}", "{name}") NOT IN ({gone})'
    return view[0], lambda: f"SELECT * FROM ({view[1]()}) AS v WHERE {condition}"


def _data_type(type_: OraType) -> str:
    if type_.kind == "TIMESTAMP":
        return f"TIMESTAMP({type_.scale})"
    if type_.kind == "TSTZ":
        return f"TIMESTAMP({type_.scale}) WITH TIME ZONE"
    return "FLOAT" if _is_float(type_) else type_.kind


def _is_float(type_: OraType) -> bool:
    return type_.rounds_elsewhere and type_.scale == -127


def _column_row(table: Table, position: int, column: Column) -> list[Value]:
    type_ = column.oracle
    bounded = type_.kind == "NUMBER" and type_.precision > 0 and not _is_float(type_)
    is_text = type_.kind in ("VARCHAR2", "CHAR")
    scale: int | None = type_.scale if bounded or type_.kind in ("TIMESTAMP", "TSTZ") else None
    precision = type_.precision if bounded or _is_float(type_) else None
    return [
        table.owner, table.name, column.name, _data_type(type_), None, None, type_.size,
        precision, scale, "Y" if column.nullable else "N", position,
        None, None, type_.chars if is_text else 0,
        ("C" if type_.by_char else "B") if is_text else None, type_.chars if is_text else None,
        None, None, "NO", "NO", "CHAR_CS" if is_text else None,
        "USING_NLS_COMP" if is_text else None,
    ]  # fmt: skip


def _not_null(table: Table) -> list[Column]:
    return [c for c in table.columns if not c.nullable and c.name not in table.primary_key]


def _constraint_rows(table: Table) -> list[list[Value]]:
    state: list[Value] = ["ENABLED", "NOT DEFERRABLE", "IMMEDIATE", "VALIDATED"]
    rows: list[list[Value]] = []
    if table.primary_key:
        name = constraint_name(table)
        rows.append([table.owner, name, "P", table.name, None, None, None, None, None, *state,
                     "USER NAME", table.owner, name])  # fmt: skip
    for i, column in enumerate(_not_null(table), 1):
        condition = f'"{column.name}" IS NOT NULL'
        rows.append([table.owner, _check_name(table, i), "C", table.name, condition, condition,
                     None, None, None, *state, "GENERATED NAME", None, None])  # fmt: skip
    return rows


def _constraint_columns(table: Table) -> list[list[Value]]:
    rows: list[list[Value]] = [
        [table.owner, constraint_name(table), table.name, key, i]
        for i, key in enumerate(table.primary_key, 1)
    ]
    for i, column in enumerate(_not_null(table), 1):
        rows.append([table.owner, _check_name(table, i), table.name, column.name, None])
    return rows


def _check_name(table: Table, number: int) -> str:
    """A system-made name; the letters of the table keep it unique."""
    return f"SYS_C_{table.name}_{number}"
