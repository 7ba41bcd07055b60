"""The clients that take part in the fuzz tests: one for each way to authenticate."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Final

from rolecall.vocabulary import CLIENT_ASSERTION_TYPE
from support.signing import claims as assertion_claims
from support.signing import jwks, signed
from support.stack import Stack

CALLBACK: Final = "http://localhost:9000/callback"
NATIVE: Final = "http://127.0.0.1:9/callback"
SCOPE: Final = "openid profile email invoices:read invoices:pay"
IMAGE: Final = "/flows/static/tally.png"
JSON: Final = {"Content_Type": "application/json"}


@dataclass(frozen=True)
class Party:
    """A client, and how it authenticates at /token and /revoke."""

    client_id: str
    method: str
    secret: str = ""
    redirect_uri: str = CALLBACK

    def form(self, issuer: str) -> dict[str, str]:
        """Return the parameters that authenticate the client; empty for `client_secret_basic`."""
        if self.method == "client_secret_basic":
            return {}
        if self.method == "private_key_jwt":
            assertion = signed(assertion_claims(self.client_id, aud=issuer), "ES256")
            return {"client_assertion_type": CLIENT_ASSERTION_TYPE, "client_assertion": assertion}
        secret = {"client_secret": self.secret} if self.secret else {}
        return {"client_id": self.client_id, **secret}

    @property
    def authorization(self) -> bytes:
        """The Authorization header that authenticates the client; empty except for `client_secret_basic`."""
        return basic(self.client_id, self.secret) if self.method == "client_secret_basic" else b""


def register(stack: Stack) -> dict[str, Party]:
    """Register a client for each authentication method.

    The client with `client_secret_post` has a logo, and the client with `private_key_jwt` has a `request_uri`.
    """
    image = f"{stack.client}{IMAGE}"
    more: dict[str, dict[str, Any]] = {
        "client_secret_basic": {},
        "client_secret_post": {"logo_uri": image},
        "private_key_jwt": {"jwks": jwks(), "request_uris": [image]},
    }
    parties = {"none": Party("tally-desktop", "none", redirect_uri=NATIVE)}
    for method, members in more.items():
        document = {
            "client_name": f"{method} of the fuzz",
            "redirect_uris": [CALLBACK],
            "scope": SCOPE,
            "token_endpoint_auth_method": method,
            "grant_types": ["authorization_code", "refresh_token"],
            **members,
        }
        status, body = stack.call("POST", f"{stack.auth}/register", json.dumps(document).encode(), **JSON)
        assert status == 201, body
        parties[method] = Party(body["client_id"], method, body.get("client_secret", ""))
    return parties


def basic(user: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())
