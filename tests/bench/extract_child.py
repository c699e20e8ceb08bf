"""One measured process of the benchmark `extract`: does one job, prints what it cost as JSON.

Each job runs in a process of its own, so that its CPU time and its memory peak are its own. Imports
and the loading of rows are not on the clock, except that `chunk`'s memory is that of all it does.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import luigi
import oracledb
import pyarrow as pa

import kpcluigi
from kpcluigi.extract import extract_chunk
from kpcluigi.markers import Chunk, ChunkManifest, Plan
from kpcluigi.oracle import Source, connect, describe_source, plan_chunks
from kpcluigi.oracle.source import source_of
from kpcluigi.staging import TableFolder, read_marker, write_marker
from kpcluigi.tables import Table
from tests.bench import sales

LIKE_A_WORKER = (luigi, kpcluigi)
"""A Luigi worker has imported these, whatever it does."""

USER, PASSWORD = "KPC_READER", "bench-password"
PLAN = "plan.json"

Cost = dict[str, Any]


class InMemory:
    """Stands where a connection does, and gives batches that are there already."""

    def __init__(self, batches: Sequence[pa.RecordBatch]) -> None:
        self._batches = batches

    def fetch_df_batches(self, *_: object, **__: object) -> Iterator[pa.RecordBatch]:
        return iter(self._batches)


def arrow_kpcluigi(job: dict[str, Any]) -> Cost:
    """The product's own `extract_chunk` over Arrow batches in memory."""
    table = _mapping(job)
    source = sales.source(table)
    chunk = Chunk(n=1, rows=job["rows"])
    plan = _plan(source, chunk)
    batches = list(sales.read_batches(Path(job["batches"])))
    connection = cast(oracledb.Connection, InMemory(batches))
    return _measured(lambda: _extract(connection, source, plan, chunk, Path(job["folder"])))


def arrow_fastest(job: dict[str, Any]) -> Cost:
    """The expert's script over the same batches."""
    from tests.bench.fastest import fastest

    table = _mapping(job)
    batches = list(sales.read_batches(Path(job["batches"])))
    path = Path(job["folder"]) / f"fastest-{table.fetch_size}.csv.gz"
    return _measured(lambda: {"file": str(path), "fitted": fastest(batches, table, path)})


def arrow_first_design(job: dict[str, Any]) -> Cost:
    """The first design over the frame that `pandas.read_sql` would have made of the same rows."""
    import pandas as pd

    from tests.bench.first_design import first_design

    table = _mapping(job)
    rows = pa.Table.from_batches(sales.read_batches(Path(job["batches"])))
    # NUMBERs without places come as int, dates to the microsecond, amounts as Decimal
    arrives = {"SALES_ID": pa.uint64(), "QUANTITY": pa.int64()}
    schema = pa.schema(
        [
            (f.name, pa.timestamp("us") if pa.types.is_timestamp(f.type) else f.type)
            for f in (f.with_type(arrives.get(f.name, f.type)) for f in rows.schema)
        ]
    )
    frame: pd.DataFrame = rows.cast(schema).to_pandas()
    del rows
    path = Path(job["folder"]) / "first_design.csv.gz"
    return _measured(lambda: {"file": str(path), "sha256": first_design(frame, table, path)})


def plan(job: dict[str, Any]) -> Cost:
    """Plan the table of the stand-in; the plan is left in the folder, nothing is measured."""
    with _connected(job) as connection:
        source = _described(connection, job)
        found = plan_chunks(connection, source, fingerprint="bench")
    write_marker(Path(job["folder"]) / PLAN, found)
    expected = sales.source(source.table)
    if source.columns != expected.columns:
        raise SystemExit(f"The stand-in describes {source}, the benchmark expects {expected}")
    return {"chunks": [chunk.rows for chunk in found.chunks]}


def chunk(job: dict[str, Any]) -> Cost:
    """A whole ExtractChunk: connect, extract the plan's first chunk."""
    found = _read_plan(job)

    def work() -> Cost:
        with _connected(job) as connection:
            source = source_of(
                found.columns, owner=sales.OWNER, table=_mapping(job), window=sales.WINDOW
            )
            return _extract(connection, source, found, found.chunks[0], Path(job["folder"]))

    return _measured(work)


