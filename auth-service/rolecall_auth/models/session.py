"""A person's sign-in: the browser's cookie names it, Redis holds it, and it can be ended from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flask import session as cookie

from rolecall import clock
from rolecall.storage import Store
from rolecall_auth.models import new_id, new_secret

ACR: Final = "urn:rolecall:password"
"""The kind of sign-in that there is (`acr`, OpenID Connect Core section 2)."""

AMR: Final = ("pwd",)
"""How it is done (RFC 8176 section 2)."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """Who is signed in, since when (seconds since the epoch), and the session's public name (`sid`)."""

    user_id: str
    username: str
    auth_time: float
    sid: str | None


class Sessions:
    """Sign-ins, by the secret in Flask's signed cookie."""

    def __init__(self, store: Store, lifetime: int) -> None:
        self._store = store
        self._lifetime = lifetime

    def current(self) -> SignIn | None:
        """The sign-in of the browser that asks; None when there is none any more."""
        name = cookie.get("session")
        entry = self._store.get("session", name) if name else None
        return SignIn(entry["user_id"], entry["username"], entry["auth_time"], entry.get("sid")) if entry else None

    def was_signed_in(self) -> bool:
        """Whether the browser remembers a sign-in, be it alive or over; asks nobody."""
        return "session" in cookie

    def begin(self, user_id: str, username: str) -> None:
        """Sign a person in, under a new name: one that was known before is worth nothing."""
        self.end()
        cookie["session"] = new_secret()
        value = {"user_id": user_id, "username": username, "auth_time": clock.now(), "sid": new_id()}
        self._store.put("session", cookie["session"], value, self._lifetime)

    def end(self) -> None:
        """Sign the browser out. What names the browser itself stays, for requests that wait in other tabs."""
        browser = cookie.get("browser")
        if name := cookie.get("session"):
            self._store.delete("session", name)
        cookie.clear()
        if browser:
            cookie["browser"] = browser
