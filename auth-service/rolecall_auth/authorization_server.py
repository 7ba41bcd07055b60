"""Authlib's authorization server, with our seams: the request, client authentication, one form of error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from authlib.oauth2 import OAuth2Error
from authlib.oauth2 import OAuth2Request as AuthlibRequest
from authlib.oauth2.rfc6749 import AuthorizationServer as AuthlibServer
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from flask import Response, g, jsonify, request

from rolecall import audit, checks
from rolecall.errors import NO_STORE, OAuthError
from rolecall.vocabulary import ASSERTION_ALGORITHMS, CLIENT_AUTH_METHODS
from rolecall_auth import client_assertion, parameters
from rolecall_auth.client_authentication import (
    AUTHENTICATED,
    FORM_TYPE,
    IN_BODY,
    Credentials,
    read_credentials,
    refused,
)
from rolecall_auth.client_keys import BadJWT
from rolecall_auth.grants import GRANTS
from rolecall_auth.models.client import Client
from rolecall_auth.state import state

_DESCRIPTIONS: Final = {
    "invalid_request": "A required parameter is missing or wrong.",
    "invalid_grant": "The grant is unknown, expired, used, or was given to another client or redirect URI.",
    "unauthorized_client": "The client is not registered for this.",
    "unsupported_grant_type": "The server has no such grant type.",
    "unsupported_response_type": "The server has no such response type.",
    "invalid_scope": "The scope is more than the resource or the client has.",
    "access_denied": "The resource owner denied the request.",
}

for _error, _description in _DESCRIPTIONS.items():
    checks.define(f"engine.{_error}", "RFC 6749 sections 4.1.2.1 and 5.2", _error, _description)


class OAuth2Request(AuthlibRequest):
    """A request whose parameters have passed the guard: `form` and `payload` are the same clean dict."""

    def __init__(self, clean: dict[str, str], credentials: Credentials | None = None) -> None:
        # the scheme is settled by the issuer's; Authlib only wants to see one that it trusts
        super().__init__(request.method, "https://issuer/", headers=request.headers)
        self.payload = BasicOAuth2Payload(clean)
        self.credentials = credentials
        self.authorization: Any = None
        self.authentication: Any = None
        self.consent_scope = ""
        self._clean = clean

    @property
    def form(self) -> dict[str, str]:
        """The clean parameters."""
        return self._clean


class AuthorizationServer(AuthlibServer):
    """Dispatches to the grants of the registry."""

    def __init__(self) -> None:
        super().__init__()
        for method in CLIENT_AUTH_METHODS:
            self.register_client_auth_method(method, _authenticator(method))
        for grant in GRANTS:
            self.register_grant(grant.engine, list(grant.extensions))

    def query_client(self, client_id: str) -> Client | None:
        """From the registry's cache."""
        return state().registry.client(client_id)

    def create_oauth2_request(self, request: Any) -> OAuth2Request:
        """Callers hand over our own request already."""
        assert isinstance(request, OAuth2Request)
        return request

    def handle_response(self, status: int, body: Any, headers: Any) -> Response:  # noqa: ARG002
        """A token response: JSON, not to be stored (RFC 6749 section 5.1)."""
        return json_answer(body, status)

    def handle_error_response(self, request: Any, error: OAuth2Error) -> Response:  # noqa: ARG002
        """Authlib's errors leave as ours."""
        raise from_authlib(error)

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""


def from_authlib(error: OAuth2Error) -> OAuthError:
    """Our form of an error of Authlib's: fixed text, nothing of the request in it."""
    if error.error == "invalid_client":
        return refused("unknown, wrong secret or another method")
    check = checks.registry.get(f"engine.{error.error}")
    if check is None:
        return OAuthError("invalid_request", _DESCRIPTIONS["invalid_request"], detail=f"Authlib: {error.error}")
    expected = "a request that the engine accepts"
    return check.refusal(f"Authlib: {error.error}", expected=expected, actual=error.error)


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
    state().throttles.client(credentials.client_id, request.remote_addr or "")
    return clean, credentials


def authenticate_client(credentials: Credentials) -> Client:
    """The client that the credentials prove, by the method it is registered with.

    Raises:
        OAuthError: invalid_client, whatever was wrong.
    """
    client = state().registry.client(credentials.client_id) if credentials.client_id else None
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
    state().throttles.client_failed(client_id, request.remote_addr or "")


def json_answer(body: dict[str, Any], status: int = 200) -> Response:
    """A JSON answer that nobody keeps."""
    response = jsonify(body)
    response.status_code = status
    response.headers.update(NO_STORE)
    return response


def _authenticator(method: str) -> Callable[[Any, OAuth2Request], Client | None]:
    def authenticate(query_client: Any, oauth2_request: OAuth2Request) -> Client | None:  # noqa: ARG001
        credentials = oauth2_request.credentials
        if credentials is None or credentials.method != method:
            return None
        return authenticate_client(credentials)

    return authenticate
