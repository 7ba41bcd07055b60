"""A cookie for browsers in which a person has signed in before; their sign-in attempts are counted separately."""

from __future__ import annotations

from typing import Final

from flask import current_app, request
from itsdangerous import BadSignature, URLSafeSerializer
from werkzeug import Response

from rolecall.storage import digest
from rolecall_auth.models import new_id
from rolecall_auth.models.user import normal_username
from rolecall_auth.services import services

MAX_PEOPLE: Final = 5
"""Maximum number of people per browser; the most recent ones are kept."""

MAX_AGE: Final = 400 * 86400
"""Lifetime of the cookie in seconds; the maximum for cookies (RFC 6265bis section 5.5)."""


def device(username: str) -> str | None:
    """Return this browser's identifier if this person has signed in here before."""
    name, people = _read()
    return name if _hash(username) in people else None


def remember(response: Response, username: str) -> None:
    """Store in the cookie that this person signed in here. This does not replace the password."""
    name, people = _read()
    people = [_hash(username), *(each for each in people if each != _hash(username))][:MAX_PEOPLE]
    secure = services().settings.issuer.startswith("https://")
    response.set_cookie(
        _cookie_name(),
        _serializer().dumps([name or new_id(), people]),
        max_age=MAX_AGE,
        secure=secure,
        httponly=True,
        samesite="Lax",
    )


def _read() -> tuple[str | None, list[str]]:
    try:
        name, people = _serializer().loads(request.cookies.get(_cookie_name(), ""))
    except (BadSignature, ValueError, TypeError):
        return None, []
    return str(name), list(people)


def _hash(username: str) -> str:
    return digest(normal_username(username))[:16]


def _cookie_name() -> str:
    return f"{current_app.config['SESSION_COOKIE_NAME']}_known"


def _serializer() -> URLSafeSerializer:
    settings = services().settings
    return URLSafeSerializer(settings.secret_key, salt=f"known browser {settings.issuer}")
