"""One measured way of the benchmark `load`: prints what it cost as JSON.

As Luigi does, this process imports what is needed and forks one process for each task. What those
cost is what the kernel counts for its children: CPU of all their threads, and the memory peak of
the largest. Imports are not on the clock: a worker makes them once for thousands of chunks.
"""

from __future__ import annotations

import gzip
import json
import multiprocessing
import resource
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

CLIENT_ID, CLIENT_SECRET = "bench-client", "bench-secret"

Cost = dict[str, Any]


def kpcluigi(job: dict[str, Any]) -> Cost:
    """The product's own `ChunkLoad`, as BulkUpload runs it: a process for each file, at once."""
    import luigi  # noqa: F401  # a worker has imported it, whatever it does

    from kpcluigi.load import ChunkLoad, Compression
    from kpcluigi.markers import ChunkManifest
    from kpcluigi.quota import Admission
    from kpcluigi.salesforce import Client, ClientCredentials, allocation_of
    from kpcluigi.staging import RunFolder, read_marker
    from kpcluigi.tasks.load import load_rules
    from tests.bench import sales
    from tests.bench.quota import RECHECK, RESERVE

    run = RunFolder(Path(job["run"]))
    table = sales.mapping(chunk_size=500_000, fetch_size=50_000)
    table = table.model_copy(update={"object": job["object"]})
    folder = run.table(table.name)

    def load(n: int) -> None:
        credentials = ClientCredentials(CLIENT_ID, CLIENT_SECRET)
        with folder.chunk_lock(n), Client(job["url"], credentials=credentials) as client:
            manifest = read_marker(folder.chunk_manifest(n), ChunkManifest)
            assert manifest is not None
            ChunkLoad(
                client=client,
                table=table,
                manifest=manifest,
                folder=folder,
                logs=run.job_logs,
                rules=load_rules(),
                compression=Compression(run.gzip_verdict, wanted=False),
                gate=Admission(
                    run.path.parent,
                    ask_org=lambda: allocation_of(client),
                    reserve=RESERVE,
                    recheck=RECHECK,
                ),
                may_send=lambda: None,
                stage=lambda stage: None,
                tell=lambda line, share, job_id: None,
            ).run()

    return measured([partial(load, n) for n in job["chunks"]])


def simple_salesforce(job: dict[str, Any]) -> Cost:
    """gunzip, `SFBulk2Type.upsert`, and its three downloads: file after file in one process.

    Its upsert has no concurrency.
    """
    from simple_salesforce.bulk2 import SFBulk2Handler

    work = Path(job["run"])

    def load_all() -> None:
        handler = SFBulk2Handler(job["token"], f"{job['url']}/services/data/v66.0/jobs/")
        bulk = getattr(handler, job["object"])
        for packed_file in map(Path, job["files"]):
            csv_file = work / packed_file.stem
            with gzip.open(packed_file) as packed, csv_file.open("wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)
            (done,) = bulk.upsert(csv_file=str(csv_file), external_id_field="External_ID__c")
            job_id = done["job_id"]
            bulk.get_failed_records(job_id, file=str(work / f"{job_id}_failed.csv"))
            bulk.get_successful_records(job_id, file=str(work / f"{job_id}_successful.csv"))
            bulk.get_unprocessed_records(job_id, file=str(work / f"{job_id}_unprocessed.csv"))

    return measured([load_all])


def measured(tasks: Sequence[Callable[[], None]]) -> Cost:
    """Each task in a process of its own, all at once; CPU and wall in seconds."""
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=task) for task in tasks]
    wall, cpu = time.perf_counter(), time.process_time()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if any(process.exitcode for process in processes):
        raise SystemExit("A load failed; its reason stands above")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "cpu": cpu + used.ru_utime + used.ru_stime,
        "wall": wall,
        "peak_mb": used.ru_maxrss * unit / 1e6,
    }


WAYS: dict[str, Callable[[dict[str, Any]], Cost]] = {
    "kpcluigi": kpcluigi,
    "simple-salesforce": simple_salesforce,
}


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(WAYS[given["way"]](given)))
