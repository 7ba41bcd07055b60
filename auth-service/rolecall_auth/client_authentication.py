"""Who calls a back-channel endpoint: exactly one way of authentication a request (RFC 6749 section 2.3)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from urllib.parse import unquote_plus

from rolecall import checks
from rolecall.errors import OAuthError, challenge
from rolecall.vocabulary import CLIENT_ASSERTION_TYPE
from rolecall_auth import client_assertion
from rolecall_auth.client_keys import BadJWT

FORM_TYPE = checks.define(
    "client.content_type",
    "RFC 6749 section 3.2",
    "invalid_request",
    "Send the parameters as application/x-www-form-urlencoded in the body.",
)
IN_BODY = checks.define(
    "client.parameters_in_body",
    "RFC 6749 section 2.3.1",
    "invalid_request",
    "Parameters belong into the body, not into the address.",
)
ONE_METHOD = checks.define(
    "client.one_method",
    "RFC 6749 section 2.3",
    "invalid_request",
    "More than one way of client authentication was used.",
)
SAME_CLIENT = checks.define(
    "client.same_client",
    "RFC 6749 section 2.3",
    "invalid_request",
    "The client_id differs from the authenticated client.",
)
AUTHENTICATED = checks.define(
    "client.authenticated", "RFC 6749 section 3.2.1", "invalid_client", "Client authentication failed.", status=401
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the request shows: `method` is a name of RFC 7591 section 2, `secret` the secret or the assertion; nothing
    is verified yet."""

    method: str
    client_id: str | None
    secret: str


def read_credentials(authorization: list[str], parameters: dict[str, str]) -> Credentials:
    """Take the credentials from the `Authorization` headers or the body.

    Raises:
        OAuthError: there are several, or the header is none that we know.
    """
    client_id, secret = parameters.get("client_id"), parameters.get("client_secret")
    assertion, assertion_type = parameters.get("client_assertion"), parameters.get("client_assertion_type")
    asserts = assertion is not None or assertion_type is not None
    ways = len(authorization) + (secret is not None) + asserts
    ONE_METHOD(ways <= 1, expected="at most one", otherwise="several")
    if authorization:
        user, password = _read_basic(authorization[0])
        SAME_CLIENT(client_id in {None, user}, expected="the authenticated client", otherwise="another")
        return Credentials("client_secret_basic", user, password)
    if secret is not None:
        return Credentials("client_secret_post", client_id, secret)
    if asserts:
        return _read_assertion(client_id, assertion, assertion_type)
    return Credentials("none", client_id, "")


def refused(detail: str) -> OAuthError:
    """The one answer to every failed authentication: it does not say what was wrong (RFC 6749 section 5.2)."""
    AUTHENTICATED.note(False, expected="known, with its own method and secret", actual="not")
    return OAuthError(
        AUTHENTICATED.error,
        AUTHENTICATED.description,
        detail=detail,
        status=401,
        challenge=challenge("Basic", realm="rolecall", charset="UTF-8"),
    )


def _read_assertion(client_id: str | None, assertion: str | None, assertion_type: str | None) -> Credentials:
    """Assertion and type of RFC 7521 section 4.2; a `client_id` beside them must be the same client's."""
    if assertion is None or assertion_type != CLIENT_ASSERTION_TYPE:
        raise refused("client_assertion is missing, or of another type than a JWT")
    try:
        method, subject = client_assertion.unverified_client(assertion)
    except BadJWT as error:
        raise refused(f"client_assertion: {error}") from error
    if client_id not in {None, subject}:
        raise refused("client_id is another than the assertion's")
    return Credentials(method, subject, assertion)


def _read_basic(header: str) -> tuple[str, str]:
    """User and password of RFC 7617, each form-urlencoded within (RFC 6749 section 2.3.1)."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        raise refused("another scheme than Basic")
    try:
        user, colon, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise refused("Basic is not base64 of UTF-8") from error
    user, password = unquote_plus(user), unquote_plus(password)
    if not colon or not user or not password or not (user + password).isprintable() or len(user + password) > 600:
        raise refused("Basic holds no user and password")
    return user, password
