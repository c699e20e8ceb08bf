"""A loaded table against the org: kpcluigi's levels beside all records and `merge` in pandas.

Oracle and the org are the stand-ins; the rows are those of tests/reconciling/bed.py, of 11 columns.
Both are processes of their own: their CPU is not counted, but they have the same cores, and what
the org needs for its answers is in everybody's wall time.

  levels 1, 2, 3, 5  `reconcile_table`, as Reconcile runs it, on a table that agrees
  --full             the same, with every row
  one cent           the same as the first, after one amount was changed by a cent behind the back
                     of everybody: what it asks, how long it takes, what it looks up and names
  pandas             all records by one query job, all chunk files, `merge` on the key, every column
                     compared in one form: in one go, in memory. It checks no file's checksum, and
                     knows neither sums nor dead letters.

`--full` runs on a quarter of the rows too: what it holds should not depend on them. Requests are
those that the org's own log has, with those for tokens and for states of jobs. CPU is user and
system of all threads of the comparing process, without its imports; the memory peak is its own.

With 1,000,000 rows it takes about 8 minutes on 2 cores that others use too, most of them the
stand-ins'.

It stands well when levels 1, 2, 3 and 5 ask no more than 10 requests per million rows plus 100, the
changed cent is named and nothing else, `--full` takes no more CPU than pandas and less than half
its memory, and four times the rows take at most a fifth more memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from kpcluigi.markers import Reconciled
from kpcluigi.staging import read_marker
from tests.bench.load_child import Cost
from tests.reconciling.bed import MAPPING, WINDOW, Bed, loaded

LEVELS, FULL, CENT, PANDAS = "levels 1, 2, 3, 5", "--full", "one cent", "pandas"
REQUESTS, REQUESTS_PER_MILLION = 100, 10
LEAST_ROWS = 1_000
CHILD_SECONDS = 1_200
"""After which a measured process is given up."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rows",
        type=_rows,
        default=1_000_000,
        metavar="N",
        help="rows of the table (default 1,000,000)",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=3,
        metavar="N",
        help="how often --full and pandas are measured, in turns (default 3)",
    )


def run(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="kpcluigi-bench-") as name:
        _run(Path(name), rows=given.rows, rounds=max(1, given.rounds))


def _run(folder: Path, *, rows: int, rounds: int) -> None:
    started = time.monotonic()
    costs: dict[str, list[Cost]] = {}
    fewer = rows // 4
    few = f"{FULL}, {fewer:,}"
    with _bed(folder / "few", fewer) as bed:
        costs[few] = [_full(bed)]
    with _bed(folder / "many", rows) as bed:
        costs[LEVELS] = [_agreeing(bed)]
        for _ in range(rounds):
            costs.setdefault(FULL, []).append(_full(bed))
            costs.setdefault(PANDAS, []).append(_pandas(bed))
        costs[CENT] = [_one_cent(bed)]

    print(f"\n{rows:,} rows. Median (least to most)\n")
    print(f"{'':20}{'CPU s':>8} {'':18}{'wall s':>8} {'':18}{'peak MB':>9}{'requests':>10}  runs")
    for title, found in costs.items():
        print(
            f"{title:20}{_shown(found, 'cpu')}{_shown(found, 'wall')}"
            f"{max(cost['peak_mb'] for cost in found):9.0f}{found[0]['requests']:10}  {len(found)}"
        )

    def of(title: str, what: str) -> float:
        return float(median(cost[what] for cost in costs[title]))

    (levels,), (cent,) = costs[LEVELS], costs[CENT]
    allowed = REQUESTS + -(-REQUESTS_PER_MILLION * rows // 1_000_000)
    result = {
        "rows": rows,
        "requests": levels["requests"],
        "requests_allowed": allowed,
        "rows_per_second": round(rows / levels["wall"]),
        "full_rows_per_second": round(rows / of(FULL, "wall")),
        "full_requests": costs[FULL][0]["requests"],
        "full_query_jobs": costs[FULL][0]["query_jobs"],
        "full_peak_mb": round(of(FULL, "peak_mb")),
        "full_peak_mb_of_a_quarter": round(of(few, "peak_mb")),
        "named": cent["named"],
        "cent_requests": cent["requests"],
        "cent_seconds": round(cent["wall"], 3),
        "cent_rows_looked_up": cent["looked_up"],
        "wall_ratio_pandas": round(of(FULL, "wall") / of(PANDAS, "wall"), 3),
        "cpu_ratio_pandas": round(of(FULL, "cpu") / of(PANDAS, "cpu"), 3),
        "memory_ratio_pandas": round(of(FULL, "peak_mb") / of(PANDAS, "peak_mb"), 3),
        "rounds": rounds,
        "costs": costs,
        "load_average": os.getloadavg()[2],
        "seconds": round(time.monotonic() - started),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("kpcluigi", "pandas", "polars", "requests")},
        },
    }
    print(
        f"\nrequests of levels 1, 2, 3, 5: {result['requests']} ({allowed} or less)\n"
        f"one cent: {'named' if cent['named'] else 'NOT NAMED'}, {cent['looked_up']:,} rows looked "
        f"up\n"
        f"kpcluigi --full / pandas, CPU: {result['cpu_ratio_pandas']} (1.0 or less)\n"
        f"kpcluigi --full / pandas, memory: {result['memory_ratio_pandas']} (0.5 or less)\n"
        f"memory of --full, {rows:,} rows / {fewer:,}: "
        f"{of(FULL, 'peak_mb') / of(few, 'peak_mb'):.2f} (1.2 or less)\n"
    )
    print(json.dumps(result))


