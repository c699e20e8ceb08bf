"""Rows to csv.gz: kpcluigi's extraction against the first design's and the fastest known.

Three ways, each in a process of its own, interleaved, measured in CPU seconds (user and system, all
threads) because that is what neighbours on the machine disturb least:

  kpcluigi      `extract_chunk`, as ExtractChunk calls it
  fastest       the same work as a script written for this one table: polars, igzip level 1
  first design  a pandas frame, `apply` per column, to_csv, gzip -9, sha256

first from Arrow batches in memory, then (without `fastest`) from the Oracle stand-in over sockets,
where the driver's part is included. All files are compared value by value. At last a whole
ExtractChunk process is asked for its memory peak, at the given rows and at four times as many.

It stands well when kpcluigi takes a 15th of the first design's CPU or less, at most 1.3 times the
fastest's, and its peak stays under 300 MB whatever the size of the chunk.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import Any

from kpcluigi.rehearsal.oracle import OracleStandIn
from kpcluigi.tables import BATCH_ROWS, Table
from tests.bench import sales, sales_rows
from tests.bench.extract_child import PASSWORD, USER

DEFAULT_FETCH_SIZE = int(Table.model_fields["fetch_size"].default)
LARGE_FETCH_SIZE = 50_000
"""Of the three large tables in tables.toml; the ratios are taken at this one."""

TIMES_LARGER = 4
CHILD_SECONDS = 300
"""After which a measured process is given up."""

Cost = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rows",
        type=_whole_batches,
        default=500_000,
        metavar="N",
        help="rows of a chunk, a multiple of 10,000 (default 500,000)",
    )
    parser.add_argument(
        "--rounds",
        type=_positive,
        default=5,
        metavar="N",
        help="how often each way is measured from Arrow (default 5)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=20220101,
        metavar="N",
        help="another seed gives other rows (default 20220101)",
    )


def run(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="kpcluigi-bench-") as name:
        _run(Path(name), rows=given.rows, rounds=given.rounds, seed=given.seed)


def _run(folder: Path, *, rows: int, rounds: int, seed: int) -> None:
    started = time.monotonic()
    database = folder / "oracle.duckdb"
    print(f"Making {rows * TIMES_LARGER:,} rows …", flush=True)
    sales_rows.write_database(database, rows=rows * TIMES_LARGER, seed=seed)

    costs: dict[str, list[Cost]] = defaultdict(list)
    _from_arrow(folder, database, rows, rounds, costs)
    peak = _from_stand_in(folder, database, rows, costs)
    _refuse_other_values(costs)
    (sample,) = {(c["rows"], c["raw_bytes"], c["sha256"]) for c in costs[_arrow("kpcluigi")]}

    print(
        f"\n{rows:,} rows of 12 columns, {sample[1] / rows:.0f} raw bytes a row; "
        f"CPU seconds: median (least to most)\n"
    )
    print(f"{'':44}{'CPU s':>8} {'':18}{'rows/CPU s':>12}{'peak MB':>9}  runs")
    for way, found in costs.items():
        seconds = [cost["cpu"] for cost in found]
        spread = f"({min(seconds):.2f} to {max(seconds):.2f})"
        print(
            f"{way:44}{median(seconds):8.2f} {spread:18}{rows / median(seconds):12,.0f}"
            f"{max(cost['peak_mb'] for cost in found):9.0f}  {len(found)}"
        )
    cpu = {way: median(cost["cpu"] for cost in found) for way, found in costs.items()}
    ours = cpu[_arrow("kpcluigi")]
    result = {
        "cpu_ratio_first_design": round(cpu["arrow, first design"] / ours, 2),
        "cpu_ratio_fastest": round(ours / cpu[_arrow("fastest")], 2),
        "cpu_ratio_first_design_from_stand_in": round(
            cpu["stand-in, first design"] / cpu["stand-in, kpcluigi"], 2
        ),
        "cpu_ratio_fastest_at_default_fetch_size": round(
            cpu[_arrow("kpcluigi", DEFAULT_FETCH_SIZE)]
            / cpu[_arrow("fastest", DEFAULT_FETCH_SIZE)],
            2,
        ),
        f"peak_mb_{_short(rows)}": round(peak[rows]),
        f"peak_mb_{_short(rows * TIMES_LARGER)}": round(peak[rows * TIMES_LARGER]),
        "rows": rows,
        "rounds": rounds,
        "raw_bytes": sample[1],
        "sha256": sample[2],
        "cpu_seconds": {way: round(seconds, 3) for way, seconds in cpu.items()},
        "rows_per_cpu_second": {way: round(rows / seconds) for way, seconds in cpu.items()},
        "seconds": round(time.monotonic() - started),
        "versions": {
            "python": platform.python_version(),
            **{
                package: version(package)
                for package in (
                    "kpcluigi",
                    "oracledb",
                    "polars",
                    "pyarrow",
                    "isal",
                    "pandas",
                    "numpy",
                    "sqlalchemy",
                )
            },
        },
    }
    print(
        f"\nfirst design / kpcluigi: {result['cpu_ratio_first_design']} (15 or more)\n"
        f"kpcluigi / fastest: {result['cpu_ratio_fastest']} (1.3 or less)\n"
        f"peak of a whole ExtractChunk process: {peak[rows]:.0f} MB at {rows:,} rows (under 300), "
        f"{peak[rows * TIMES_LARGER]:.0f} MB at {rows * TIMES_LARGER:,} (10 % more at most)\n"
    )
    print(json.dumps(result))


def _from_arrow(
    folder: Path, database: Path, rows: int, rounds: int, costs: dict[str, list[Cost]]
) -> None:
    """Every way once a round, over the same batches."""
    jobs: dict[str, Cost] = {}
    for size in (LARGE_FETCH_SIZE, DEFAULT_FETCH_SIZE):
        table = sales.mapping(chunk_size=rows, fetch_size=size)
        batches = folder / f"{size}.arrow"
        sales_rows.write_batches(
            database, batches, sales.source(table).schema, rows=rows, size=size
        )
        job = {
            "rows": rows,
            "chunk_size": rows,
            "fetch_size": size,
            "batches": str(batches),
            "folder": str(folder),
        }
        jobs[_arrow("kpcluigi", size)] = {**job, "job": "arrow_kpcluigi"}
        jobs[_arrow("fastest", size)] = {**job, "job": "arrow_fastest"}
        jobs["arrow, first design"] = {**job, "job": "arrow_first_design"}
    for i in range(rounds):
        print(f"From Arrow, round {i + 1} of {rounds} …", flush=True)
        for way, job in jobs.items():
            costs[way].append(_child(job))


def _from_stand_in(
    folder: Path, database: Path, rows: int, costs: dict[str, list[Cost]]
) -> dict[int, float]:
    """Whole processes over sockets; the memory peak of kpcluigi's by rows."""
    (from_arrow,) = {cost["sha256"] for cost in costs[_arrow("kpcluigi")]}
    peak: dict[int, float] = {}
    with OracleStandIn(database, user=USER, password=PASSWORD) as oracle:
        job = {"dsn": oracle.dsn, "fetch_size": LARGE_FETCH_SIZE}
        for chunk_rows in (rows, rows * TIMES_LARGER):
            print(f"From the stand-in, {chunk_rows:,} rows …", flush=True)
            place = folder / f"stand-in-{chunk_rows}"
            place.mkdir()
            job |= {"folder": str(place), "chunk_size": chunk_rows}
            _child({**job, "job": "plan"})
            for _ in range(3 if chunk_rows == rows else 1):
                cost = _child({**job, "job": "chunk"})
                peak[chunk_rows] = max(peak.get(chunk_rows, 0), cost["peak_mb"])
                if chunk_rows == rows:
                    costs["stand-in, kpcluigi"].append(cost)
                    if cost["sha256"] != from_arrow:
                        raise SystemExit("The stand-in's rows made another file than Arrow's")
            if chunk_rows == rows:
                costs["stand-in, first design"].append(_child({**job, "job": "chunk_first_design"}))
    return peak


