"""A flow is data: a list of steps, each of which builds one message and names what handles its answer."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard
from urllib.parse import quote_plus, urlencode

import jwt

from rolecall import clock
from rolecall.http import HttpResponse
from rolecall_client.issuer import Metadata
from rolecall_client.settings import Settings


@dataclass(frozen=True, slots=True)
class Message:
    """What a step sends: through the browser (front; `form` becomes the query of a redirect) or directly (back).

    Directly it may be `json` as well, in the place of a form.
    """

    channel: Literal["front", "back"]
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] | None = None
    json: Mapping[str, Any] | None = None

    @property
    def address(self) -> str:
        """The URL that the browser is sent to."""
        separator = "&" if "?" in self.url else "?"
        return self.url + separator + urlencode(self.form) if self.form else self.url


@dataclass(slots=True)
class Context:
    """What the steps of a running flow work with. `memory` is kept in Redis between steps, and `tokens` afterwards.

    `metadata` gives the authorization server's, `key` a published key of it by its id.
    """

    settings: Settings
    metadata: Callable[[], Metadata]
    key: Callable[[str], jwt.PyJWK | None]
    memory: dict[str, Any]
    tokens: dict[str, Any]

    @property
    def server(self) -> Metadata:
        """The authorization server's metadata. A step that has no use for them goes on without it.

        Raises:
            Unreachable: it does not answer, and never did.
            OAuthError: the metadata are another issuer's.
        """
        return self.metadata()


class Refused(Exception):
    """The flow ends here: `error` is the code that a specification names, or our own word for what is wrong."""

    def __init__(self, error: str, detail: str) -> None:
        super().__init__(f"{error}: {detail}")
        self.error = error
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Step:
    """One message and its answer. `diagram` is the number of the step in the role diagram."""

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
    """A fresh verifier and its S256 challenge (RFC 7636 sections 4.1 and 4.2)."""
    verifier = secrets.token_urlsafe(32)
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return verifier, base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def client_basic(settings: Settings) -> dict[str, str]:
    """Client authentication in the header: id and secret form-urlencoded, then Basic (RFC 6749 section 2.3.1)."""
    pair = f"{quote_plus(settings.client_id)}:{quote_plus(settings.client_secret)}"
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def keep_tokens(context: Context, answer: HttpResponse) -> None:
    """Check a token response and remember what it gives (RFC 6749 section 5.1).

    Raises:
        Refused: it is an error (section 5.2), or not what it should be.
    """
    body = json_object(answer)
    if answer.status != 200:
        raise Refused(str(body.get("error", "server_error")), f"the token endpoint answered {answer.status}")
    access_token, expires_in = body.get("access_token"), body.get("expires_in")
    if not isinstance(access_token, str) or str(body.get("token_type")).lower() != "bearer":
        raise Refused("server_error", "the token response holds no bearer token")
    context.tokens |= {
        "access_token": access_token,
        "expires_at": clock.now() + expires_in if _is_lifetime(expires_in) else None,
        "scope": body.get("scope", context.tokens.get("scope")),
        "received_at": clock.now(),
    }
    if isinstance(body.get("refresh_token"), str):
        context.tokens["refresh_token"] = body["refresh_token"]


def _is_lifetime(value: Any) -> TypeGuard[float]:
    """Whether it is a number of seconds that can be."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9


def json_object(answer: HttpResponse) -> dict[str, Any]:
    """The answer's body; an empty object when it is no JSON object."""
    try:
        return answer.json()
    except ValueError:
        return {}
