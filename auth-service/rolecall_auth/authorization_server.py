"""Authlib's authorization server, with our seams: the request, client authentication, one form of error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from authlib.oauth2 import OAuth2Error
from authlib.oauth2 import OAuth2Request as AuthlibRequest
from authlib.oauth2.rfc6749 import AuthorizationServer as AuthlibServer
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from flask import Response, request

from rolecall import checks
from rolecall.errors import OAuthError, json_body
from rolecall.vocabulary import CLIENT_AUTH_METHODS
from rolecall_auth.clients.authentication import Credentials, authenticate_client, refused
from rolecall_auth.grants import GRANTS
from rolecall_auth.models.client import Client
from rolecall_auth.services import services

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
        return services().registry.client(client_id)

    def create_oauth2_request(self, request: Any) -> OAuth2Request:
        """Callers hand over our own request already."""
        assert isinstance(request, OAuth2Request)
        return request

    def handle_response(self, status: int, body: Any, headers: Any) -> Response:  # noqa: ARG002
        """A token response: JSON, not to be stored (RFC 6749 section 5.1)."""
        return json_body(body, status)

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


def _authenticator(method: str) -> Callable[[Any, OAuth2Request], Client | None]:
    def authenticate(query_client: Any, oauth2_request: OAuth2Request) -> Client | None:  # noqa: ARG001
        credentials = oauth2_request.credentials
        if credentials is None or credentials.method != method:
            return None
        return authenticate_client(credentials)

    return authenticate


engine: Final = AuthorizationServer()
"""Authlib's engine; it only holds registries, so threads and applications share it."""
