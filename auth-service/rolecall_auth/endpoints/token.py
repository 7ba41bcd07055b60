"""The token endpoint (RFC 6749 section 3.2)."""

from __future__ import annotations

from flask.typing import ResponseReturnValue

from rolecall_auth.authorization_server import TokenRequest, engine
from rolecall_auth.clients.authentication import read_back_channel
from rolecall_auth.parameters import REQUIRED


def token() -> ResponseReturnValue:
    """POST /token: validate the request, then run the grant of its `grant_type`."""
    clean, credentials = read_back_channel("token")
    REQUIRED("grant_type" in clean, expected="grant_type", actual=sorted(clean))
    response: ResponseReturnValue = engine.create_token_response(  # type: ignore[assignment]
        TokenRequest(clean, credentials)
    )
    return response
