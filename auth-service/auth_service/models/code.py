"""Authorization codes in Redis: taken once, in one atomic step, leaving a tombstone (RFC 6749 section 4.1.2)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

from authlib.oauth2.rfc6749 import AuthorizationCodeMixin

from rolecall import clock, events
from rolecall.storage import Store, shown

TOMBSTONE_LIFETIME: Final = 86400
"""Seconds for which a code that was used is known to have been used."""

# KEYS: code, tombstone, mark. ARGV: tombstone, seconds. One trip; all three share a hash slot.
_TAKE: Final = """
if redis.call('DEL', KEYS[1]) == 1 then
  redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
  return 1
end
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('SET', KEYS[3], '1', 'EX', ARGV[2])
end
return 0
"""


@dataclass(frozen=True, slots=True)
class AuthorizationCode(AuthorizationCodeMixin):
    """What a code stands for. `authorization_id` is set once it was taken: then it is a tombstone."""

    client_id: str
    user_id: str
    redirect_uri: str | None
    scope: str
    resource: str
    code_challenge: str | None
    auth_time: float
    authorization_id: str | None = None

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
        raw = self._store.client.mget([self._store.key(kind, code) for kind in ("code", "code-used")])
        for entry in raw:
            if entry is not None:
                return self._load(entry)
        return None

    def take(self, code: str, value: AuthorizationCode, authorization_id: str) -> bool:
        """Use the code up for the authorization that is about to be made.

        Of all who try, exactly one is told True; every other one leaves the mark that it was presented again.
        """
        tombstone = {
            **asdict(value),
            "authorization_id": authorization_id,
            "expires_at": clock.now() + TOMBSTONE_LIFETIME,
        }
        ttl = self._store.bin_seconds(TOMBSTONE_LIFETIME)
        taken = bool(self._take(keys=self._keys(code), args=[json.dumps(tombstone), ttl]))
        change = "taken" if taken else "presented again"
        events.note("state", store="redis", key=shown(self._store.key("code", code)), change=change)
        return taken

    def was_replayed(self, code: str) -> bool:
        """Whether somebody presented the code again since it was taken."""
        return bool(self._store.client.exists(self._store.key("code-replayed", code)))

    def _keys(self, code: str) -> list[str]:
        return [self._store.key(kind, code) for kind in ("code", "code-used", "code-replayed")]

    def _load(self, raw: bytes | str) -> AuthorizationCode | None:
        value: dict[str, Any] = json.loads(raw)
        if value.pop("expires_at") <= clock.now():
            return None
        return AuthorizationCode(**value)
