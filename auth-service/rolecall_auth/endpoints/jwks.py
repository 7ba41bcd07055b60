"""The key set (RFC 7517 section 5), cacheable and with an ETag."""

from __future__ import annotations

from flask.typing import ResponseReturnValue

from rolecall_auth.services import services


def jwks() -> ResponseReturnValue:
    """GET /jwks: return the public part of each published key."""
    return services().keys.public_set().response()
