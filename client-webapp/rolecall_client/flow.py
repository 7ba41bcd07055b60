"""Flows as data: a list of steps, each of which builds a message and names the handler of its response."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard
from urllib.parse import quote_plus, urlencode

from rolecall import clock
from rolecall.http import HttpResponse
from rolecall_client.id_token import FindKey
from rolecall_client.issuer import Metadata
from rolecall_client.settings import Settings


@dataclass(frozen=True, slots=True)
class Message:
    """A message that a step sends.

    On the front channel, the browser is redirected, and `form` becomes the query. On the back channel, the client sends
    `form` or `json` directly.
    """

    channel: Literal["front", "back"]
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] | None = None
    json: Mapping[str, Any] | None = None

    @property
    def redirect_url(self) -> str:
        """The URL to which the browser is redirected."""
        separator = "&" if "?" in self.url else "?"
        return self.url + separator + urlencode(self.form) if self.form else self.url


@dataclass(slots=True)
class Context:
    """The data of a running flow.

    Args:
        metadata: returns the authorization server's metadata.
        key: finds a published key of the authorization server; see `AuthorizationServer.key`.
        memory: kept in Redis between steps.
        tokens: kept in Redis between steps, and afterwards as the connection.
    """

    settings: Settings
    metadata: Callable[[], Metadata]
    key: FindKey
    memory: dict[str, Any]
    tokens: dict[str, Any]

    @property
    def server(self) -> Metadata:
        """The authorization server's metadata, fetched on first use.

        Raises:
            Unreachable: the metadata have never been fetched and cannot be fetched now.
            OAuthError: the metadata name another issuer.
        """
        return self.metadata()


class FlowError(Exception):
    """An error that ends a flow.

    Args:
        error: the error code of a specification, or one of this client's own (see `errors.py`).
        detail: for the log.
    """

    def __init__(self, error: str, detail: str) -> None:
        super().__init__(f"{error}: {detail}")
        self.error = error
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Step:
    """A message and the handler of its response. `diagram` is the number of the step in the role diagram."""

    name: str
    diagram: int
    build: Callable[[Context], Message]
    handle: Callable[[Context, Any], None]


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow of the client."""

    name: str
    title: str
    specification: str
    steps: tuple[Step, ...]


def pkce_pair() -> tuple[str, str]:
    """Return a new verifier and its S256 challenge (RFC 7636 sections 4.1 and 4.2)."""
    verifier = secrets.token_urlsafe(32)
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return verifier, base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def client_basic(settings: Settings) -> dict[str, str]:
    """Return the header for client authentication with form-urlencoded ID and secret (RFC 6749 section 2.3.1)."""
    credentials = f"{quote_plus(settings.client_id)}:{quote_plus(settings.client_secret)}"
    return {"Authorization": "Basic " + base64.b64encode(credentials.encode()).decode()}


def keep_tokens(context: Context, response: HttpResponse) -> None:
    """Validate a token response and store its tokens (RFC 6749 section 5.1).

    Raises:
        FlowError: it is an error response (section 5.2), or invalid.
    """
    body = json_object(response)
    if response.status != 200:
        error = str(body.get("error") or "server_error")
        raise FlowError(error, f"the token endpoint returned status {response.status}")
    access_token, expires_in = body.get("access_token"), body.get("expires_in")
    if not isinstance(access_token, str) or not access_token or str(body.get("token_type")).lower() != "bearer":
        raise FlowError("server_error", "the token response does not contain a bearer token")
    context.tokens |= {
        "access_token": access_token,
        "expires_at": clock.now() + expires_in if _is_lifetime(expires_in) else None,
        "scope": body.get("scope") or context.tokens.get("scope"),
        "received_at": clock.now(),
    }
    if isinstance(body.get("refresh_token"), str) and body["refresh_token"]:
        context.tokens["refresh_token"] = body["refresh_token"]


def _is_lifetime(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9


def json_object(response: HttpResponse) -> dict[str, Any]:
    """Return the response's body, or an empty object if it is not a JSON object."""
    try:
        return response.json()
    except ValueError:
        return {}
