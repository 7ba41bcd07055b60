"""Browsers in which a person has signed in before: guessers elsewhere do not use up the attempts of these."""

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
"""Of one browser; who signed in last stays."""

MAX_AGE: Final = 400 * 86400
"""Seconds: the longest that browsers keep a cookie (RFC 6265bis section 5.5)."""


def device(username: str) -> str | None:
    """This browser's name, if this person has signed in here before."""
    name, people = _read()
    return name if _mark(username) in people else None


def remember(response: Response, username: str) -> None:
    """Let the browser show that this person signed in here. It opens nothing: a password is asked for all the same."""
    name, people = _read()
    people = [_mark(username), *(each for each in people if each != _mark(username))][:MAX_PEOPLE]
    secure = services().settings.issuer.startswith("https://")
    response.set_cookie(
        _cookie(),
        _serializer().dumps([name or new_id(), people]),
        max_age=MAX_AGE,
        secure=secure,
        httponly=True,
        samesite="Lax",
    )


def _read() -> tuple[str | None, list[str]]:
    try:
        name, people = _serializer().loads(request.cookies.get(_cookie(), ""))
    except (BadSignature, ValueError, TypeError):
        return None, []
    return str(name), list(people)


def _mark(username: str) -> str:
    return digest(normal_username(username))[:16]


def _cookie() -> str:
    return f"{current_app.config['SESSION_COOKIE_NAME']}_known"


def _serializer() -> URLSafeSerializer:
    return URLSafeSerializer(services().settings.secret_key, salt="known browser")
