"""Sign-in sessions, stored in Redis and identified by the browser's cookie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flask import session as cookie

from rolecall import clock
from rolecall.storage import Store
from rolecall.web.forms import renew_secret
from rolecall_auth.models import new_id, new_secret

ACR: Final = "urn:rolecall:password"
"""The authentication context class of every sign-in (`acr`, OpenID Connect Core section 2)."""

AMR: Final = ("pwd",)
"""The authentication methods (RFC 8176 section 2)."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """The signed-in user, the time of the sign-in (seconds since the epoch), and the public session ID (`sid`)."""

    user_id: str
    username: str
    auth_time: float
    sid: str | None


class Sessions:
    """Sign-in sessions, under the secret in Flask's signed cookie."""

    def __init__(self, store: Store, lifetime: int) -> None:
        self._store = store
        self._lifetime = lifetime

    def current(self) -> SignIn | None:
        """Return the sign-in of the current browser, or None if it has ended or never existed."""
        name = cookie.get("session")
        entry = self._store.get("session", name) if name else None
        return SignIn(entry["user_id"], entry["username"], entry["auth_time"], entry.get("sid")) if entry else None

    def was_signed_in(self) -> bool:
        """Return whether the cookie contains a session, active or ended. This does not query Redis."""
        return "session" in cookie

    def begin(self, user_id: str, username: str) -> None:
        """Sign a person in with a new session identifier, which prevents session fixation."""
        self.end()
        cookie["session"] = new_secret()
        renew_secret()
        value = {"user_id": user_id, "username": username, "auth_time": clock.now(), "sid": new_id()}
        self._store.put("session", cookie["session"], value, self._lifetime)

    def end(self) -> None:
        """Sign the browser out."""
        if name := cookie.get("session"):
            self._store.delete("session", name)
        cookie.clear()
