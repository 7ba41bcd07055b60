"""Flows as data: a list of steps, each of which builds a message and names the handler of its response."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Literal, TypeGuard
from urllib.parse import quote_plus, urlencode

import jwt

from rolecall import checks, clock
from rolecall.http import HttpResponse
from rolecall.vocabulary import CLIENT_ASSERTION_TYPE
from rolecall_client.id_token import FindKey
from rolecall_client.issuer import Metadata
from rolecall_client.settings import Settings

B64TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]{1,8192}=*")
"""The syntax of an access token (RFC 6750 section 2.1)."""

_ERROR_CODE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,60}")
"""The syntax of an error code (RFC 6749 appendix A.7), without spaces."""

ACCESS_TOKEN = checks.define(
    "client.access_token",
    "RFC 6749 section 5.1",
    "invalid_request",
    "The response has no access token of the characters that a header may contain.",
)
TOKEN_TYPE = checks.define(
    "client.token_type",
    "RFC 6749 section 7.1",
    "invalid_request",
    "The token_type is not Bearer, the only one that Tally can use.",
)


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
        settings: include the client's ID and secret, which the client may have registered itself.
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
    def client_id(self) -> str:
        """The client ID at the authorization server."""
        return self.settings.client_id or ""

    @property
    def server(self) -> Metadata:
        """The authorization server's metadata, fetched on first use.

        Raises:
            Unreachable: the metadata has never been fetched and cannot be fetched now.
            OAuthError: the metadata names another issuer.
        """
        return self.metadata()


class FlowError(Exception):
    """An error that ends a flow.

    Args:
        error: the error code of a specification, or one that this client defines (see `errors.py`).
        detail: for the log; the pages of some errors show it.
    """

    def __init__(self, error: str, detail: str) -> None:
        super().__init__(f"{error}: {detail}")
        self.error = error
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Step:
    """A message and the handler of its response. `diagram` is the number of the step in the role diagram.

    `build` returns None if the message is not needed, for example because the server lacks an optional endpoint.
    """

    name: str
    diagram: int
    build: Callable[[Context], Message | None]
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


def authenticated_request(context: Context, url: str, form: Mapping[str, str]) -> Message:
    """Return a POST request in which the client authenticates by its registered method.

    With `client_secret_basic`, ID and secret are form-urlencoded (RFC 6749 section 2.3.1).
    """
    settings = context.settings
    if settings.client_auth_method == "private_key_jwt":
        assertion = {"client_assertion_type": CLIENT_ASSERTION_TYPE, "client_assertion": _client_assertion(context)}
        return Message("back", "POST", url, form={**form, **assertion})
    client_id, secret = context.client_id, settings.client_secret or ""
    if settings.client_auth_method == "client_secret_post":
        return Message("back", "POST", url, form={**form, "client_id": client_id, "client_secret": secret})
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    headers = {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
    return Message("back", "POST", url, headers=headers, form=form)


def _client_assertion(context: Context) -> str:
    """Return a JWT that authenticates the client once, within a minute (RFC 7523 section 3).

    OpenID Connect Core section 9 recommends the token endpoint as the audience; the issuer is safer, because it is the
    same for each of the server's endpoints.
    """
    key, now = context.settings.client_private_key, int(clock.now())
    assert key is not None, "the settings require it"
    claims = {
        "iss": context.client_id,
        "sub": context.client_id,
        "aud": getattr(context.server, context.settings.client_assertion_audience),
        "jti": secrets.token_urlsafe(16),
        "iat": now,
        "exp": now + 60,
    }
    private = key.private
    return jwt.encode(claims, private, private.algorithm_name, {"kid": private.key_id} if private.key_id else None)


def keep_tokens(context: Context, response: HttpResponse) -> None:
    """Validate a token response and store its tokens (RFC 6749 section 5.1).

    Raises:
        FlowError: it is an error response (section 5.2), or invalid.
    """
    if response.status != HTTPStatus.OK:
        raise error_response("the token endpoint", response)
    body = json_object(response)
    access_token, expires_in, scope = body.get("access_token"), body.get("expires_in"), body.get("scope")
    token_type = body.get("token_type")
    has_token = isinstance(access_token, str) and B64TOKEN.fullmatch(access_token) is not None
    ACCESS_TOKEN.note(has_token, expected="an access token", actual="an access token" if has_token else "none")
    if not has_token:
        raise FlowError("invalid_token_response", ACCESS_TOKEN.description)
    is_bearer = isinstance(token_type, str) and token_type.lower() == "bearer"
    TOKEN_TYPE.note(is_bearer, expected="Bearer", actual=readable(token_type) or "none")
    if not is_bearer:
        raise FlowError("invalid_token_response", TOKEN_TYPE.description)
    context.tokens |= {
        "client_id": context.client_id,
        "access_token": access_token,
        "expires_at": clock.now() + expires_in if _is_lifetime(expires_in) else None,
        "scope": scope if isinstance(scope, str) else context.tokens.get("scope"),
        "received_at": clock.now(),
    }
    if isinstance(body.get("refresh_token"), str) and body["refresh_token"]:
        context.tokens["refresh_token"] = body["refresh_token"]


def is_of_earlier_registration(context: Context) -> bool:
    """Return whether the client has registered again since it received the tokens, and so cannot use them any more."""
    return bool(context.tokens.get("client_id", context.client_id) != context.client_id)


def error_response(sender: str, response: HttpResponse) -> FlowError:
    """Return the error for a response of a server that does not have status 200 (RFC 6749 section 5.2)."""
    code = json_object(response).get("error")
    if isinstance(code, str) and _ERROR_CODE.fullmatch(code):
        return FlowError(code, f"{sender} returned status {response.status}")
    return FlowError("no_error_code", f"{sender} returned status {response.status} without an error code.")


def _is_lifetime(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9


def readable(value: Any) -> str:
    """Return a string of another party for display, cut at 300 characters; empty if it is not a printable string."""
    return value[:300] if isinstance(value, str) and value.isprintable() else ""


def json_object(response: HttpResponse) -> dict[str, Any]:
    """Return the response's body, or an empty object if it is not a JSON object."""
    try:
        return response.json()
    except ValueError:
        return {}
