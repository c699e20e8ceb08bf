"""csv.gz files to Salesforce: kpcluigi's loader against simple-salesforce's bulk2 upsert.

The org is the stand-in, in a process of its own, with a job latency of 5 s; its CPU is not counted,
but it has the same cores, and what it needs for the rows of a job is in everybody's wall time. Both
ways load the same files, each time into an empty object, and the org's rows are counted after.

  kpcluigi           `ChunkLoad`, as BulkUpload runs it: checksum, allocation, job, three results,
                     every row accounted for, marker. A process for each file, forked from one, as
                     Luigi's workers are.
  simple-salesforce  gunzip, upsert, three results into files. One file after another, since its
                     upsert has no concurrency. It checks nothing of what it downloads.

First 15 files at once: small ones, because the stand-in has to work through all of their rows on
the same cores, which an org does not. Then one file as large as a job may be (just below
100,000,000 bytes raw), the two ways in turns. Uploads are plain, as they are once an org has shown
that it takes no gzip. CPU is user and system of all threads of the loading processes, without their
imports; the memory peak is that of the largest of them.

On 2 cores that others use too it takes 9 to 13 minutes, most of them the stand-in's.

It stands well when kpcluigi takes no more CPU than simple-salesforce, a process of it holds less
than 150 MB, and 15 files take at most 0.3 of the time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import polars as pl

from kpcluigi.extract import stage
from kpcluigi.markers import ChunkManifest, LoadResult
from kpcluigi.rehearsal.salesforce import SalesforceStandIn
from kpcluigi.rehearsal.salesforce.schema import create_object, insert_rows
from kpcluigi.rehearsal.sample.org import org_objects
from kpcluigi.salesforce import Client, ClientCredentials, count, delete_job, list_jobs
from kpcluigi.staging import RunFolder, TableFolder, read_marker, write_marker
from kpcluigi.tables import Table
from kpcluigi.tasks.load import load_rules
from tests.bench import sales, sales_rows
from tests.bench.load_child import CLIENT_ID, CLIENT_SECRET

OURS, THEIRS = "kpcluigi", "simple-salesforce"
MOST_ROWS = 700_000
"""Of about 149 bytes: more than one job takes."""
FILES = 15
"""`[resources] salesforce`: jobs at once."""
LATENCY = 5.0
CHILD_SECONDS = 600
"""After which a measured process is given up."""

Cost = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rounds",
        type=_positive,
        default=3,
        metavar="N",
        help="how often each way loads the one large file (default 3)",
    )
    parser.add_argument(
        "--file-rows",
        type=_positive,
        default=20_000,
        metavar="N",
        help=f"rows of each of the {FILES} files (default 20,000)",
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
        _run(Path(name), rounds=given.rounds, file_rows=given.file_rows, seed=given.seed)


def _run(folder: Path, *, rounds: int, file_rows: int, seed: int) -> None:
    started = time.monotonic()
    print("Making the files …", flush=True)
    one, many = _write_files(folder, file_rows, seed)
    costs: dict[str, list[Cost]] = {}
    ways = (OURS, THEIRS)
    _measure(folder / "many", [(f"{way}, {FILES} files", way, many) for way in ways], costs)
    _measure(folder / "one", [(f"{way}, one file", way, one) for way in ways * rounds], costs)

    raw = sum(manifest.raw_bytes for manifest in one.manifests)
    rows = sum(manifest.rows for manifest in one.manifests)
    print(
        f"\nOne file: {rows:,} rows of 12 columns, {raw:,} bytes raw. {FILES} files: {file_rows:,} "
        f"rows each, at once against one after another. Job latency {LATENCY:.0f} s. Median (least "
        f"to most)\n"
    )
    print(f"{'':32}{'CPU s':>8} {'':18}{'wall s':>8} {'':18}{'peak MB':>9}  runs")
    for title, found in costs.items():
        print(
            f"{title:32}{_shown(found, 'cpu')}{_shown(found, 'wall')}"
            f"{max(cost['peak_mb'] for cost in found):9.0f}  {len(found)}"
        )

    def of(what: str, files: str) -> float:
        ours, theirs = (median(c[what] for c in costs[f"{w}, {files}"]) for w in (OURS, THEIRS))
        return float(ours / theirs)

    result = {
        "cpu_ratio_simple_salesforce": round(of("cpu", "one file"), 3),
        "wall_ratio_one_file": round(of("wall", "one file"), 3),
        f"wall_ratio_{FILES}_files": round(of("wall", f"{FILES} files"), 3),
        "peak_mb": round(max(cost["peak_mb"] for cost in costs[f"{OURS}, one file"])),
        f"cpu_ratio_{FILES}_files": round(of("cpu", f"{FILES} files"), 3),
        "rows": rows,
        "raw_bytes": raw,
        "files": FILES,
        "file_rows": file_rows,
        "job_latency": LATENCY,
        "rounds": rounds,
        "costs": {
            title: [{what: round(value, 3) for what, value in cost.items()} for cost in found]
            for title, found in costs.items()
        },
        "load_average": os.getloadavg()[2],
        "seconds": round(time.monotonic() - started),
        "versions": {
            "python": platform.python_version(),
            **{
                package: version(package)
                for package in ("kpcluigi", "simple-salesforce", "polars", "isal", "requests")
            },
        },
    }
    print(
        f"\nkpcluigi / simple-salesforce, CPU of one file: {result['cpu_ratio_simple_salesforce']} "
        f"(1.0 or less)\n"
        f"peak of a loading process: {result['peak_mb']} MB (under 150)\n"
        f"kpcluigi / simple-salesforce, time of {FILES} files: "
        f"{result[f'wall_ratio_{FILES}_files']} (0.3 or less)\n"
    )
    print(json.dumps(result))


def _measure(
    folder: Path, loads: Sequence[tuple[str, str, _Files]], costs: dict[str, list[Cost]]
) -> None:
    """One load after another, each a title, a way and its files, into a new org."""
    folder.mkdir()
    names = [f"Bench_{n}__c" for n in range(1, len(loads) + 1)]
    _write_org(folder / "org.duckdb", names)
    with (
        SalesforceStandIn(
            folder / "org.duckdb",
            client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET,
            latency=LATENCY,
        ) as stand_in,
        Client(stand_in.url, credentials=ClientCredentials(CLIENT_ID, CLIENT_SECRET)) as client,
    ):
        for name, (title, way, files) in zip(names, loads, strict=True):
            print(f"{title} …", flush=True)
            costs.setdefault(title, []).append(_load(client, folder, name, way, files))


class _Files:
    """Chunk files of one table, and their manifests."""

    def __init__(self, folder: TableFolder, manifests: list[ChunkManifest]) -> None:
        self.folder = folder
        self.manifests = manifests

    @property
    def rows(self) -> int:
        return sum(manifest.rows for manifest in self.manifests)

    def link_into(self, folder: TableFolder) -> None:
        """The same files in another run; what the loads of one leave does not concern the other."""
        for manifest in self.manifests:
            for of in (TableFolder.chunk_file, TableFolder.chunk_manifest):
                target = of(folder, manifest.n)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.hardlink_to(of(self.folder, manifest.n))


def _write_files(folder: Path, file_rows: int, seed: int) -> tuple[_Files, _Files]:
    """The one file, as many rows as a job takes; and the 15."""
    database = folder / "rows.duckdb"
    sales_rows.write_database(database, rows=max(MOST_ROWS, FILES * file_rows), seed=seed)
    staged = RunFolder(folder / "staged")
    whole = _stage(staged.table("whole"), 1, _frames(folder, database, MOST_ROWS, 50_000))
    limit = load_rules().max_file_size
    rows = max(rows for rows, end in whole.cuts if end <= limit)
    one = staged.table("one")
    large = _stage(one, 1, _frames(folder, database, rows, 50_000))
    if large.raw_bytes > limit or whole.raw_bytes <= limit:
        raise SystemExit(f"{MOST_ROWS:,} rows do not give a file of the largest size")
    many = staged.table("many")
    frames = _frames(folder, database, FILES * file_rows, file_rows)
    manifests = [_stage(many, n, [frame]) for n, frame in enumerate(frames, 1)]
    database.unlink()
    return _Files(one, [large]), _Files(many, manifests)


def _frames(folder: Path, database: Path, rows: int, size: int) -> list[pl.DataFrame]:
    """The first rows of the database, in frames as the driver's batches make them."""
    schema = sales.source(_mapping()).schema
    batches = folder / "rows.arrow"
    sales_rows.write_batches(database, batches, schema, rows=rows, size=size)
    frames = [pl.DataFrame(batch) for batch in sales.read_batches(batches)]
    batches.unlink()
    return frames


