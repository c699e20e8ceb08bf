"""The HTTP layer: one token until it expires, patience with passing errors, Salesforce's words."""

from __future__ import annotations

from collections import Counter

import pytest

from kpcluigi.errors import AuthenticationError, SalesforceError
from kpcluigi.rehearsal.salesforce import SalesforceStandIn
from kpcluigi.salesforce import (
    Client,
    ClientCredentials,
    abort_job,
    count,
    create_job,
    describe,
    limits,
    upload,
)


def calls(org: SalesforceStandIn) -> Counter[str]:
    return Counter(f"{entry['method']} {entry['path'].split('?')[0]}" for entry in org.log())


def test_one_token_serves_many_calls(org: SalesforceStandIn, client: Client) -> None:
    for _ in range(3):
        limits(client)
    assert org.stats()["tokens"] == 1


def test_an_expired_token_is_renewed_once_and_the_request_repeated(
    org: SalesforceStandIn, client: Client
) -> None:
    limits(client)
    org.arm(on="limits", status=401)
    assert "DailyBulkApiBatches" in limits(client)
    assert org.stats()["tokens"] == 2


def test_a_token_that_is_refused_for_ever_is_an_error_at_once(
    org: SalesforceStandIn, client: Client
) -> None:
    org.arm(on="limits", status=401, times=-1)
    with pytest.raises(SalesforceError, match="INVALID_SESSION_ID") as refused:
        limits(client)
    assert refused.value.status == 401
    assert org.stats()["tokens"] == 2


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 429}, {"reset": True}])
def test_passing_errors_are_tried_again(
    org: SalesforceStandIn, client: Client, fault: dict[str, object]
) -> None:
    org.arm(on="limits", times=3, **fault)
    assert limits(client)["DailyBulkApiBatches"]["Max"] == 15_000


def test_patience_is_bounded(org: SalesforceStandIn, client: Client) -> None:
    org.arm(on="limits", times=-1, status=503)
    with pytest.raises(SalesforceError, match="HTTP 503") as refused:
        limits(client)
    assert refused.value.passing
    assert calls(org)["GET /services/data/v66.0/limits"] == 4


def test_a_lasting_refusal_is_not_tried_again(org: SalesforceStandIn, client: Client) -> None:
    with pytest.raises(SalesforceError, match="No_Such__c") as refused:
        create_job(client, "No_Such__c", external_id="X__c")
    assert refused.value.status == 400
    assert not refused.value.passing
    assert org.stats()["jobs"] == 0


def test_an_upload_whose_answer_is_lost_is_not_sent_twice(
    org: SalesforceStandIn, client: Client
) -> None:
    job = create_job(client, "Thing__c", external_id="External_ID__c")
    org.arm(on="upload", reset=True)
    with pytest.raises(SalesforceError, match="no answer"):
        upload(client, job.id, b"External_ID__c,Note__c\n1,x\n")
    assert sum(1 for entry in org.log() if entry["method"] == "PUT") == 1
    abort_job(client, job.id)


def test_wrong_credentials_are_named_and_not_shown(org: SalesforceStandIn) -> None:
    secret = "s3cret-not-shown"
    with Client(org.url, credentials=ClientCredentials("nobody", secret)) as stranger:
        with pytest.raises(AuthenticationError, match="KPC_SALESFORCE_CLIENT_ID") as refused:
            limits(stranger)
    assert secret not in str(refused.value)
    assert secret not in repr(ClientCredentials("nobody", secret))


def test_a_host_that_does_not_answer_is_named() -> None:
    with Client(
        "http://127.0.0.1:9",
        credentials=ClientCredentials("a", "b"),
        retries=1,
        retry_delay=0.01,
    ) as client:
        with pytest.raises(AuthenticationError, match="does not answer"):
            limits(client)


def test_describe_and_count(client: Client) -> None:
    fields = describe(client, "Thing__c")
    assert fields["External_ID__c"]["externalId"]
    assert fields["Note__c"]["length"] == 20
    assert count(client, "Thing__c", where="External_ID__c = 'nobody'") == 0
    assert client.org_id.startswith("00D")


def test_the_usage_that_salesforce_tells_is_kept(client: Client) -> None:
    limits(client)
    assert client.api_usage is not None
    used, allowed = client.api_usage
    assert 0 < used < allowed
