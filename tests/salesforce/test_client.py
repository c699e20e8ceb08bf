"""The HTTP layer: one token until it expires, patience with passing errors, Salesforce's words."""

from __future__ import annotations

import json
import logging
import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from kpcluigi.errors import AuthenticationError, SalesforceError
from kpcluigi.rehearsal.salesforce import SalesforceStandIn
from kpcluigi.salesforce import (
    Client,
    ClientCredentials,
    abort_job,
    count,
    create_job,
    describe,
    job_info,
    limits,
    upload,
)
from tests.conftest import CLIENT_ID, CLIENT_SECRET
from tests.salesforce.scripted import Asked, Cut, Script, ScriptedServer, reply

TOKEN = "00D5i0000000001!a.token.that.nobody.may.see"
SECRET = "a-secret-that-nobody-may-see"


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


def impatient(url: str, **options: object) -> Client:
    """A client with a ready token that waits for nothing."""
    return Client(url, access_token=TOKEN, retries=2, retry_delay=0.01, **options)  # type: ignore[arg-type]


def ready_token(org: SalesforceStandIn) -> str:
    form = {
        "grant_type": "client_credentials",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
    }
    answer = requests.post(f"{org.url}/services/oauth2/token", data=form, timeout=10)
    return str(answer.json()["access_token"])


def test_org_and_user_are_known_from_the_login(org: SalesforceStandIn, client: Client) -> None:
    assert (client.org_id[:3], len(client.org_id)) == ("00D", 18)
    assert (client.user_id[:3], len(client.user_id)) == ("005", 18)
    assert [entry["path"] for entry in org.log()] == ["/services/oauth2/token"]


def test_a_ready_token_is_enough_and_its_org_is_asked_for(
    org: SalesforceStandIn, client: Client
) -> None:
    with Client(org.url, access_token=ready_token(org)) as ready:
        assert ready.org_id == client.org_id
        assert ready.user_id == client.user_id
    assert calls(org)["GET /services/oauth2/userinfo"] == 1


def test_a_ready_token_that_has_expired_is_said_to_be_one(org: SalesforceStandIn) -> None:
    with impatient(org.url) as ready:
        with pytest.raises(AuthenticationError, match="ready-made") as refused:
            limits(ready)
    assert not refused.value.passing
    assert len(org.log()) == 1


def test_an_id_of_15_characters_becomes_one_of_18() -> None:
    body = json.dumps({"organization_id": "00D5i0000000001", "user_id": "005AbCDE000000z"})
    with ScriptedServer(lambda asked: reply(200, body.encode())) as server:
        with impatient(server.url) as client:
            assert client.org_id == "00D5i0000000001EAA"
            assert client.user_id == "005AbCDE000000zIHA"


def test_threads_share_one_renewal_and_each_repeats_once(
    org: SalesforceStandIn, client: Client
) -> None:
    threads = 8
    limits(client)
    org.arm(on="limits", status=401)  # ends the session that they all use
    org.arm(on="token", delay=0.2, times=-1)
    start = threading.Barrier(threads)

    def work() -> int:
        start.wait()
        return limits(client)["DailyBulkApiBatches"]["Max"]

    with ThreadPoolExecutor(threads) as pool:
        found = [future.result() for future in [pool.submit(work) for _ in range(threads)]]
    assert found == [15_000] * threads
    assert org.stats()["tokens"] == 2
    assert calls(org)["GET /services/data/v66.0/limits"] <= 1 + 2 * threads


class Counted:
    """A body that counts how often it is begun."""

    def __init__(self, blocks: list[bytes]) -> None:
        self.blocks = blocks
        self.begun = 0

    def __iter__(self) -> Iterator[bytes]:
        self.begun += 1
        yield from self.blocks