def _bed(folder: Path, rows: int) -> Any:
    print(f"Loading {rows:,} rows …", flush=True)
    folder.mkdir()
    return loaded(folder, rows)


def _agreeing(bed: Bed) -> Cost:
    cost, found = _reconciled(bed, LEVELS, full=False)
    if found.verdict != "PASS" or found.rows is not None:
        raise SystemExit(f"A table that agrees was found {found.verdict}: {found.differences}")
    return cost


def _full(bed: Bed) -> Cost:
    cost, found = _reconciled(bed, FULL, full=True)
    if found.verdict != "PASS" or found.rows is None or found.rows.identical != bed.rows:
        raise SystemExit(f"A table that agrees was found {found.verdict}: {found.differences}")
    return cost | {"query_jobs": found.rows.query_jobs}


def _one_cent(bed: Bed) -> Cost:
    """What changed is in the middle of its range; nobody knows of it but the org."""
    key = bed.key(bed.rows // 2 + 3)
    more = f"UPDATE Sale__c SET Amount__c = Amount__c + 0.01 WHERE External_ID__c = '{key}'"
    with bed.planted(more, key):
        cost, found = _reconciled(bed, CENT, full=False)
    named = [(d.kind, d.key, d.field) for d in found.differences if d.level == 4]
    looked_up = 0 if found.rows is None else found.rows.staged
    is_named = named == [("modified", key, "Amount__c")]
    return cost | {"named": is_named, "looked_up": looked_up}


def _reconciled(bed: Bed, title: str, *, full: bool) -> tuple[Cost, Reconciled]:
    cost = _child(bed, title, {"way": "kpcluigi", "full": full})
    found = read_marker(bed.folder.reconciled, Reconciled)
    assert found is not None
    return cost, found


def _pandas(bed: Bed) -> Cost:
    cost = _child(bed, PANDAS, {"way": "pandas"})
    found = json.loads((bed.folder.path / "pandas.json").read_text())
    if found != {"rows": bed.rows, "differing": []}:
        raise SystemExit(f"pandas found other than {bed.rows:,} equal rows")
    return cost


def _child(bed: Bed, title: str, job: dict[str, Any]) -> Cost:
    """Do the job in a process of its own; with the requests that the org has seen meanwhile."""
    print(f"{title}, {bed.rows:,} rows …", flush=True)
    job |= {
        "url": bed.org.url,
        "folder": str(bed.folder.path),
        "mapping": MAPPING,
        "window": [str(WINDOW.start), str(WINDOW.end)],
    }
    bed.org.reset()
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.reconcile_child", json.dumps(job)],
        stdout=subprocess.PIPE,
        timeout=CHILD_SECONDS,
        check=False,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{title} failed with exit code {done.returncode}; see above")
    cost: Cost = {name: round(value, 3) for name, value in json.loads(done.stdout).items()}
    return cost | {"requests": len(bed.org.log())}


def _shown(found: list[Cost], what: str) -> str:
    values = [cost[what] for cost in found]
    spread = f"({min(values):.2f} to {max(values):.2f})"
    return f"{median(values):8.2f} {spread:18}"


def _rows(text: str) -> int:
    number = int(text.replace(",", "").replace("_", ""))
    if number < LEAST_ROWS:
        raise argparse.ArgumentTypeError(f"expected {LEAST_ROWS:,} or more")
    return number
