"""A function for each grant with which a client obtains a token; a new grant needs one function and one entry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from werkzeug.test import TestResponse

from rolecall.storage import digest
from rolecall_auth.models.client import Client
from support.auth_server import Server, a_client, basic

SERVICE_SECRET = "reports-secret-of-the-tests-0123456789"
SERVICE = basic("reports", SERVICE_SECRET)


def authorization_code(server: Server) -> TestResponse:
    """Sign in, allow, and redeem the code (RFC 6749 section 4.1.3)."""
    return server.redeem(server.code())


def refresh_token(server: Server) -> TestResponse:
    """Refresh the tokens of a code (RFC 6749 section 6)."""
    return server.refresh(server.tokens()["refresh_token"])


def a_service(**changes: Any) -> Client:
    """A client that gets tokens without a user."""
    values: dict[str, Any] = {
        "client_id": "reports",
        "client_name": "Reports",
        "secret_hash": digest(SERVICE_SECRET),
        "redirect_uris": [],
        "grant_types": ["client_credentials"],
        "response_types": [],
        "scope": "invoices:read invoices:pay",
    }
    return a_client(**(values | changes))


def client_credentials(server: Server) -> TestResponse:
    """Authenticate as a client that has no users (RFC 6749 section 4.4.2)."""
    server.add(a_service())
    return server.post("/token", SERVICE, grant_type="client_credentials")


OBTAIN: Final[dict[str, Callable[[Server], TestResponse]]] = {
    "authorization_code": authorization_code,
    "refresh_token": refresh_token,
    "client_credentials": client_credentials,
}
"""A function for each grant type, which adds a client and returns its token response."""


def token(server: Server, grant_type: str) -> dict[str, Any]:
    """Return the members of a successful token response."""
    response = OBTAIN[grant_type](server)
    assert response.status_code == 200, response.text
    return dict(response.json or {})