def test_an_upload_is_repeated_whole_after_an_expired_token(
    org: SalesforceStandIn, client: Client
) -> None:
    job = create_job(client, "Thing__c", external_id="External_ID__c")
    body = Counted([b"External_ID__c,Note__c\n", b"token-1,x\n"])
    org.arm(on="upload", status=401)
    upload(client, job.id, body)
    puts = [entry for entry in org.log() if entry["method"] == "PUT"]
    assert [(entry["status"], entry["bytes"]) for entry in puts] == [(401, 33), (201, 33)]
    assert body.begun == 2
    abort_job(client, job.id)


def test_a_body_that_can_be_read_only_once_is_refused_before_it_is_sent(
    org: SalesforceStandIn, client: Client
) -> None:
    with pytest.raises(TypeError, match="only once"):
        upload(client, "7505i0000000001", iter([b"A__c\n"]))
    assert org.log() == []


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("TotalRequests Limit exceeded.", "DailyApiRequests of the last 24 hours"),
        ("ConcurrentRequests (Concurrent API Requests) Limit exceeded.", "too many requests at"),
    ],
)
def test_a_limit_of_requests_is_waited_for_and_then_named(
    org: SalesforceStandIn, client: Client, text: str, meaning: str
) -> None:
    org.arm(on="limits", status=403, message=text, times=2)
    limits(client)
    org.arm(on="limits", status=403, message=text, times=-1)
    with pytest.raises(SalesforceError, match=meaning) as refused:
        limits(client)
    assert refused.value.passing
    assert calls(org)["GET /services/data/v66.0/limits"] == 3 + 4


def test_another_403_is_not_tried_again(org: SalesforceStandIn, client: Client) -> None:
    org.arm(on="limits", status=403, code="API_DISABLED_FOR_ORG", message="no API", times=-1)
    with pytest.raises(SalesforceError, match="no API") as refused:
        limits(client)
    assert not refused.value.passing
    assert calls(org)["GET /services/data/v66.0/limits"] == 1


@pytest.mark.parametrize("status", [403, 429])
def test_what_was_refused_for_a_limit_is_sent_again_even_an_upload(
    org: SalesforceStandIn, client: Client, status: int
) -> None:
    job = create_job(client, "Thing__c", external_id="External_ID__c")
    org.arm(on="upload", status=status)
    upload(client, job.id, b"External_ID__c,Note__c\n1,x\n")
    assert org.stats()["uploads"] == 2
    abort_job(client, job.id)


def test_an_upload_is_not_sent_again_after_a_server_error(
    org: SalesforceStandIn, client: Client
) -> None:
    job = create_job(client, "Thing__c", external_id="External_ID__c")
    org.arm(on="upload", status=503)
    with pytest.raises(SalesforceError, match="503"):
        upload(client, job.id, b"External_ID__c,Note__c\n1,x\n")
    assert org.stats()["uploads"] == 1
    abort_job(client, job.id)


def test_an_upload_waits_longer_for_its_answer_than_other_requests(org: SalesforceStandIn) -> None:
    with Client(
        org.url, access_token=ready_token(org), timeout=0.3, retries=0, retry_delay=0.01
    ) as client:
        job = create_job(client, "Thing__c", external_id="External_ID__c")
        org.arm(on="limits", delay=0.6)
        with pytest.raises(SalesforceError, match="timed out"):
            limits(client)
        org.arm(on="upload", delay=0.6)
        upload(client, job.id, b"External_ID__c,Note__c\n1,x\n")
        org.arm(on="upload", delay=0.6)
        with pytest.raises(SalesforceError, match="timed out"):
            upload(client, job.id, b"External_ID__c,Note__c\n1,x\n", timeout=0.3)
        assert job_info(client, job.id).state == "Open"
        abort_job(client, job.id)


def test_one_connection_serves_many_calls_refused_ones_too() -> None:
    def script(asked: Asked) -> bytes:
        return reply(400, b'[{"errorCode":"A","message":"b"}]') if "bad" in asked.path else ok

    ok = reply(200, b"{}")
    with ScriptedServer(script) as server, impatient(server.url) as client:
        for path in ("/limits", "/bad", "/limits"):
            client.call("GET", path, accept=(400,))
        with pytest.raises(SalesforceError):
            client.call("GET", "/bad")
        client.call("GET", "/limits")
        assert len({asked.port for asked in server.asked}) == 1
        assert len(server.asked) == 5


