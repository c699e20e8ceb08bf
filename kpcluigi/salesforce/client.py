"""One HTTP layer for all calls: token, time-outs, keep-alive, retry, Salesforce's errors.

An access token of the client-credentials flow carries no lifetime: it is used until Salesforce
answers 401 INVALID_SESSION_ID, then one new token is fetched and the request sent again.
Salesforce sends no Retry-After; 403 REQUEST_LIMIT_EXCEEDED, 429, 500, 502, 503, 504 and lost
connections are tried again with a growing, jittered delay. A request that must not take effect
twice is tried again only where it cannot have taken effect: it was refused for a limit, or there
was no connection to send it on.
"""

from __future__ import annotations

import http.cookiejar
import json as jsonlib
import random
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter

from kpcluigi.errors import PASSING_STATUS, REQUEST_LIMIT, AuthenticationError, SalesforceError
from kpcluigi.salesforce.ids import to_18
from kpcluigi.version import VERSION

CONNECTIONS = 32
"""Connections that are kept alive, for as many threads; more are opened and closed again."""
ERROR_BYTES = 64 << 10
"""How much of a refusal's body is read."""
ERROR_CHARACTERS = 1000
"""How much of a refusal's text goes into a message."""


@dataclass(frozen=True)
class ClientCredentials:
    """OAuth 2.0 client credentials of an External Client App."""

    client_id: str
    client_secret: str = field(repr=False)


