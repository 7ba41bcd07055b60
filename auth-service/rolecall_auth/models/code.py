"""Authorization codes in Redis: taken once, in one atomic step, leaving a tombstone (RFC 6749 section 4.1.2)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

from authlib.oauth2.rfc6749 import AuthorizationCodeMixin

from rolecall import clock, events
from rolecall.storage import Store, abbreviated_key

TOMBSTONE_LIFETIME: Final = 86400
"""Seconds for which a code that was used is known to have been used."""

# KEYS: code, tombstone. ARGV: tombstone, seconds. One trip; both share a hash slot.
_TAKE: Final = """
if redis.call('DEL', KEYS[1]) == 0 then
  return 0
end
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
return 1
"""


@dataclass(frozen=True, slots=True)
class AuthorizationCode(AuthorizationCodeMixin):
    """What a code, or the tombstone of one, stands for; its authorization stands in SQL already."""

    authorization_id: str
    client_id: str
    redirect_uri: str | None
    scope: str
    resource: str
    code_challenge: str | None
    nonce: str | None = None

    def get_redirect_uri(self) -> str | None:
        """The one of the authorization request, None when it named none (RFC 6749 section 4.1.3)."""
        return self.redirect_uri

    def get_scope(self) -> str:
        """What was allowed."""
        return self.scope


class Codes:
    """Codes by their hash, in `store`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._take = store.client.register_script(_TAKE)

    def put(self, code: str, value: AuthorizationCode, lifetime: int) -> None:
        """Keep a new code for `lifetime` seconds."""
        self._store.put("code", code, asdict(value), lifetime)

    def find(self, code: str) -> AuthorizationCode | None:
        """The code or its tombstone; None for one that never was or whose time is over. Takes nothing."""
        raw = self._store.client.mget(self._keys(code))
        for entry in raw:
            if entry is not None:
                return self._load(entry)
        return None

    def take(self, code: str, value: AuthorizationCode) -> bool:
        """Use the code up: of all who try, exactly one is told True."""
        tombstone = {**asdict(value), "expires_at": clock.now() + TOMBSTONE_LIFETIME}
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
