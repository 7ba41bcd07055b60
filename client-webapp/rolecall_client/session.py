"""The connection and the sign-in of a browser: encrypted in Redis under random names from the session cookie."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import request
from flask import session as cookie

from rolecall import trace
from rolecall.limits import Budget, Limits, network
from rolecall.storage import Store
from rolecall_client.limits import SESSION


class Sessions:
    """Connections and sign-ins, found through secrets in Flask's signed session cookie."""

    def __init__(self, store: Store, lifetime: int) -> None:
        self._store = store
        self._lifetime = lifetime

    def tokens(self) -> dict[str, Any] | None:
        """Return the tokens of this browser's connection, or None if it is not connected."""
        name = cookie.get("session")
        entry = self._store.get("session", name) if name else None
        return entry["tokens"] if entry else None

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock of this connection: one request at a time may change its tokens.

        Without it, two requests could use the same refresh token, which would revoke the connection.

        Raises:
            redis.RedisError: Redis is unavailable, or another request holds the lock for too long.
        """
        name = f"{self._store.key('session', cookie.get('session', ''))}:lock"
        # The timeout is longer than any request takes, and shorter than the grace period of the old refresh token
        # (RFC 9700 section 4.14.2): if Redis fails before the lock is released, the connection survives.
        with self._store.client.lock(name, timeout=7, blocking_timeout=5):
            yield

    def was_connected(self) -> bool:
        """Return whether the cookie names a connection, even if it no longer exists."""
        return "session" in cookie

    def begin(self, tokens: dict[str, Any]) -> None:
        """Store a new connection under a new name, and delete the old entry."""
        self.end()
        cookie["session"] = secrets.token_urlsafe(32)
        self.save(tokens)

    def save(self, tokens: dict[str, Any]) -> None:
        """Store the changed tokens of the connection."""
        self._store.put("session", cookie["session"], {"tokens": tokens}, self._lifetime)

    def end(self) -> None:
        """Delete the connection."""
        if name := cookie.pop("session", None):
            self._store.delete("session", name)

    def user(self) -> dict[str, Any] | None:
        """Return the signed-in user, or None.

        The members are the ID token's `claims`, `userinfo` (None if the server has no such endpoint), `id_token`, and
        `request_id`, the ID of the request that signed in.
        """
        name = cookie.get("person")
        return self._store.get("person", name) if name else None

    def was_signed_in(self) -> bool:
        """Return whether the cookie names a sign-in, even if it no longer exists."""
        return "person" in cookie

    def sign_in(self, claims: dict[str, Any], userinfo: dict[str, Any] | None, id_token: str) -> None:
        """Store a new sign-in under a new name, and delete the old entry."""
        self.sign_out()
        cookie["person"] = secrets.token_urlsafe(32)
        user = {"claims": claims, "userinfo": userinfo, "id_token": id_token, "request_id": trace.current()}
        self._store.put("person", cookie["person"], user, self._lifetime)

    def sign_out(self) -> None:
        """Delete the sign-in; the session at the authorization server remains."""
        if name := cookie.pop("person", None):
            self._store.delete("person", name)


class Allowance:
    """The amount of data that the current browser may still store."""

    def __init__(self, sessions: Sessions, limits: Limits, budget: Budget) -> None:
        self._sessions = sessions
        self._limits = limits
        self._budget = budget

    def spend(self, size: int) -> None:
        """Count an entry of an unfinished flow before it is stored; `size` is in bytes.

        Raises:
            TooMany: do not store the entry.
        """
        is_anonymous = self._sessions.user() is None and self._sessions.tokens() is None
        self._budget.spend(size, request.remote_addr, is_anonymous=is_anonymous)

    def count_session(self) -> None:
        """Count a new connection or sign-in before the code is redeemed.

        Raises:
            TooMany: do not redeem the code.
        """
        self._limits.count(SESSION, network(request.remote_addr))
