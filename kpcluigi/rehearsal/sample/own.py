"""Columns that tables.toml maps and the sample does not know: made up from their mapped type.

So a rehearsal goes on working while tables.toml is completed with the columns of the real tables.
A column that finds a parent is left NULL, since nothing says which parents there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kpcluigi.errors import ConfigurationError
from kpcluigi.rehearsal.oracle.catalog import Column
from kpcluigi.rehearsal.oracle.catalog import Table as OracleTable
from kpcluigi.rehearsal.sample.rows import Recipe
from kpcluigi.tables import Column as Mapped
from kpcluigi.tables import Table

LONGEST = 4000
"""Characters of a VARCHAR2."""


def with_own_columns(
    known: OracleTable, recipe: Recipe, table: Table
) -> tuple[OracleTable, Recipe]:
    """The sample's table and recipe, with what `table` maps beyond them."""
    names = dict.fromkeys((*table.source_columns, *table.key, table.partition_column))
    own = [name for name in names if name not in known.by_name]
    columns, expressions = [], {}
    for name in own:
        mapped = table.columns.get(name)
        if name in table.key or name == table.external_id_column:
            columns.append(Column(name, "VARCHAR2(40 CHAR)", nullable=False))
            expressions[name] = "CAST(key AS VARCHAR)"
        elif name == table.partition_column:
            columns.append(Column(name, "DATE", nullable=False))
            expressions[name] = "date_trunc('second', made)"
        elif name in table.lookups or mapped is None:
            columns.append(Column(name, "VARCHAR2(255 CHAR)"))
            expressions[name] = "NULL"
        else:
            kind, expressions[name] = _made_up(name, mapped)
            columns.append(Column(name, kind))
    return (
        replace(known, columns=(*known.columns, *columns)),
        replace(recipe, columns={**recipe.columns, **expressions}),
    )


def refuse_unknown_tables(tables: Mapping[str, Table], known: Mapping[str, OracleTable]) -> None:
    """Raises `ConfigurationError` for tables that the sample does not have at all."""
    if unknown := [name for name in tables if name not in known]:
        raise ConfigurationError(
            f"The sample data has no table {', '.join(unknown)}, only the 16 that came with "
            f"kpcluigi; take such tables out of tables.toml for the time of a rehearsal"
        )


def _made_up(name: str, mapped: Mapped) -> tuple[str, str]:
    """An Oracle type that the mapping can take, and a DuckDB expression for its values."""
    match mapped.type:
        case "text":
            length = min(mapped.length or 255, LONGEST)
            return f"VARCHAR2({length} CHAR)", f"left('{name} ' || i, {length})"
        case "decimal":
            scale = mapped.scale or 0
            return f"NUMBER(18,{scale})", f"CAST(h % 1000000 AS DECIMAL(18,{scale}))"
        case "boolean":
            return "CHAR(1)", "CASE WHEN h % 2 = 0 THEN 'Y' ELSE 'N' END"
        case "date" | "datetime":
            return "DATE", "date_trunc('second', made)"
        case "base64":
            size = max(1, min(16, (mapped.length or 24) // 4 * 3))
            return f"RAW({size})", f"unhex(left(md5(CAST(i AS VARCHAR)), {2 * size}))"
