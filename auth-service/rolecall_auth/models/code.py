"""Authorization codes in Redis, consumed atomically and replaced by a tombstone (RFC 6749 section 4.1.2)."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, Final

from authlib.oauth2.rfc6749 import AuthorizationCodeMixin

from rolecall import clock, events
from rolecall.storage import Store, abbreviated_key

TOMBSTONE_LIFETIME: Final = 86400
"""Seconds for which a replay of a used code is recognized."""

# KEYS: code, tombstone (in the same hash slot). ARGV: tombstone, seconds. One round trip.
_TAKE: Final = """
if redis.call('DEL', KEYS[1]) == 0 then
  return 0
end
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
return 1
"""


@dataclass(frozen=True, slots=True)
class AuthorizationCode(AuthorizationCodeMixin):
    """The data of a code or of its tombstone; its authorization already exists in SQL."""

    authorization_id: str
    client_id: str
    redirect_uri: str | None
    scope: str
    resource: str
    code_challenge: str | None
    nonce: str | None = None

    def get_redirect_uri(self) -> str | None:  # type: ignore[override]
        """Return the redirect URI of the authorization request, or None if it had none (RFC 6749 section 4.1.3)."""
        return self.redirect_uri

    def members(self) -> dict[str, Any]:
        """Return the data by name."""
        return {name: getattr(self, name) for name in _MEMBERS}

    def get_scope(self) -> str:
        """Return the granted scope."""
        return self.scope


_MEMBERS: Final = tuple(each.name for each in fields(AuthorizationCode))


class Codes:
    """Codes in `store`, under their hashes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._take = store.client.register_script(_TAKE)

    def put(self, code: str, value: AuthorizationCode, lifetime: int) -> None:
        """Store a new code for `lifetime` seconds."""
        self._store.put("code", code, value.members(), lifetime)

    def find(self, code: str) -> AuthorizationCode | None:
        """Return a code or its tombstone, or None if the code is unknown or expired. Does not consume it."""
        for entry in self._store.client.mget(self._keys(code)):
            if entry is not None:
                return self._load(entry)
        return None

    def take(self, code: str, value: AuthorizationCode) -> bool:
        """Consume the code atomically; exactly one caller gets True."""
        tombstone = {**value.members(), "expires_at": clock.now() + TOMBSTONE_LIFETIME}
        ttl = self._store.redis_ttl(TOMBSTONE_LIFETIME)
        taken = bool(self._take(keys=self._keys(code), args=[json.dumps(tombstone), ttl]))
        change = "taken" if taken else "presented again"
        events.note("state", store="redis", key=abbreviated_key(self._store.key("code", code)), change=change)
        return taken

    def _keys(self, code: str) -> list[str]:
        return [self._store.key(kind, code) for kind in ("code", "code-used")]

    def _load(self, raw: bytes | str) -> AuthorizationCode | None:
        value: dict[str, Any] = json.loads(raw)
        if value.pop("expires_at") <= clock.now():
            return None
        return AuthorizationCode(**value)
