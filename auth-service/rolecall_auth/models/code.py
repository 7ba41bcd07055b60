"""Authorization codes in Redis, where they expire.

SQL decides whether a code is used (`authorization.claim`, RFC 6749 section 4.1.2). It also finds the authorization of a
code that Redis no longer has, because the authorization's id is derived from the code.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, fields
from typing import Any, Final

from authlib.oauth2.rfc6749 import AuthorizationCodeMixin

from rolecall import clock
from rolecall.storage import Store
from rolecall_auth.models import new_secret

REPLAY_PERIOD: Final = 86400
"""Seconds after its expiry for which a replay of a used code is recognized."""


@dataclass(frozen=True, slots=True)
class AuthorizationCode(AuthorizationCodeMixin):
    """The data of a code, which may be used; its authorization exists in SQL.

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


def new_code() -> str:
    """Return a new code. The id of its authorization never starts with a hyphen (see `new_id`)."""
    while authorization_id(code := new_secret()).startswith("-"):
        pass
    return code


def authorization_id(code: str) -> str:
    """Return the id of the authorization that a code belongs to. It does not reveal the code, and is not secret."""
    return base64.urlsafe_b64encode(hashlib.sha256(f"authorization {code}".encode()).digest()[:16]).decode().rstrip("=")


_MEMBERS: Final = tuple(each.name for each in fields(AuthorizationCode))


class Codes:
    """Codes in `store`, under their hashes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, code: str, value: AuthorizationCode) -> None:
        """Store a new code until it expires."""
        members: dict[str, Any] = {name: getattr(value, name) for name in _MEMBERS}
        self._store.put("code", code, members, value.expires_at - clock.now())

    def find(self, code: str) -> AuthorizationCode | None:
        """Return a code that has not expired, but may be used; None if there is none."""
        value = self._store.get("code", code)
        return None if value is None else AuthorizationCode(**value)
