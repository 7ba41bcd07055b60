"""Authlib's authorization server, adapted to the requests, client authentication, and errors of this service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import AuthorizationServer as AuthlibServer
from flask import Response

from rolecall import checks
from rolecall.errors import OAuthError, json_body
from rolecall.vocabulary import CLIENT_AUTH_METHODS
from rolecall_auth.clients.authentication import Credentials, authenticate_client, authentication_error
from rolecall_auth.grants import GRANTS
from rolecall_auth.grants.request import OAuth2Request
from rolecall_auth.models.client import Client
from rolecall_auth.services import services

_DESCRIPTIONS: Final = {
    "invalid_request": "A required parameter is missing or invalid.",
    "invalid_grant": "The grant is unknown, expired, already used, or was issued to another client or redirect URI.",
    "unauthorized_client": "The client is not registered for this grant or response type.",
    "unsupported_grant_type": "The grant type is not supported. Supported: "
    + ", ".join(grant.grant_type for grant in GRANTS)
    + ".",
    "unsupported_response_type": "The response type is not supported. Supported: "
    + ", ".join(grant.response_type for grant in GRANTS if grant.response_type)
    + ".",
    "invalid_scope": "The scope exceeds what the resource offers or the client may request.",
    "access_denied": "The resource owner denied the request.",
}

_CLAUSES: Final = {
    "unsupported_grant_type": "RFC 6749 section 5.2",
    "unsupported_response_type": "RFC 6749 section 4.1.2.1",
    "access_denied": "RFC 6749 section 4.1.2.1",
}
"""The clauses of the errors that only one of the two endpoints returns."""

for _error, _description in _DESCRIPTIONS.items():
    _clause = _CLAUSES.get(_error, "RFC 6749 sections 4.1.2.1 and 5.2")
    checks.define(f"engine.{_error}", _clause, _error, _description)


class TokenRequest(OAuth2Request):
    """A token request, with the unverified credentials of the client."""

    def __init__(self, clean: dict[str, str], credentials: Credentials) -> None:
        super().__init__(clean)
        self.credentials = credentials


class AuthorizationServer(AuthlibServer):
    """Authlib's authorization server, which dispatches requests to the registered grants."""

    def __init__(self) -> None:
        super().__init__()
        for method in CLIENT_AUTH_METHODS:
            self.register_client_auth_method(method, _authenticator(method))
        for grant in GRANTS:
            self.register_grant(grant.engine, list(grant.extensions))

    def query_client(self, client_id: str) -> Client | None:  # type: ignore[override]
        """Return the client from the registry's cache."""
        return services().registry.client(client_id)

    def create_oauth2_request(self, request: Any) -> OAuth2Request:
        """Return the request unchanged, because callers pass an `OAuth2Request`."""
        assert isinstance(request, OAuth2Request)
        return request

    def handle_response(self, status: int, body: Any, headers: Any) -> Response:  # noqa: ARG002
        """Return a token response as JSON that must not be stored (RFC 6749 section 5.1)."""
        return json_body(body, status)

    def handle_error_response(self, request: Any, error: OAuth2Error) -> Response:  # noqa: ARG002
        """Raise Authlib's error as an `OAuthError`."""
        raise from_authlib(error)

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Do nothing: no signals are used."""


def from_authlib(error: OAuth2Error) -> OAuthError:
    """Convert an error of Authlib; the description is a fixed text without parts of the request."""
    if error.error == "invalid_client":
        return authentication_error("the grant does not accept this authentication method")
    check = checks.registry.get(f"engine.{error.error}")
    if check is None:
        return OAuthError("invalid_request", _DESCRIPTIONS["invalid_request"], detail=error.error)
    return check.refusal(expected="a request that Authlib accepts", actual=error.error)


def _authenticator(method: str) -> Callable[[Any, TokenRequest], Client | None]:
    def authenticate(query_client: Any, request: TokenRequest) -> Client | None:  # noqa: ARG001
        return authenticate_client(request.credentials) if request.credentials.method == method else None

    return authenticate


engine: Final = AuthorizationServer()
"""Authlib's engine. It contains only registries, so threads and applications can share it."""
