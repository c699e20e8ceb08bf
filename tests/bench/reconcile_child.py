"""One measured way of the benchmark `reconcile`: prints what it cost as JSON.

As in `load_child`, this process imports what is needed and forks one that does the work; the kernel
counts what that one takes. What it found lies in a file afterwards.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from tests.bench.load_child import Cost, measured

CLIENT_ID, CLIENT_SECRET = "test-client", "test-secret"  # of tests/reconciling/bed.py
POLLING = {"poll_interval": 0.2, "poll_interval_max": 1.0, "job_timeout": 600.0}
ABSENT = ["", "#N/A"]


def kpcluigi(job: dict[str, Any]) -> Cost:
    """The product's own `reconcile_table`, as Reconcile runs it."""
    import luigi  # noqa: F401  # a worker has imported it, whatever it does

    from kpcluigi.load import standing
    from kpcluigi.markers import Plan, SourceTotals
    from kpcluigi.oracle import Window
    from kpcluigi.reconcile import Ends, QueryRules, reconcile_table
    from kpcluigi.salesforce import Client, ClientCredentials
    from kpcluigi.staging import TableFolder, read_marker, write_marker
    from kpcluigi.tables import parse_tables

    def reconcile() -> None:
        folder = TableFolder(Path(job["folder"]))
        plan = read_marker(folder.plan, Plan)
        totals = read_marker(folder.source_totals, SourceTotals)
        assert plan is not None
        assert totals is not None
        credentials = ClientCredentials(CLIENT_ID, CLIENT_SECRET)
        with Client(job["url"], credentials=credentials) as client:
            found = reconcile_table(
                Ends(
                    client=client,
                    table=parse_tables({"tables": {plan.table: job["mapping"]}})[plan.table],
                    window=Window(*map(date.fromisoformat, job["window"])),
                    plan=plan,
                    totals=totals,
                    loads=standing(folder, plan),
                    folder=folder,
                    file_of=folder.chunk_file,
                    rules=QueryRules(**POLLING),
                    full=job["full"],
                    tell=lambda line, share: None,
                )
            )
        write_marker(folder.reconciled, found)

    return measured([reconcile])


def pandas(job: dict[str, Any]) -> Cost:
    """All records by one query job, all chunk files, and one `merge`: in memory, in one go."""
    import pandas as pd

    from kpcluigi.salesforce import (
        Client,
        ClientCredentials,
        create_query_job,
        delete_query_job,
        download_query_results,
        wait_for_query_job,
    )

    mapping = job["mapping"]
    kinds = {column["field"]: column["type"] for column in mapping["columns"].values()}
    kinds |= dict.fromkeys(mapping["lookups"].values(), "lookup")
    key = mapping["external_id"]

    def normal(frame: pd.DataFrame) -> pd.DataFrame:
        for name, kind in kinds.items():
            if kind == "decimal":
                frame[name] = pd.to_numeric(frame[name])
            elif kind == "datetime":
                frame[name] = frame[name].str.slice(0, 19)
            elif kind == "lookup":
                frame[name] = frame[name].str.strip().str.lower()
        return frame

    def read(path: Path) -> pd.DataFrame:
        return pd.read_csv(path, dtype=str, keep_default_na=False, na_values=ABSENT)

    def compare() -> None:
        folder = Path(job["folder"])
        path = folder / "records.csv.gz"
        credentials = ClientCredentials(CLIENT_ID, CLIENT_SECRET)
        with Client(job["url"], credentials=credentials) as client:
            soql = f"SELECT Id, {', '.join(kinds)} FROM {mapping['object']}"
            asked = create_query_job(client, soql)
            wait_for_query_job(
                client,
                asked.id,
                timeout=POLLING["job_timeout"],
                interval=POLLING["poll_interval"],
                interval_max=POLLING["poll_interval_max"],
            )
            download_query_results(client, asked.id, path)
            delete_query_job(client, asked.id)
        org = normal(read(path))
        path.unlink()
        staged = normal(pd.concat(map(read, sorted((folder / "chunks").glob("*.csv.gz")))))
        both = staged.merge(org, on=key, how="outer", suffixes=("", " org"), indicator=True)
        differs = both["_merge"] != "both"
        for name in kinds:
            if name != key:
                here, there = both[name], both[f"{name} org"]
                differs |= (here != there) & ~(here.isna() & there.isna())
        found = {"rows": len(staged), "differing": both.loc[differs, key].to_list()}
        (folder / "pandas.json").write_text(json.dumps(found))

    return measured([compare])


WAYS: dict[str, Callable[[dict[str, Any]], Cost]] = {"kpcluigi": kpcluigi, "pandas": pandas}


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(WAYS[given["way"]](given)))
