"""Security headers and cookie settings."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from flask import Flask, Response
from flask.sessions import SecureCookieSessionInterface

from rolecall.storage import digest


def _policy(form_action: str) -> str:
    return (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
        f"form-action {form_action}"
    )


SECURITY_HEADERS: Final = {
    "Content-Security-Policy": _policy("'self'"),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
"""Defaults for every response; a view may set its own value."""


def allow_form_targets(response: Response, *origins: str, scripts: bool = False) -> None:
    """Allow a form on this page to redirect to `origins`: Chromium applies `form-action` to redirects as well.

    Args:
        scripts: whether the page may load scripts from its origin.
    """
    policy = _policy(" ".join(("'self'", *origins)))
    response.headers["Content-Security-Policy"] = f"{policy}; script-src 'self'" if scripts else policy


def origin_of(uri: str) -> str:
    """Return the origin of a URI as a Content-Security-Policy source.

    Only the scheme is returned if the URI has no authority or has an IPv6 host, which a policy cannot express.
    """
    parts = urlsplit(uri)
    if ":" in (parts.hostname or ""):  # an IPv6 address
        return f"{parts.scheme}:"
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else f"{parts.scheme}:"


def cookie_settings(app: Flask, name: str, url: str) -> None:
    """Configure the session cookie; with TLS, its name gets the `__Host-` prefix (RFC 6265bis section 4.1.3.2).

    A browser sends cookies with this prefix to all paths of a host. If the service is below a path, the cookie's name
    depends on its URL; the key of the cookie's signature always does.

    Flask's own expiry check is effectively disabled (ten years), because `rolecall.clock` decides when the session that
    the cookie refers to expires.
    """
    secure = url.startswith("https://")
    if urlsplit(url).path:
        name = f"{name}_{digest(url)[:8]}"
    interface = SecureCookieSessionInterface()
    interface.salt = f"cookie-session {url}"
    app.session_interface = interface
    app.config.update(
        SESSION_COOKIE_NAME=f"__Host-{name}" if secure else name,
        SESSION_COOKIE_PATH="/",
        SESSION_COOKIE_SECURE=secure,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        PERMANENT_SESSION_LIFETIME=10 * 365 * 86400,
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_SSL_STRICT=False,  # our pages send no Referer; SameSite and the CSRF token protect the forms
    )
