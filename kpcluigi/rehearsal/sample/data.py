"""Fills the sample tables: one set-based INSERT per table, inside DuckDB, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb

from kpcluigi.rehearsal.oracle.catalog import Table, create_table
from kpcluigi.rehearsal.sample.own import refuse_unknown_tables, with_own_columns
from kpcluigi.rehearsal.sample.rows import MACROS, OUTSIDE, RECIPES, Recipe
from kpcluigi.rehearsal.sample.schema import OWNER, TABLES
from kpcluigi.rehearsal.sample.targets import add_targets
from kpcluigi.tables import Table as Mapped

FEWEST_ROWS = 1_000
"""Below it a receipt could have fewer than one line."""

FEWEST_PER_TABLE = 12
SALES_TARGETS = 200
"""Rows of APPS.KHS_CUSTOMERS_TRX_TARGETS, which no migration moves."""
MEMORY_LIMIT = "1GB"
LARGEST = "KPS_T_SALES_MD"


def write_oracle(
    path: Path, rows: int, *, tables: Mapping[str, Mapped] | None = None, seed: int = 20220101
) -> dict[str, int]:
    """Make the DuckDB file that the Oracle stand-in serves.

    Args:
        path: a file that does not exist yet.
        rows: rows of all tables together that were created from 2022-01-01 to 2024-12-31; every
            table has 40 more outside these days.
        tables: what tables.toml maps; columns that the sample does not know are made up.
        seed: the same seed gives the same rows.

    Returns:
        Rows inside the window, by table.
    Raises:
        ConfigurationError: `tables` has a table that the sample does not have.
        ValueError: fewer than 1,000 rows are asked for.
        FileExistsError: the file is there already.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists; sample data goes into a new file")
    tables = tables or {}
    refuse_unknown_tables(tables, TABLES)
    counts = window_counts(rows)
    with duckdb.connect(path, config={"memory_limit": MEMORY_LIMIT}) as con:
        con.execute("SET enable_progress_bar = false")
        con.execute(_macros(counts, seed))
        for name, table in TABLES.items():
            recipe = RECIPES[name]
            if name in tables:
                made, recipe = with_own_columns(table, recipe, tables[name])
            else:
                made = table
            create_table(con, made)
            con.execute(_insert(made, recipe, counts))
        add_targets(con, SALES_TARGETS)
    return counts


def window_counts(rows: int) -> dict[str, int]:
    """Rows inside the window by table; together exactly `rows`.

    Of 150,000 rows or more, three tables have over 40,000: five chunks of 10,000.
    """
    if rows < FEWEST_ROWS:
        raise ValueError(f"sample data has at least {FEWEST_ROWS:,} rows, not {rows:,}")
    counts = {
        name: max(FEWEST_PER_TABLE, rows * recipe.share // 100_000)
        for name, recipe in RECIPES.items()
    }
    counts[LARGEST] += rows - sum(counts.values())
    return counts


def _macros(counts: dict[str, int], seed: int) -> str:
    """The constants of this build, then what all builds share."""
    constants = [f"CREATE TEMP MACRO seed() AS CAST({seed % 1_000_003} AS BIGINT);"]
    constants += [
        f"CREATE TEMP MACRO count_{name.lower()}() AS CAST({count} AS BIGINT);"
        for name, count in counts.items()
    ]
    keys = [
        f"CREATE TEMP MACRO key_{name.lower()}(i) AS "
        f"key_of(i, count_{name.lower()}(), {recipe.first_key});"
        for name, recipe in RECIPES.items()
    ]
    return "\n".join((*constants, MACROS, *keys))


def _insert(table: Table, recipe: Recipe, counts: dict[str, int]) -> str:
    """The INSERT that computes a table's rows from their numbers."""
    n = counts[table.name]
    salt = recipe.first_key % 1_000_003 + len(table.name)
    parents = f"count_{recipe.parent.lower()}()" if recipe.parent else "n"
    made = f"created(p, {parents})" if recipe.created_with_parent else "created(i, n)"
    expressions = {
        "CREATED_DATE": "made",
        "UPDATED_DATE": "updated(made, h)",
        **recipe.columns,
    }
    values = []
    for column in table.columns:
        value = expressions[column.name]
        if column.type.startswith("CHAR("):
            value = f"rpad({value}, {column.type[5:-1]}, ' ')"
        values.append(f'{value} AS "{column.name}"')
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    source = f"""
        SELECT *, {made} AS made, key_of(i, n, {recipe.first_key}) AS key
        FROM (SELECT *, parent_of(i, n, {parents}) AS p,
                     noise(i, {salt}) AS h, noise(i, {salt + 1}) AS g
              FROM (SELECT range AS i, CAST({n} AS BIGINT) AS n
                    FROM range(-{OUTSIDE}, {n + OUTSIDE})))"""
    for step in recipe.steps:
        named = ", ".join(f"{value} AS {name}" for name, value in step.items())
        source = f"SELECT *, {named} FROM ({source})"
    return (
        f'INSERT INTO "{OWNER}"."{table.name}" ({columns})\n'
        f"SELECT {', '.join(values)} FROM ({source})"
    )
