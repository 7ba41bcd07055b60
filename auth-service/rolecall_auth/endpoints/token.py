"""The token endpoint (RFC 6749 section 3.2)."""

from __future__ import annotations

from flask.typing import ResponseReturnValue

from rolecall_auth.authorization_server import OAuth2Request, engine
from rolecall_auth.clients.authentication import read_back_channel
from rolecall_auth.grants.token_response import PARAMETERS


def token() -> ResponseReturnValue:
    """POST /token: the guard, then the grant that `grant_type` names."""
    clean, credentials = read_back_channel("token")
    PARAMETERS("grant_type" in clean, expected="grant_type", actual=sorted(clean))
    response: ResponseReturnValue = engine.create_token_response(OAuth2Request(clean, credentials))
    return response
