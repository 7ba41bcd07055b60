"""Headers of signed tokens (RFC 7515 section 7.1), before anything in them is verified."""

from __future__ import annotations

import json
from typing import Any

from jwt.utils import base64url_decode


def unverified_header(token: Any, max_length: int) -> dict[str, Any] | None:
    """Return the header of a compact JWS, or None if the value does not have three parts and a JSON object as header.

    PyJWT's own function rejects a critical extension as if the token were malformed.

    Args:
        max_length: in characters.
    """
    if not isinstance(token, str) or len(token) > max_length or token.count(".") != 2 or not token.isascii():
        return None
    try:
        header = json.loads(base64url_decode(token.partition(".")[0]))
    except (ValueError, RecursionError):
        return None
    return header if isinstance(header, dict) else None
