"""Client authentication at the back-channel endpoints: exactly one method per request (RFC 6749 section 2.3)."""

from __future__ import annotations

from dataclasses import dataclass

from flask import g, request

from rolecall import audit, authorization_header, checks
from rolecall.authorization_header import AuthorizationHeader
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
    "Send the parameters in the body, not in the URL.",
)
ONE_METHOD = checks.define(
    "client.one_method",
    "RFC 6749 section 2.3",
    "invalid_request",
    "The request uses more than one client authentication method. Use one.",
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

_MAX_BASIC_CREDENTIALS = 600
"""Maximum length of user and password together, in characters."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The unverified credentials of a request.

    Args:
        method: the authentication method (RFC 7591 section 2).
        secret: the client secret or the assertion.
    """

    method: str
    client_id: str | None
    secret: str


def read_credentials(authorization: list[AuthorizationHeader], clean: dict[str, str]) -> Credentials:
    """Return the credentials from the `Authorization` headers or the body.

    Raises:
        OAuthError: the request contains several credentials, or malformed ones.
    """
    client_id, secret = clean.get("client_id"), clean.get("client_secret")
    assertion, assertion_type = clean.get("client_assertion"), clean.get("client_assertion_type")
    has_assertion = assertion is not None or assertion_type is not None
    methods = len(authorization) + (secret is not None) + has_assertion
    ONE_METHOD(methods <= 1, expected="at most one", otherwise="several")
    if parameters.UNREADABLE in {client_id, secret}:
        raise authentication_error("client_id or client_secret is too long or not ASCII")
    if authorization:
        user, password = _read_basic(authorization[0])
        SAME_CLIENT(client_id in {None, user}, expected="the authenticated client", otherwise="another client")
        return Credentials("client_secret_basic", user, password)
    if secret is not None:
        return Credentials("client_secret_post", client_id, secret)
    if has_assertion:
        return _read_assertion(client_id, assertion, assertion_type)
    return Credentials("none", client_id, "")


def authentication_error(detail: str) -> OAuthError:
    """Return the error for every failed authentication, which does not reveal the reason (RFC 6749 section 5.2)."""
    AUTHENTICATED.note(False, expected="a known client, with its registered method and secret", actual=detail)
    return OAuthError(
        AUTHENTICATED.error,
        AUTHENTICATED.description,
        detail=detail,
        status=401,
        challenge=challenge("Basic", realm="rolecall", charset="UTF-8"),
    )


def _read_assertion(client_id: str | None, assertion: str | None, assertion_type: str | None) -> Credentials:
    """Read an assertion and its type (RFC 7521 section 4.2); a `client_id` parameter must name the same client."""
    if assertion is None or assertion_type != CLIENT_ASSERTION_TYPE:
        raise authentication_error("client_assertion is missing, or client_assertion_type is not the JWT type")
    try:
        method, subject = client_assertion.unverified_client(assertion)
    except BadJWT as error:
        raise authentication_error(f"client_assertion: {error}") from error
    if client_id not in {None, subject}:
        raise authentication_error("client_id differs from the sub of the assertion")
    return Credentials(method, subject, assertion)


def _read_basic(header: AuthorizationHeader) -> tuple[str, str]:
    try:
        user, password = header.basic_credentials()
    except ValueError as error:
        raise authentication_error(f"Authorization header: {error}") from error
    if not (user + password).isprintable() or len(user + password) > _MAX_BASIC_CREDENTIALS:
        raise authentication_error("Authorization header: user or password is too long or not printable")
    return user, password


def read_back_channel(endpoint: str) -> tuple[dict[str, str], Credentials]:
    """Read a request to a back-channel endpoint: a form in the body, valid parameters, and one set of credentials.

    Raises:
        OAuthError: invalid_request or invalid_client.
    """
    in_url = {name for name, value in request.args.items(multi=True) if value}
    IN_BODY(
        parameters.NAMES[endpoint].isdisjoint(in_url),
        expected="parameters in the body only",
        otherwise="parameters in the URL",
    )
    is_form = request.mimetype == "application/x-www-form-urlencoded"
    FORM_TYPE(is_form, expected="application/x-www-form-urlencoded", actual=request.mimetype[:60])
    clean = parameters.read(endpoint, request.form)
    try:
        credentials = read_credentials(authorization_header.parse_all(request.headers), clean)
    except OAuthError as error:
        if error.error == AUTHENTICATED.error:
            _count_failure(None, error.detail)
        raise
    return clean, credentials


def authenticate_client(credentials: Credentials) -> Client:
    """Authenticate a client by its registered method.

    Raises:
        OAuthError: invalid_client.
    """
    client = services().registry.client(credentials.client_id) if credentials.client_id else None
    if client is None:
        raise authentication_failed(credentials, "unknown client")
    if not client.check_endpoint_auth_method(credentials.method, "token"):
        registered, sent = " or ".join(client.auth_methods), credentials.method
        raise authentication_failed(credentials, f"client {client.client_id}, registered: {registered}, sent: {sent}")
    if credentials.method in ASSERTION_ALGORITHMS:
        try:
            client_assertion.verify(client, credentials.method, credentials.secret)
        except BadJWT as error:
            raise authentication_failed(credentials, f"client_assertion: {error}") from error
    elif credentials.method != "none" and not client.check_client_secret(credentials.secret):
        raise authentication_failed(credentials, "wrong secret")
    g.client_id = client.client_id
    AUTHENTICATED.note(True, expected=" or ".join(client.auth_methods), actual=credentials.method)
    return client


def authentication_failed(credentials: Credentials, detail: str) -> OAuthError:
    """Count a failed authentication, to slow down guessing, and return its error.

    Raises:
        TooMany: the client or the address has failed too often.
    """
    _count_failure(credentials.client_id, detail)
    return authentication_error(detail)


def _count_failure(client_id: str | None, reason: str | None) -> None:
    audit.record("client_authentication_failed", client_id=(client_id or "")[:100], reason=reason)
    services().limits.count_client_failure(client_id, request.remote_addr)