def _stage(folder: TableFolder, n: int, frames: list[pl.DataFrame]) -> ChunkManifest:
    """A chunk file and its manifest, as ExtractChunk leaves them."""
    table = _mapping()
    staged = stage(
        table,
        frames,
        in_utc=sales.source(table).in_utc,
        file=folder.chunk_file(n),
        rejected_file=folder.rejected_rows(n),
    )
    written = staged.written
    manifest = ChunkManifest(
        table=table.name,
        n=n,
        scn=1,
        fingerprint="bench",
        sql="",
        rows=written.rows,
        rejected=staged.rejected,
        fitted=staged.ledger.columns,
        raw_bytes=written.raw_bytes,
        file_bytes=written.file_bytes,
        sha256=written.sha256,
        header_bytes=written.header_bytes,
        cuts=written.cuts,
        seconds=0,
    )
    write_marker(folder.chunk_manifest(n), manifest)
    return manifest


def _mapping() -> Table:
    return sales.mapping(chunk_size=500_000, fetch_size=50_000)


def _write_org(path: Path, names: list[str]) -> None:
    """An org with one empty object for each load, and the tenants that its rows look up."""
    tables = {name: _mapping().model_copy(update={"object": name}) for name in names}
    with duckdb.connect(str(path)) as connection:
        for sobject in org_objects(tables):
            create_object(connection, sobject)
        insert_rows(
            connection,
            "Account",
            "SELECT 'T' || lpad(range::VARCHAR, 4, '0') AS \"Tenant_Code__c\", "
            "'Tenant ' || range AS \"Name\" FROM range(240)",
        )


