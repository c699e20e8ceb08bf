r"""A Salesforce client: login, REST with retry, Bulk API 2.0 ingest and query jobs, SOQL, records.

Knows no Luigi and no Oracle; usable from a notebook:

    import os
    from pathlib import Path
    import kpcluigi.salesforce as sf

    credentials = sf.ClientCredentials(
        os.environ["KPC_SALESFORCE_CLIENT_ID"], os.environ["KPC_SALESFORCE_CLIENT_SECRET"]
    )
    with sf.Client(os.environ["KPC_SALESFORCE_URL"], credentials=credentials) as client:
        print(client.org_id, sf.limits(client)["DailyBulkApiBatches"])
        job = sf.create_job(client, "Thing__c", external_id="External_ID__c")
        sf.upload(client, job.id, b"External_ID__c,Note__c\nA-1,first\nA-2,second\n")
        sf.close_job(client, job.id)
        info = sf.wait_for_job(client, job.id, timeout=7200, interval=0.2)
        print(info.state, info.processed, info.failed)
        sf.download(client, job.id, "failed", Path("failed.csv.gz"))
        for record in sf.query(client, "SELECT Note__c FROM Thing__c ORDER BY External_ID__c"):
            print(record["Note__c"])

Where it is:

    client.py     the session: token, time-outs, retry, refusals
    bulk.py       ingest jobs; query_job.py query jobs; jobs.py what they have in common
    query.py      SOQL, describe, limits, record counts
    quota.py      whether the daily allocation has room for a job
    records.py    single records
    tracker.py    the file tracker: a record per file that tells where its load stands
    streams.py    answers that come in whole or not at all
    ids.py        ids of 15 and 18 characters

Each function raises `kpcluigi.errors.SalesforceError`, whose `status` is the HTTP status (0: no
answer), `code` Salesforce's own, and `passing` says whether a later try may succeed. Rules of
Salesforce are those of API v66.0.

Importing this package opens nothing and changes nothing in the process.
"""

from kpcluigi.salesforce.bulk import (
    JobInfo,
    ResultKind,
    abort_job,
    close_job,
    create_job,
    delete_job,
    download,
    job_info,
    list_jobs,
    upload,
    wait_for_job,
)
from kpcluigi.salesforce.client import Client, ClientCredentials
from kpcluigi.salesforce.ids import to_18
from kpcluigi.salesforce.query import (
    allocation_of,
    count,
    describe,
    limits,
    query,
    query_one,
    record_counts,
)
from kpcluigi.salesforce.query_job import (
    QueryJobInfo,
    abort_query_job,
    create_query_job,
    delete_query_job,
    download_query_results,
    query_job_info,
    wait_for_query_job,
)
from kpcluigi.salesforce.quota import Allocation, Governor, Use, Wait, batches_of
from kpcluigi.salesforce.records import (
    create_record,
    delete_record,
    get_record,
    update_record,
    upsert_record,
)
from kpcluigi.salesforce.tracker import Tracker, TrackerRules, TrackerState, file_reference

__all__ = [
    "Allocation",
    "Client",
    "ClientCredentials",
    "Governor",
    "JobInfo",
    "QueryJobInfo",
    "ResultKind",
    "Tracker",
    "TrackerRules",
    "TrackerState",
    "Use",
    "Wait",
    "abort_job",
    "abort_query_job",
    "allocation_of",
    "batches_of",
    "close_job",
    "count",
    "create_job",
    "create_query_job",
    "create_record",
    "delete_job",
    "delete_query_job",
    "delete_record",
    "describe",
    "download",
    "download_query_results",
    "file_reference",
    "get_record",
    "job_info",
    "limits",
    "list_jobs",
    "query",
    "query_job_info",
    "query_one",
    "record_counts",
    "to_18",
    "update_record",
    "upload",
    "upsert_record",
    "wait_for_job",
    "wait_for_query_job",
]
