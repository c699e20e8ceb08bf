"""OAuth: the client credentials flow, and who the token belongs to."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from typing import Any

from kpcluigi.rehearsal.salesforce.endpoint import Endpoint
from kpcluigi.rehearsal.salesforce.faults import STATUS_BODIES
from kpcluigi.rehearsal.salesforce.org import USERNAME
from kpcluigi.rehearsal.salesforce.schema import ORGANIZATION_ID, USER_ID


class Token(Endpoint):
    """POST /services/oauth2/token; credentials in the form or as HTTP Basic."""

    kind = "token"
    needs_token = False
    shows_limits = False

    async def post(self) -> None:
        if self.get_body_argument("grant_type", "") != "client_credentials":
            self._refuse("unsupported_grant_type", "grant type not supported")
            return
        client_id, client_secret = self._credentials()
        settings = self.org.settings
        if not hmac.compare_digest(client_id.encode(), settings.client_id.encode()):
            self._refuse("invalid_client_id", "client identifier invalid")
        elif not hmac.compare_digest(client_secret.encode(), settings.client_secret.encode()):
            self._refuse("invalid_client", "invalid client credentials")
        else:
            self.answer(
                {
                    "access_token": self.org.open_session(),
                    "signature": secrets.token_urlsafe(32),
                    "scope": "api",
                    "instance_url": self.org.url,
                    "id": f"{self.org.url}/id/{ORGANIZATION_ID}/{USER_ID}",
                    "token_type": "Bearer",
                    "issued_at": str(int(self.org.clock.time() * 1000)),
                    "api_instance_url": "https://api.salesforce.com",
                }
            )

    def _credentials(self) -> tuple[str, str]:
        scheme, _, encoded = self.request.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            try:
                client_id, _, secret = base64.b64decode(encoded).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                return "", ""
            return client_id, secret
        return (
            self.get_body_argument("client_id", "", strip=False),
            self.get_body_argument("client_secret", "", strip=False),
        )

    def _refuse(self, error: str, description: str) -> None:
        self.answer({"error": error, "error_description": description}, 400)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """This endpoint's errors are objects, not lists."""
        if self.fault is not None and self.fault.status:
            code, message = STATUS_BODIES[self.fault.status]
            self.answer(
                {
                    "error": self.fault.code or code.lower(),
                    "error_description": self.fault.message or message,
                },
                self.fault.status,
            )
            self.finish()
        else:
            super().write_error(status_code, **kwargs)


class UserInfo(Endpoint):
    """GET /services/oauth2/userinfo."""

    kind = "userinfo"
    shows_limits = False

    async def get(self) -> None:
        self.answer(
            {
                "sub": f"{self.org.url}/id/{ORGANIZATION_ID}/{USER_ID}",
                "user_id": USER_ID,
                "organization_id": ORGANIZATION_ID,
                "preferred_username": USERNAME,
                "name": "Integration User",
                "email": USERNAME,
                "active": True,
            }
        )
