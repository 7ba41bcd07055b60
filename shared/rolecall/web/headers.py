"""Security headers and cookie settings."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from flask import Flask, Request, Response, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from itsdangerous import BadSignature, URLSafeTimedSerializer

from rolecall.storage import digest

_CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": f"{_CONTENT_SECURITY_POLICY}; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
"""Defaults for every response; a view may set its own value."""


_MAX_COOKIE: Final = 4096
"""Bytes of a cookie that every browser stores (RFC 6265 section 6.1); recent cookies are kept in memory."""


def let_forms_leave(response: Response, *, scripts: bool = False) -> None:
    """Omit `form-action` from a page whose forms redirect to another party.

    Browsers apply the directive to each redirect that follows a form (CSP Level 3 section 6.4.1), and the other party
    may redirect to any origin or private-use scheme.

    Args:
        scripts: whether the page may load scripts from its origin.
    """
    policy = _CONTENT_SECURITY_POLICY
    response.headers["Content-Security-Policy"] = f"{policy}; script-src 'self'" if scripts else policy


class CookieSessions(SecureCookieSessionInterface):
    """Flask's sessions in signed cookies, without the work for requests that do not use the session."""

    def __init__(self) -> None:
        self._serializer: tuple[Any, URLSafeTimedSerializer | None] = (None, None)

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        """Return the serializer, which is created once per key."""
        key, serializer = self._serializer
        if key != app.secret_key:
            serializer = super().get_signing_serializer(app)
            self._serializer = (app.secret_key, serializer)
        return serializer

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Return the session of the request's cookie, or an empty session without a valid cookie."""
        value = request.cookies.get(self.get_cookie_name(app)) if "HTTP_COOKIE" in request.environ else None
        serializer = self.get_signing_serializer(app) if value else None
        if not value or serializer is None:
            return self.session_class()
        payload = _payload(serializer, value) if len(value) <= _MAX_COOKIE else None
        return self.session_class(serializer.load_payload(payload) if payload is not None else None)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Set the cookie, if the session was used."""
        if request.method == "HEAD":
            session.modified = False  # it keeps its flashed messages (RFC 9110 section 9.2.1)
        if session.accessed or session.modified:
            super().save_session(app, session, response)


@lru_cache(maxsize=256)
def _payload(serializer: URLSafeTimedSerializer, value: str) -> bytes | None:
    """Return the payload of a signed cookie, or None if the signature is invalid."""
    for signer in serializer.iter_unsigners():
        try:
            payload: bytes = signer.unsign(value)
        except BadSignature:
            continue
        return payload
    return None


def cookie_settings(app: Flask, name: str, url: str) -> None:
    """Configure the session cookie; with TLS, its name gets the `__Host-` prefix (RFC 6265bis section 4.1.3.2).

    A browser sends cookies to all ports of a host (RFC 6265 section 8.5), and those with this prefix to all paths. If
    the service's URL has a port, the names of its cookies contain it. If the service is below a path, the session
    cookie's name depends on the URL; the key of its signature always does.

    Flask's own expiry check is effectively disabled (ten years), because `rolecall.clock` decides when the session that
    the cookie refers to expires.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    prefix = ("__Host-" if secure else "") + (f"{name}_{parts.port}" if parts.port else name)
    interface = CookieSessions()
    interface.salt = f"cookie-session {url}"
    app.session_interface = interface
    app.config.update(
        COOKIE_PREFIX=prefix,
        SESSION_COOKIE_NAME=f"{prefix}_{digest(url)[:8]}" if parts.path else prefix,
        SESSION_COOKIE_PATH="/",
        SESSION_COOKIE_SECURE=secure,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        PERMANENT_SESSION_LIFETIME=10 * 365 * 86400,
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_SSL_STRICT=False,  # our pages send no Referer; SameSite and the CSRF token protect the forms
    )
