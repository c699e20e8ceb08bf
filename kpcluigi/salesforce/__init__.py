"""A Salesforce client: client-credentials login, REST with retry, Bulk API 2.0 ingest, SOQL.

Knows no Luigi and no Oracle; usable from a notebook:

    with Client(url, credentials=ClientCredentials(client_id, client_secret)) as client:
        job = create_job(client, "KPS_Sales__c", external_id="External_ID__c")
        upload(client, job.id, body)
        close_job(client, job.id)
        info = wait_for_job(client, job.id, timeout=7200)
        download(client, job.id, "failed", Path("failed.csv.gz"))

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
from kpcluigi.salesforce.query import count, describe, limits, query, query_one, record_counts
from kpcluigi.salesforce.records import (
    create_record,
    delete_record,
    update_record,
    upsert_record,
)
from kpcluigi.salesforce.tracker import Tracker, TrackerRules, TrackerState, file_reference

__all__ = [
    "Client",
    "ClientCredentials",
    "JobInfo",
    "ResultKind",
    "Tracker",
    "TrackerRules",
    "TrackerState",
    "abort_job",
    "close_job",
    "count",
    "create_job",
    "create_record",
    "delete_job",
    "delete_record",
    "describe",
    "download",
    "file_reference",
    "job_info",
    "limits",
    "list_jobs",
    "query",
    "query_one",
    "record_counts",
    "to_18",
    "update_record",
    "upload",
    "upsert_record",
    "wait_for_job",
]
