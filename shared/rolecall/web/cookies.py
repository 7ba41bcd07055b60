"""Secrets of a browser, each in a separate cookie.

If they shared one cookie, two tabs that are opened at the same time would replace each other's secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from flask import Response, after_this_request, current_app, g, request

from rolecall import clock
from rolecall.storage import digest

MAX_COOKIES: Final = 20
"""Maximum number of cookies of one kind in a browser, for all services of a host; a new one replaces the oldest."""


@dataclass(frozen=True, slots=True)
class BrowserSecrets:
    """Secrets under names that the server chooses.

    A cookie is named after the digest of its secret's name, so that a log of cookie names contains no secret. All
    issuers of a host share the maximum number, because a browser sends all of these cookies to each of them.

    Args:
        kind: part of the names of the cookies.
        lifetime: seconds; None if the browser discards the cookies when it is closed.
    """

    kind: str
    lifetime: int | None

    def get(self, name: str) -> str | None:
        """Return the secret with this name, or None if the browser does not have it."""
        value = self._cookies().get(self._cookie_name(name))
        return value.partition(".")[2] if value else None

    def newest_first(self) -> list[str]:
        """Return all secrets of this kind."""
        cookies = self._cookies()
        return [value.partition(".")[2] for value in sorted(cookies.values(), key=_set_at, reverse=True)]

    def put(self, name: str, secret: str) -> None:
        """Store a secret in the browser, and delete the oldest ones beyond the maximum number."""
        cookies = self._changed_cookies()
        own = self._cookie_name(name)
        cookies.pop(own, None)
        while len(cookies) >= MAX_COOKIES:
            del cookies[min(cookies, key=lambda each: _set_at(cookies[each]))]
        cookies[own] = f"{int(clock.now() * 1000)}.{secret}"

    def delete(self, name: str) -> None:
        """Delete a secret from the browser, if it is there."""
        self._changed_cookies().pop(self._cookie_name(name), None)

    def _cookie_name(self, name: str) -> str:
        return f"{self._prefix}{digest(name)[:16]}"

    @property
    def _prefix(self) -> str:
        return f"{current_app.config['COOKIE_PREFIX']}_{self.kind}_"

    def _received(self) -> dict[str, str]:
        return {name: value for name, value in request.cookies.items() if name.startswith(self._prefix)}

    def _cookies(self) -> dict[str, str]:
        """Return the cookies as they are after the changes that the current request has made."""
        changed: dict[str, str] | None = g.get(f"cookies_{self.kind}")
        return self._received() if changed is None else changed

    def _changed_cookies(self) -> dict[str, str]:
        cookies = self._cookies()
        if f"cookies_{self.kind}" not in g:
            setattr(g, f"cookies_{self.kind}", cookies)
            after_this_request(self._send_changes)
        return cookies

    def _send_changes(self, response: Response) -> Response:
        received, cookies = self._received(), self._cookies()
        attributes: dict[str, Any] = {
            "path": "/",
            "secure": current_app.config["SESSION_COOKIE_SECURE"],
            "httponly": True,
            "samesite": "Lax",
        }
        for name in sorted(received.keys() - cookies.keys()):
            response.delete_cookie(name, **attributes)
        for name, value in cookies.items():
            if received.get(name) != value:
                response.set_cookie(name, value, max_age=self.lifetime, **attributes)
        return response


def _set_at(value: str) -> int:
    """Return when a cookie was set, in milliseconds; a value that this server has not written counts as the oldest."""
    milliseconds = value.partition(".")[0]
    return int(milliseconds) if milliseconds.isascii() and milliseconds.isdigit() and len(milliseconds) < 20 else 0