class Client:
    """A session with one org, for any number of threads.

    Open it inside the process that uses it; close it after. Nothing is sent before the first call.

    Args:
        url: the org's My Domain address; login.salesforce.com does not serve this flow.
        credentials: client credentials, with which tokens are fetched and renewed.
        access_token: a token that is ready to use; without credentials it cannot be renewed.
        api_version: such as "66.0".
        timeout: seconds to wait for the next bytes of an answer, or for a piece of a body to go.
        connect_timeout: seconds to wait for a connection.
        retries: further tries after a passing error.
        retry_delay: seconds before the first of them; it doubles each time, up to sixteenfold.
        tell: receives one line before each wait.

    Raises:
        ValueError: neither credentials nor a token, or a token that no header can carry.
    """

    def __init__(
        self,
        url: str,
        *,
        credentials: ClientCredentials | None = None,
        access_token: str = "",
        api_version: str = "66.0",
        timeout: float = 120,
        connect_timeout: float = 30,
        retries: int = 3,
        retry_delay: float = 60,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        if credentials is None and not access_token:
            raise ValueError("A client needs credentials or an access token")
        if access_token and not _is_token(access_token):
            raise ValueError("The access token has blanks or line breaks in it")
        self.url = url.rstrip("/")
        self.api_usage: tuple[int, int] | None = None
        """Requests used and allowed in the org's last 24 hours, as last told by Salesforce."""
        self.clock_ahead = timedelta()
        """How far the org's clock is ahead of this host's; up to a second more."""
        self.identity_url = ""
        """Who the token belongs to, …/id/ORG/USER, as the last login told."""
        self.retries = retries
        self._credentials = credentials
        self._token = access_token
        self._secrets = {access_token} - {""}
        if credentials is not None:
            self._secrets.add(credentials.client_secret)
        self._renewing = threading.Lock()
        self._ids: tuple[str, str] | None = None
        self._base = f"/services/data/v{api_version}"
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._retry_delay = retry_delay
        self._tell = tell
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"kpcluigi/{VERSION}"
        self._session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=CONNECTIONS))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def close(self) -> None:
        """Close the connections that are kept alive."""
        self._session.close()

    @property
    def org_id(self) -> str:
        """The org's id, of 18 characters; asked for when it is first used."""
        return self._identity()[0]

    @property
    def user_id(self) -> str:
        """The id of the user that the token belongs to, of 18 characters."""
        return self._identity()[1]

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
        timeout: float | None = None,
    ) -> requests.Response:
        """Send one request and return its successful answer.

        Args:
            path: below /services/data/vNN.N; or below the org, where it begins with /services/.
            data: a body that can be iterated again for every try.
            repeatable: False where a request that may have taken effect must not be sent twice.
            stream: leave the body unread; close the response when done.
            accept: statuses of a refusal that are as good as success to the caller.
            timeout: seconds to wait for the answer, instead of the client's.

        Raises:
            SalesforceError: Salesforce refused, or did not answer after all tries.
            TypeError: `data` can be iterated only once, so that it could not be sent again.
        """
        if isinstance(data, Iterator):
            raise TypeError(
                "data can be iterated only once; pass bytes, or an object whose __iter__ begins "
                "anew each time"
            )
        renewed = False
        attempt = 0
        while True:
            attempt += 1
            token = self._token or self._renew("")
            try:
                response = self._session.request(
                    method,
                    self._address(path),
                    json=json,
                    data=data,
                    params=params,
                    headers=headers,
                    auth=_Bearer(token),
                    # While a body goes out, urllib3 has the first of the two on the socket.
                    timeout=(
                        self._connect_timeout if data is None else self._timeout,
                        timeout or self._timeout,
                    ),
                    allow_redirects=False,  # neither the token nor the data goes elsewhere
                    stream=True,
                )
                self._note_usage(response)
                self._note_clock(response)
                if response.status_code < 300 or response.status_code in accept:
                    if not stream:
                        _read(response)
                    return response
            except requests.RequestException as error:
                may_repeat = repeatable or _was_not_sent(error)
                if not may_repeat or attempt > self.retries:
                    raise SalesforceError(
                        self._hide(f"{method} {path}: no answer: {error}")
                    ) from error
                self.pause(attempt, f"{method} {path}: no answer ({type(error).__name__})")
                continue
            refusal = self._refusal(method, path, response)
            if _is_expired(refusal) and not renewed and self._credentials is not None:
                self._renew(token)
                renewed = True
                attempt -= 1
            elif _is_expired(refusal) and self._credentials is None:
                raise AuthenticationError(
                    f"{refusal}. The access token was given ready-made, so it cannot be renewed: "
                    f"give a new one, or client credentials",
                    status=refusal.status,
                    code=refusal.code,
                )
            elif (
                refusal.passing
                and attempt <= self.retries
                and (repeatable or refusal.status == 429 or refusal.code == REQUEST_LIMIT)
            ):
                self.pause(attempt, str(refusal))
            else:
                raise refusal

    def ask(self, path: str, *, params: Mapping[str, str] | None = None) -> Any:
        """GET a resource; returns its JSON.

        Raises:
            SalesforceError: as for `call`; or the answer is no JSON, as of a proxy's own page.
        """
        return self.json_of(self.call("GET", path, params=params))

    def json_of(self, response: requests.Response) -> Any:
        """The JSON of a successful answer. Raises `SalesforceError` where it is none."""
        try:
            return response.json()
        except requests.JSONDecodeError as error:
            kind = response.headers.get("Content-Type", "no type")
            raise SalesforceError(
                self._hide(
                    f"{response.request.method} {response.url}: HTTP {response.status_code}, but "
                    f"the answer ({kind}) is no JSON: {response.text[:200]!r}"
                ),
                status=response.status_code,
            ) from error

    def pause(self, attempt: int, reason: str) -> None:
        """Say why, and wait before the next try."""
        delay = min(self._retry_delay * 2 ** (attempt - 1), self._retry_delay * 16)
        delay *= random.uniform(0.75, 1.25)
        self._tell(f"{reason}; try {attempt + 1} of {self.retries + 1} in {delay:.0f} s")
        time.sleep(delay)

    def _address(self, path: str) -> str:
        return self.url + (path if path.startswith("/services/") else self._base + path)

    def _identity(self) -> tuple[str, str]:
        """Org and user; from the last login, or else as /services/oauth2/userinfo names them."""
        if self._ids is None:
            if not self._token:
                self._renew("")
            parts = urlsplit(self.identity_url).path.split("/")
            if len(parts) == 4 and parts[1] == "id":
                org, user = parts[2:]
            else:
                body = self.ask("/services/oauth2/userinfo")
                org, user = body["organization_id"], body["user_id"]
            self._ids = to_18(org), to_18(user)
        return self._ids

    def _renew(self, stale: str) -> str:
        """A token other than `stale`: one thread fetches it, the others wait for that one."""
        with self._renewing:
            if self._token == stale:
                token = self._login()
                self._secrets = self._secrets | {token}
                self._token = token
            return self._token

    def _login(self) -> str:
        assert self._credentials is not None
        for attempt in range(1, self.retries + 2):
            try:
                response = self._session.post(
                    self._address("/services/oauth2/token"),
                    data={
                        "grant_type": "client_credentials",
                        "client_id": self._credentials.client_id,
                        "client_secret": self._credentials.client_secret,
                    },
                    auth=_no_auth,
                    timeout=(self._connect_timeout, self._timeout),
                    allow_redirects=False,  # the secret goes to this address and to no other
                    stream=True,
                )
            except requests.RequestException as error:
                if attempt > self.retries:
                    raise AuthenticationError(
                        f"{self.url} does not answer ({type(error).__name__}); check "
                        f"KPC_SALESFORCE_URL and the network"
                    ) from error
                self.pause(attempt, f"login: no answer ({type(error).__name__})")
                continue
            answer = _object_of(_error_body(response))
            token = answer.get("access_token")
            if response.ok and isinstance(token, str) and _is_token(token):
                self.identity_url = str(answer.get("id", ""))
                return token
            if response.status_code in PASSING_STATUS and attempt <= self.retries:
                self.pause(attempt, f"login: HTTP {response.status_code}")
                continue
            reason = self._hide(_oauth_reason(response, answer))
            raise AuthenticationError(
                f"{self.url} refused the client credentials: {reason}. Check "
                f"KPC_SALESFORCE_CLIENT_ID and KPC_SALESFORCE_CLIENT_SECRET, and that the "
                f"External Client App has the client credentials flow with a Run As user",
                status=response.status_code,
            )
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _refusal(self, method: str, path: str, response: requests.Response) -> SalesforceError:
        """Salesforce's refusal as an error: a JSON array of errorCode and message."""
        status = response.status_code
        raw = _error_body(response)
        code, text = _code_and_text(raw)
        if status == 300:
            text = f"more than one record has this external id: {text}"
        elif 300 < status < 400:
            target = urlsplit(response.headers.get("Location", "")).netloc or "nowhere"
            text = f"redirects to {target}, where this client does not follow: is {self.url} right?"
        elif code == REQUEST_LIMIT:
            text += f" ({_limit_in_words(text)})"
        line = f"{method} {path}: HTTP {status} {code}: {text[:ERROR_CHARACTERS]}".rstrip(": ")
        return SalesforceError(self._hide(line), status=status, code=code)

    def _hide(self, text: str) -> str:
        """The text without tokens and the secret, whoever put them there."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _note_usage(self, response: requests.Response) -> None:
        """Sforce-Limit-Info: api-usage=18/5000"""
        for part in response.headers.get("Sforce-Limit-Info", "").split(";"):
            name, _, value = part.strip().partition("=")
            used, _, allowed = value.partition("/")
            if name == "api-usage" and used.isdigit() and allowed.isdigit():
                self.api_usage = int(used), int(allowed)

    def _note_clock(self, response: requests.Response) -> None:
        """Date: Sat, 21 Nov 2026 19:06:40 GMT"""
        try:
            self.clock_ahead = parsedate_to_datetime(response.headers["Date"]) - datetime.now(UTC)
        except (KeyError, TypeError, ValueError):
            return  # a proxy's answer may have none; what was known stays


class _Bearer(requests.auth.AuthBase):
    """The token as a header; given as `auth`, because a ~/.netrc would win over a plain header."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Stands in the way of a ~/.netrc."""
    return request


