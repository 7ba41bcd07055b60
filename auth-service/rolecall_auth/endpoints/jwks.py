"""The key set (RFC 7517 section 5), cacheable and with an ETag."""

from __future__ import annotations

from flask import Response, request
from flask.typing import ResponseReturnValue

from rolecall_auth.services import services


def jwks() -> ResponseReturnValue:
    """GET /jwks: return the public part of each published key."""
    body, tag = services().keys.public_set()
    response = Response(body, mimetype="application/jwk-set+json")
    response.set_etag(tag)
    response.headers["Cache-Control"] = f"public, max-age={services().settings.jwks_max_age}"
    return response.make_conditional(request)