def chunk_first_design(job: dict[str, Any]) -> Cost:
    """The first design over SQLAlchemy and `pandas.read_sql`, from the same stand-in."""
    import pandas as pd
    from sqlalchemy import create_engine, text

    from kpcluigi.oracle.chunk import chunk_binds, chunk_sql
    from tests.bench.first_design import first_design

    found, table = _read_plan(job), _mapping(job)
    source = sales.source(table)
    sql = chunk_sql(source, found.chunks[0], found.scn)
    binds = chunk_binds(source, found.chunks[0])
    host, _, service = str(job["dsn"]).partition("/")
    path = Path(job["folder"]) / "chunk_first_design.csv.gz"

    def work() -> Cost:
        engine = create_engine(
            f"oracle+oracledb://{USER}:{PASSWORD}@{host}/?service_name={service}",
            arraysize=table.fetch_size,
        )
        with engine.connect() as connection:
            frame = pd.read_sql(text(sql), connection, params=binds, coerce_float=False)
        engine.dispose()
        frame.columns = frame.columns.str.upper()
        return {"file": str(path), "sha256": first_design(frame, table, path)}

    return _measured(work)


def _mapping(job: dict[str, Any]) -> Table:
    return sales.mapping(chunk_size=job["chunk_size"], fetch_size=job["fetch_size"])


def _connected(job: dict[str, Any]) -> AbstractContextManager[oracledb.Connection]:
    return connect(dsn=job["dsn"], user=USER, password=PASSWORD, module="bench")


def _described(connection: oracledb.Connection, job: dict[str, Any]) -> Source:
    return describe_source(connection, owner=sales.OWNER, table=_mapping(job), window=sales.WINDOW)


def _read_plan(job: dict[str, Any]) -> Plan:
    found = read_marker(Path(job["folder"]) / PLAN, Plan)
    if found is None:
        raise SystemExit(f"There is no {PLAN} in {job['folder']}")
    return found


def _plan(source: Source, chunk: Chunk) -> Plan:
    return Plan(
        table=source.table.name,
        owner=source.owner,
        partition_column=source.table.partition_column,
        window=str(source.window),
        scn=1,
        snapshot_at=datetime.now(UTC),
        fingerprint="bench",
        strategy="key_range",
        key=list(source.table.key),
        key_types=source.key_types,
        rows=chunk.rows or 0,
        sql="",
        seconds=0,
        columns=list(source.described),
        notes=[],
        chunks=[chunk],
    )


def _extract(
    connection: oracledb.Connection, source: Source, plan: Plan, chunk: Chunk, root: Path
) -> Cost:
    folder = TableFolder(root / f"kpcluigi-{source.table.fetch_size}")
    manifest: ChunkManifest = extract_chunk(
        connection, source, plan, chunk, folder, min_free_bytes=0, tell=lambda rows: None
    )
    fitted = {
        f"{what} {name}": getattr(column, what)
        for name, column in manifest.fitted.items()
        for what in ("truncated", "rounded", "null_literal")
        if getattr(column, what)
    }
    return {
        "file": str(folder.chunk_file(chunk.n)),
        "rows": manifest.rows,
        "raw_bytes": manifest.raw_bytes,
        "file_bytes": manifest.file_bytes,
        "sha256": manifest.sha256,
        "fitted": fitted,
    }


def _measured(work: Callable[[], Cost]) -> Cost:
    """What `work` found, its CPU seconds (user and system, all threads), and the memory peak."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    return {
        **found,
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "peak_mb": _peak_mb(),
    }


def _peak_mb() -> float:
    """The most memory that this process ever held.

    Not `ru_maxrss`, where the kernel tells better: that begins with what the parent held when it
    started this process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


JOBS: dict[str, Callable[[dict[str, Any]], Cost]] = {
    job.__name__: job
    for job in (
        arrow_kpcluigi,
        arrow_fastest,
        arrow_first_design,
        plan,
        chunk,
        chunk_first_design,
    )
}


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(JOBS[given["job"]](given)))
