"""Protection of forms against other sites: Flask-WTF's tokens, in a browser that opens several pages in parallel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from secrets import token_hex
from typing import Final

from flask import Flask, request, session
from flask_wtf.csrf import CSRFError, CSRFProtect, generate_csrf

from rolecall.web.cookies import BrowserSecrets

_FIELD: Final = "csrf_token"
"""The name of Flask-WTF's secret in the session, and of its token in a form."""

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

_SECRETS: Final = BrowserSecrets("form", lifetime=None)


class FormProtection(CSRFProtect):  # type: ignore[misc]
    """Flask-WTF's protection, which stores the secret outside the session cookie if the browser is not signed in.

    When a new browser opens two pages at the same time, the response that arrives later replaces the session cookie,
    and with it the secret of the other page. Therefore, each of these secrets has a separate cookie, and a token may
    match any of them. A session with its own secret accepts only that one (see `renew_secret`).
    """

    def init_app(self, app: Flask) -> None:
        """Register the check before requests, and `csrf_token()` for templates."""
        super().init_app(app)
        app.jinja_env.globals[_FIELD] = form_token
        app.context_processor(lambda: {_FIELD: form_token})

    def protect(self, apply_exemptions: bool = False) -> None:
        """Check the token of the current request.

        Raises:
            CSRFError: it is missing, or matches no secret of this browser.
        """
        if apply_exemptions and (request.method in _SAFE or request.endpoint is None or self._is_exempt()):
            return
        for secret in _SECRETS.newest_first():
            if _FIELD in session:
                break
            with _in_session(secret), suppress(CSRFError):
                super().protect(apply_exemptions)
                return
        super().protect(apply_exemptions)


def form_token() -> str:
    """Return the token for the forms of a page."""
    if _FIELD in session:
        return str(generate_csrf())
    secrets = _SECRETS.newest_first()
    if not secrets:
        secrets = [token_hex(20)]
        _SECRETS.put(secrets[0], secrets[0])
    with _in_session(secrets[0]):
        return str(generate_csrf())


def renew_secret() -> None:
    """Give a new session its own secret; tokens of pages from before it began are no longer accepted."""
    session[_FIELD] = token_hex(20)


@contextmanager
def _in_session(secret: str) -> Iterator[None]:
    """Let Flask-WTF find a secret in the session, without storing it there."""
    was_modified = session.modified
    session[_FIELD] = secret
    try:
        yield
    finally:
        del session[_FIELD]
        session.modified = was_modified