def _load(client: Client, folder: Path, name: str, way: str, files: _Files) -> Cost:
    """One measured load into the object of this name; its jobs and files are removed after."""
    run = RunFolder(folder / "org" / name)
    job: dict[str, Any] = {"way": way, "object": name, "url": client.url, "run": str(run.path)}
    table = run.table(_mapping().name)
    if way == OURS:
        files.link_into(table)
        job["chunks"] = [manifest.n for manifest in files.manifests]
    else:
        run.path.mkdir(parents=True)
        paths = [files.folder.chunk_file(manifest.n) for manifest in files.manifests]
        job |= {"files": list(map(str, paths)), "token": _token(client)}
    cost = _child(job)
    if (found := count(client, name)) != files.rows:
        raise SystemExit(f"{way} was given {files.rows:,} rows, but the org has {found:,}")
    for manifest in files.manifests if way == OURS else ():
        result = read_marker(table.load_result(manifest.n), LoadResult)
        if result is None or result.created != manifest.rows:
            raise SystemExit(f"kpcluigi's marker of file {manifest.n} says other: {result}")
    for ended in list(list_jobs(client, sobject=name)):
        delete_job(client, ended.id)
    shutil.rmtree(run.path)
    return cost


def _token(client: Client) -> str:
    """An access token, for a client that is given one."""
    response = client.call("GET", "/limits")
    return str(response.request.headers["Authorization"]).removeprefix("Bearer ")


def _child(job: dict[str, Any]) -> Cost:
    """Do the job in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.load_child", json.dumps(job)],
        stdout=subprocess.PIPE,
        timeout=CHILD_SECONDS,
        check=False,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{job['way']} failed with exit code {done.returncode}; see above")
    cost: Cost = json.loads(done.stdout)
    return cost


def _shown(found: list[Cost], what: str) -> str:
    values = [cost[what] for cost in found]
    spread = f"({min(values):.2f} to {max(values):.2f})"
    return f"{median(values):8.2f} {spread:18}"


def _positive(text: str) -> int:
    number = int(text.replace(",", "").replace("_", ""))
    if number < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return number
