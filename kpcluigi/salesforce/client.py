"""One HTTP layer for all calls: token, time-outs, keep-alive, retry, Salesforce's errors.

An access token of the client-credentials flow carries no lifetime: it is used until Salesforce
answers 401 INVALID_SESSION_ID, then one new token is fetched and the request sent again.
Salesforce sends no Retry-After; 429, 500, 502, 503, 504 and lost connections are tried again with a
growing, jittered delay, but only for requests that may be repeated.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import requests

from kpcluigi.errors import PASSING_STATUS, AuthenticationError, SalesforceError
from kpcluigi.version import VERSION


@dataclass(frozen=True)
class ClientCredentials:
    """OAuth 2.0 client credentials of an External Client App."""

    client_id: str
    client_secret: str = field(repr=False)


class Client:
    """A session with one org. Open it inside the process that uses it; close it after.

    Args:
        url: the org's My Domain address; login.salesforce.com does not serve this flow.
        credentials: client credentials; or pass `access_token`.
        access_token: a token that is ready to use; it cannot be renewed.
        api_version: such as "66.0".
        timeout: seconds to wait for a connection or for the next bytes of an answer.
        retries: further tries after a passing error.
        retry_delay: seconds before the first of them; it doubles each time.
        tell: receives one line before each wait.
    """

    def __init__(
        self,
        url: str,
        *,
        credentials: ClientCredentials | None = None,
        access_token: str = "",
        api_version: str = "66.0",
        timeout: float = 120,
        retries: int = 3,
        retry_delay: float = 60,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.url = url.rstrip("/")
        self.api_usage: tuple[int, int] | None = None
        """Requests used and allowed in the org's last 24 hours, as last told by Salesforce."""
        self.identity_url = ""
        self._credentials = credentials
        self._token = access_token
        self._base = f"/services/data/v{api_version}"
        self._timeout = timeout
        self.retries = retries
        self._retry_delay = retry_delay
        self._tell = tell
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"kpcluigi/{VERSION}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.close()

    @property
    def org_id(self) -> str:
        """The org's id, from the identity URL of the last login (…/id/ORG/USER)."""
        if not self._token:
            self._login()
        parts = urlsplit(self.identity_url).path.split("/")
        return parts[2] if len(parts) > 3 else ""

    def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        data: bytes | Iterable[bytes] | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = True,
        stream: bool = False,
        accept: Collection[int] = (),
    ) -> requests.Response:
        """Send one request below /services/data/vNN.N and return its successful answer.

        Args:
            data: a body that can be iterated again for every try.
            repeatable: False where a request that may have taken effect must not be sent twice;
                then only an expired token leads to another try.
            stream: leave the body unread; close the response when done.
            accept: statuses of a refusal that are as good as success to the caller.

        Raises:
            SalesforceError: Salesforce refused, or did not answer after all tries.
        """
        renewed = False
        attempt = 0
        while True:
            attempt += 1
            if not self._token:
                self._login()
            try:
                response = self._session.request(
                    method,
                    f"{self.url}{self._base}{path}",
                    json=json,
                    data=data,
                    params=params,
                    headers={"Authorization": f"Bearer {self._token}", **(headers or {})},
                    timeout=self._timeout,
                    stream=stream,
                )
            except requests.RequestException as error:
                if not repeatable or attempt > self.retries:
                    raise SalesforceError(f"{method} {path}: no answer: {error}") from error
                self.pause(attempt, f"{method} {path}: no answer ({type(error).__name__})")
                continue
            self._note_usage(response)
            if response.ok or response.status_code in accept:
                return response
            refusal = refusal_of(method, path, response)
            response.close()
            if refusal.status == 401 and self._credentials and not renewed:
                renewed, self._token = True, ""
                attempt -= 1
            elif refusal.passing and repeatable and attempt <= self.retries:
                self.pause(attempt, str(refusal))
            else:
                raise refusal

    def _login(self) -> None:
        if self._credentials is None:
            raise AuthenticationError(
                "The access token is no longer valid and there are no credentials to renew it"
            )
        for attempt in range(1, self.retries + 2):
            try:
                response = self._session.post(
                    f"{self.url}/services/oauth2/token",
                    data={
                        "grant_type": "client_credentials",
                        "client_id": self._credentials.client_id,
                        "client_secret": self._credentials.client_secret,
                    },
                    timeout=self._timeout,
                    allow_redirects=False,  # the secret goes to this address and to no other
                )
            except requests.RequestException as error:
                if attempt > self.retries:
                    raise AuthenticationError(
                        f"{self.url} does not answer ({type(error).__name__}); check "
                        f"KPC_SALESFORCE_URL and the network"
                    ) from error
                self.pause(attempt, f"login: no answer ({type(error).__name__})")
                continue
            answer = _json_of(response)
            if response.ok and "access_token" in answer:
                self._token = answer["access_token"]
                self.identity_url = answer.get("id", "")
                return
            if response.status_code in PASSING_STATUS and attempt <= self.retries:
                self.pause(attempt, f"login: HTTP {response.status_code}")
                continue
            raise AuthenticationError(
                f"{self.url} refused the client credentials: {_oauth_reason(response)}. Check "
                f"KPC_SALESFORCE_CLIENT_ID and KPC_SALESFORCE_CLIENT_SECRET, and that the "
                f"External Client App has the client credentials flow with a Run As user",
                status=response.status_code,
            )

    def pause(self, attempt: int, reason: str) -> None:
        """Say why, and wait before the next try."""
        delay = min(self._retry_delay * 2 ** (attempt - 1), self._retry_delay * 16)
        delay *= random.uniform(0.75, 1.25)
        self._tell(f"{reason}; try {attempt + 1} of {self.retries + 1} in {delay:.0f} s")
        time.sleep(delay)

    def _note_usage(self, response: requests.Response) -> None:
        """Sforce-Limit-Info: api-usage=18/5000"""
        for part in response.headers.get("Sforce-Limit-Info", "").split(";"):
            name, _, value = part.strip().partition("=")
            used, _, allowed = value.partition("/")
            if name == "api-usage" and used.isdigit() and allowed.isdigit():
                self.api_usage = int(used), int(allowed)


def refusal_of(method: str, path: str, response: requests.Response) -> SalesforceError:
    """Salesforce's refusal as an error: a JSON array of errorCode and message."""
    try:
        body = response.json()
    except requests.JSONDecodeError:
        body = None
    first = body[0] if isinstance(body, list) and body else body
    code = first.get("errorCode", "") if isinstance(first, dict) else ""
    message = first.get("message", "") if isinstance(first, dict) else response.text[:300]
    return SalesforceError(
        f"{method} {path}: HTTP {response.status_code} {code}: {message}".rstrip(": "),
        status=response.status_code,
        code=code,
    )


def _json_of(response: requests.Response) -> dict[str, Any]:
    """The answer as an object; empty where it is something else."""
    try:
        body = response.json()
    except requests.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _oauth_reason(response: requests.Response) -> str:
    body = _json_of(response)
    if "error" not in body:
        return f"HTTP {response.status_code}, which is no answer of a token endpoint"
    return f"{body['error']}: {body.get('error_description', '')}".strip(": ")