def test_no_redirect_is_followed(org: SalesforceStandIn) -> None:
    def script(asked: Asked) -> bytes:
        return reply(307, headers={"Location": f"{org.url}/services/data/v66.0/limits"})

    with ScriptedServer(script) as server:
        with impatient(server.url) as client, pytest.raises(SalesforceError, match="redirects to"):
            limits(client)
        with Client(server.url, credentials=ClientCredentials("a", SECRET)) as client:
            with pytest.raises(AuthenticationError):
                limits(client)
    assert org.log() == []


def test_login_and_token_are_not_replaced_by_a_netrc(
    org: SalesforceStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with Client(org.url, credentials=ClientCredentials(CLIENT_ID, CLIENT_SECRET)) as client:
        assert limits(client)


def test_an_endless_refusal_is_read_in_part_only() -> None:
    size = 50_000_000
    head = f"HTTP/1.1 400 Bad\r\nContent-Length: {size}\r\n\r\n".encode()
    with ScriptedServer(lambda asked: Cut(head + b"x" * 200_000)) as server:
        with impatient(server.url) as client, pytest.raises(SalesforceError) as refused:
            limits(client)
    assert len(str(refused.value)) < 1500
    assert refused.value.status == 400


def test_an_answer_that_is_no_json_is_an_error_of_salesforce() -> None:
    with ScriptedServer(lambda asked: reply(200, b"<html>Please log in</html>")) as server:
        with impatient(server.url) as client, pytest.raises(SalesforceError, match="no JSON"):
            limits(client)


def test_an_answer_that_breaks_off_is_asked_for_again() -> None:
    whole = reply(200, b'{"DailyApiRequests":{}}')
    answers: Iterator[bytes | Cut] = iter([Cut(whole[:-3]), whole])
    with ScriptedServer(lambda asked: next(answers)) as server, impatient(server.url) as client:
        assert limits(client) == {"DailyApiRequests": {}}
        assert len(server.asked) == 2


def echo(asked: Asked) -> bytes:
    """A page that shows the request with all that is secret in it."""
    shown = f"{asked.method} {asked.headers['Authorization']} {asked.body.decode()}"
    body = json.dumps([{"errorCode": "ECHO", "message": shown}])
    return reply(500, body.encode())


def echo_as_html(asked: Asked) -> bytes:
    return reply(200, f"<html>{asked.headers['Authorization']}</html>".encode())


def echo_the_login(asked: Asked) -> bytes:
    body = json.dumps({"error": "bad", "error_description": asked.body.decode()})
    return reply(400, body.encode())


@pytest.mark.parametrize("script", [echo, echo_as_html, echo_the_login])
@pytest.mark.parametrize("with_credentials", [True, False])
def test_neither_token_nor_secret_is_in_any_message_repr_or_log(
    script: Script, with_credentials: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    credentials = ClientCredentials("an-id", SECRET) if with_credentials else None
    with ScriptedServer(script) as server:
        with Client(
            server.url,
            credentials=credentials,
            access_token="" if script is echo_the_login and with_credentials else TOKEN,
            retries=1,
            retry_delay=0.01,
            tell=told.append,
        ) as client:
            with pytest.raises(SalesforceError) as refused:
                limits(client)
            texts = [repr(client), repr(credentials), str(vars(refused.value)), caplog.text, *told]
    texts += [repr(refused.value), *traceback.format_exception(refused.value)]
    assert server.asked
    for text in texts:
        assert TOKEN not in text
        assert SECRET not in text


def test_a_token_that_no_header_can_carry_is_refused_without_being_shown() -> None:
    with pytest.raises(ValueError, match="line breaks") as refused:
        Client("http://127.0.0.1:9", access_token=TOKEN + "\n")
    assert TOKEN not in str(refused.value)
    with pytest.raises(ValueError, match="credentials or an access token"):
        Client("http://127.0.0.1:9")
