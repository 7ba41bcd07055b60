"""A browser's connection and sign-in: the cookie names them, Redis holds them sealed; the browser sees no token."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import session as cookie

from rolecall import trace
from rolecall.storage import Store


class Sessions:
    """Connections, by the secret in Flask's signed cookie."""

    def __init__(self, store: Store, lifetime: int) -> None:
        self._store = store
        self._lifetime = lifetime

    def browser(self) -> str:
        """The secret that binds unfinished flows to this browser."""
        if "browser" not in cookie:
            cookie["browser"] = secrets.token_urlsafe(32)
        return str(cookie["browser"])

    def tokens(self) -> dict[str, Any] | None:
        """The tokens of this browser's connection; None when there is none any more."""
        name = cookie.get("session")
        entry = self._store.get("session", name) if name else None
        return entry["tokens"] if entry else None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let one request of this connection at a time change its tokens: each old refresh token is used once.

        Raises:
            redis.RedisError: Redis does not answer, or another request takes too long.
        """
        name = f"{self._store.key('session', cookie.get('session', ''))}:lock"
        # longer than any request takes; shorter than the grace of the old refresh token (RFC 9700 section 4.14.2), so
        # that a lock which Redis could not take back, when it failed meanwhile, costs no connection
        with self._store.client.lock(name, timeout=7, blocking_timeout=5):
            yield

    def was_connected(self) -> bool:
        """Whether the browser remembers a connection, be it alive or lost."""
        return "session" in cookie

    def begin(self, tokens: dict[str, Any]) -> None:
        """Connect, under a new name: one that was known before is worth nothing."""
        self.end()
        cookie["session"] = secrets.token_urlsafe(32)
        self.keep(tokens)

    def keep(self, tokens: dict[str, Any]) -> None:
        """Store changed tokens."""
        self._store.put("session", cookie["session"], {"tokens": tokens}, self._lifetime)

    def end(self) -> None:
        """Forget the connection. What binds flows that wait in other tabs stays."""
        if name := cookie.pop("session", None):
            self._store.delete("session", name)

    def person(self) -> dict[str, Any] | None:
        """What is known of who is signed in; None when nobody is.

        The ID token's `claims`, `userinfo`, and `request_id`: of the request that brought the answer.
        """
        name = cookie.get("person")
        return self._store.get("person", name) if name else None

    def was_signed_in(self) -> bool:
        """Whether the browser remembers a sign-in, be it alive or lost."""
        return "person" in cookie

    def sign_in(self, claims: dict[str, Any], userinfo: dict[str, Any]) -> None:
        """Sign somebody in, under a new name: one that was known before is worth nothing."""
        self.sign_out()
        cookie["person"] = secrets.token_urlsafe(32)
        known = {"claims": claims, "userinfo": userinfo, "request_id": trace.current()}
        self._store.put("person", cookie["person"], known, self._lifetime)

    def sign_out(self) -> None:
        """Forget who is signed in, here and nowhere else."""
        if name := cookie.pop("person", None):
            self._store.delete("person", name)
