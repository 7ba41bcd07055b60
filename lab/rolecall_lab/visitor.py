"""A name for the browser that uses the client, under which the lab stores its runs and measurements."""

from __future__ import annotations

import secrets

from flask import session as cookie


def visitor() -> str:
    """Return the secret name of this browser; a new one is stored in its session cookie."""
    if "browser" not in cookie:
        cookie["browser"] = secrets.token_urlsafe(32)
    return str(cookie["browser"])