def _is_token(text: str) -> bool:
    """Whether a header can carry it: an error of the HTTP library would show it otherwise."""
    return re.fullmatch(r"[!-~]+", text) is not None


def _is_expired(refusal: SalesforceError) -> bool:
    """REST says INVALID_SESSION_ID; Bulk's codes stand without underscores."""
    return refusal.status == 401 and refusal.code.replace("_", "") == "INVALIDSESSIONID"


def _was_not_sent(error: requests.RequestException) -> bool:
    """Whether there was not even a connection."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", None)
    return isinstance(reason, urllib3.exceptions.NewConnectionError)


def _limit_in_words(text: str) -> str:
    """Which of the two limits REQUEST_LIMIT_EXCEEDED is about (limits cheat sheet)."""
    if "concurrent" in text.lower():
        return "too many requests at once: 25 of 20 s or more in a production org"
    return "the org's DailyApiRequests of the last 24 hours are used up"


def _read(response: requests.Response) -> None:
    """Read the body now, where a broken connection leads to another try."""
    response.content  # noqa: B018


def _error_body(response: requests.Response) -> bytes:
    """The beginning of a body; what cannot be read is left out."""
    body = b""
    with response:
        try:
            for block in response.iter_content(8192):
                body += block
                if len(body) >= ERROR_BYTES:
                    break
        except requests.RequestException:
            return body
    return body[:ERROR_BYTES]


def _code_and_text(raw: bytes) -> tuple[str, str]:
    """errorCode and message; or the body itself, where it is something else."""
    try:
        body = jsonlib.loads(raw)
    except ValueError:
        body = None
    first = body[0] if isinstance(body, list) and body else body
    if isinstance(first, dict):
        return str(first.get("errorCode", "")), str(first.get("message", ""))
    return "", raw.decode("utf-8", "replace")[:300]


def _object_of(raw: bytes) -> dict[str, Any]:
    """The answer as an object; empty where it is something else."""
    try:
        body = jsonlib.loads(raw)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _oauth_reason(response: requests.Response, body: Mapping[str, Any]) -> str:
    if "error" not in body:
        return f"HTTP {response.status_code}, which is no answer of a token endpoint"
    return f"{body['error']}: {body.get('error_description', '')}"[:ERROR_CHARACTERS].strip(": ")