def _child(job: Cost) -> Cost:
    """Do the job in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.extract_child", json.dumps(job)],
        stdout=subprocess.PIPE,
        timeout=CHILD_SECONDS,
        check=False,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{job['job']} failed with exit code {done.returncode}; see above")
    cost: Cost = json.loads(done.stdout)
    return cost


def _refuse_other_values(costs: dict[str, list[Cost]]) -> None:
    """All ways must have written the same rows, value by value, and counted the same changes."""
    counted = {
        json.dumps(c["fitted"], sort_keys=True)
        for cs in costs.values()
        for c in cs
        if "fitted" in c
    }
    if len(counted) > 1:
        raise SystemExit(f"The ways counted different changes: {' / '.join(counted)}")
    files = {way: Path(found[-1]["file"]) for way, found in costs.items()}
    with ExitStack() as stack:
        texts = [
            stack.enter_context(gzip.open(path, "rt", encoding="utf-8", newline=""))
            for path in files.values()
        ]
        for i, values in enumerate(zip_longest(*map(csv.reader, texts))):
            if any(value != values[0] for value in values):
                differing = "\n".join(f"{way}: {v}" for way, v in zip(files, values, strict=True))
                raise SystemExit(f"The ways differ in row {i}:\n{differing}")


def _arrow(way: str, size: int = LARGE_FETCH_SIZE) -> str:
    return f"arrow, {way}, batches of {size:,}"


def _short(rows: int) -> str:
    """500000 as 500k, 2000000 as 2m."""
    return f"{rows // 1_000_000}m" if rows % 1_000_000 == 0 else f"{rows // 1_000}k"


def _whole_batches(text: str) -> int:
    rows = int(text.replace(",", "").replace("_", ""))
    if rows < BATCH_ROWS or rows % BATCH_ROWS:
        raise argparse.ArgumentTypeError(f"expected a multiple of {BATCH_ROWS:,}")
    return rows


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return number
