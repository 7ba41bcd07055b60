"""Who calls a back-channel endpoint: exactly one way of authentication a request (RFC 6749 section 2.3)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from urllib.parse import unquote_plus

from flask import g, request

from rolecall import audit, checks
from rolecall.errors import OAuthError, challenge
from rolecall.vocabulary import ASSERTION_ALGORITHMS, CLIENT_ASSERTION_TYPE
from rolecall_auth import parameters
from rolecall_auth.clients import assertion as client_assertion
from rolecall_auth.jose.client_keys import BadJWT
from rolecall_auth.models.client import Client
from rolecall_auth.services import services

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


def read_back_channel(endpoint: str) -> tuple[dict[str, str], Credentials]:
    """The guard of the endpoints that programs call: form in the body, clean parameters, one set of credentials.

    Raises:
        OAuthError: invalid_request or invalid_client.
    """
    known = {parameter.name for parameter in parameters.BY_ENDPOINT[endpoint]}
    IN_BODY(not known & set(request.args), expected="parameters in the body only", otherwise="some in the address")
    is_form = request.mimetype == "application/x-www-form-urlencoded"
    FORM_TYPE(is_form, expected="application/x-www-form-urlencoded", actual=request.mimetype[:60])
    clean = parameters.read(endpoint, request.form)
    try:
        credentials = read_credentials(request.headers.getlist("Authorization"), clean)
    except OAuthError as error:
        if error.error == AUTHENTICATED.error:
            _count_failure(None)
        raise
    services().throttles.client(credentials.client_id, request.remote_addr or "")
    return clean, credentials


def authenticate_client(credentials: Credentials) -> Client:
    """The client that the credentials prove, by the method it is registered with.

    Raises:
        OAuthError: invalid_client, whatever was wrong.
    """
    client = services().registry.client(credentials.client_id) if credentials.client_id else None
    if client is None or not client.check_endpoint_auth_method(credentials.method, "token"):
        raise failed(credentials, "unknown client, or another method than the registered one")
    if credentials.method in ASSERTION_ALGORITHMS:
        try:
            client_assertion.verify(client, credentials.method, credentials.secret)
        except BadJWT as error:
            raise failed(credentials, f"client_assertion: {error}") from error
    elif credentials.method != "none" and not client.check_client_secret(credentials.secret):
        raise failed(credentials, "wrong secret")
    g.client_id = client.client_id
    AUTHENTICATED.note(True, expected=client.token_endpoint_auth_method, actual=credentials.method)
    return client


def failed(credentials: Credentials, detail: str) -> OAuthError:
    """The answer to credentials that prove nobody, counted: whoever guesses is slowed down.

    Raises:
        TooMany: there were too many of them.
    """
    _count_failure(credentials.client_id)
    return refused(detail)


def _count_failure(client_id: str | None) -> None:
    audit.record("client_authentication_failed", client_id=(client_id or "")[:100])
    services().throttles.client_failed(client_id, request.remote_addr or "")
