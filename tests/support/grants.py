"""How a client obtains a token with each grant; a new grant needs one function and one entry here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from werkzeug.test import TestResponse

from support.auth_server import Server


def authorization_code(server: Server) -> TestResponse:
    """Sign in, allow, and redeem the code (RFC 6749 section 4.1.3)."""
    return server.redeem(server.code())


def refresh_token(server: Server) -> TestResponse:
    """Refresh the tokens of a code (RFC 6749 section 6)."""
    return server.refresh(server.tokens()["refresh_token"])


OBTAIN: Final[dict[str, Callable[[Server], TestResponse]]] = {
    "authorization_code": authorization_code,
    "refresh_token": refresh_token,
}
"""A function for each grant type; it returns the token response for a client of its own."""


def token(server: Server, grant_type: str) -> dict[str, Any]:
    """Return the members of a successful token response."""
    response = OBTAIN[grant_type](server)
    assert response.status_code == 200, response.text
    return dict(response.json or {})
