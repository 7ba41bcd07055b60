"""Authorization codes in Redis. SQL decides whether a code is used (`authorization.claim`, RFC 6749 section 4.1.2)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

from authlib.oauth2.rfc6749 import AuthorizationCodeMixin

from rolecall import clock
from rolecall.storage import Store

REPLAY_PERIOD: Final = 86400
"""Seconds after its expiry for which a replay of a used code is recognized."""


@dataclass(frozen=True, slots=True)
class AuthorizationCode(AuthorizationCodeMixin):
    """The data of a code, which may be used or expired; its authorization exists in SQL.

    `expires_at` is in seconds since the epoch.
    """

    authorization_id: str
    client_id: str
    redirect_uri: str | None
    scope: str
    resource: str
    code_challenge: str | None
    nonce: str | None
    expires_at: float

    def get_redirect_uri(self) -> str | None:  # type: ignore[override]
        """Return the redirect URI of the authorization request, or None if it had none (RFC 6749 section 4.1.3)."""
        return self.redirect_uri

    def get_scope(self) -> str:
        """Return the granted scope."""
        return self.scope


_MEMBERS: Final = tuple(each.name for each in fields(AuthorizationCode))


class Codes:
    """Codes in `store`, under their hashes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, code: str, value: AuthorizationCode) -> None:
        """Store a new code for as long as its replay must be recognized."""
        members: dict[str, Any] = {name: getattr(value, name) for name in _MEMBERS}
        self._store.put("code", code, members, value.expires_at - clock.now(), keep=REPLAY_PERIOD)

    def find(self, code: str) -> AuthorizationCode | None:
        """Return a code, used or expired or not; None if it is unknown."""
        value = self._store.get("code", code, keep=REPLAY_PERIOD)
        return None if value is None else AuthorizationCode(**value)
