"""What expires, in Redis: each entry under the hash of its secret name, its end judged by our clock."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from typing import Any, Final, cast

import redis
from cryptography.fernet import InvalidToken, MultiFernet
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from rolecall import clock, events

TIMEOUT: Final = 0.8
"""Seconds after which Redis counts as gone."""


class StorageError(Exception):
    """Redis is not fit for use; the text says why and what to do."""


def digest(secret: str) -> str:
    """SHA-256 in hexadecimal: the form in which a secret of 128 bits or more is kept."""
    return hashlib.sha256(secret.encode()).hexdigest()


def connect(
    url: str, *, on_connect: Callable[[redis.connection.AbstractConnection], None] | None = None
) -> redis.Redis:
    """A client for `url` that fails within two seconds and finds Redis again by itself.

    Args:
        on_connect: called with each new connection, to greet it; must call `connection.on_connect()` itself.
    """
    return redis.Redis.from_url(
        url,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        retry=Retry(ConstantBackoff(0.05), 1),
        max_connections=64,
        redis_connect_func=on_connect,
    )


def require_noeviction(client: redis.Redis) -> None:
    """Refuse a Redis that may throw away codes and revocations when it is full.

    Raises:
        StorageError: Redis does not answer, or its policy is another one.
    """
    try:
        policy = _maxmemory_policy(client)
    except redis.RedisError as error:
        raise StorageError(f"Redis does not respond ({error}); start it, or set REDIS_URL to one that runs") from error
    if policy != "noeviction":
        raise StorageError(f"Redis may evict what it holds (maxmemory-policy {policy}); set it to noeviction")


def _maxmemory_policy(client: redis.Redis) -> str:
    return str(client.info("memory").get("maxmemory_policy", "unknown"))


class Store:
    """Entries of one service: `put`, `get`, and the atomic `take` and `claim`.

    Keys are `prefix:kind:{sha256 of the name}`, so the names, which are secrets, stand nowhere, and all keys of one
    entry share a hash slot. Values are JSON objects, sealed when a cipher is given.

    Args:
        client: the connection.
        prefix: the only key prefix that this service may use.
        keep: seconds that Redis keeps an entry after its end.
        cipher: seals values that hold secrets which must be read back.
    """

    def __init__(self, client: redis.Redis, prefix: str, *, keep: int, cipher: MultiFernet | None = None) -> None:
        self.client = client
        self.prefix = prefix
        self._keep = keep
        self._cipher = cipher

    def key(self, kind: str, name: str) -> str:
        """The Redis key of the entry."""
        return f"{self.prefix}:{kind}:{{{digest(name)}}}"

    def redis_ttl(self, lifetime: float) -> int:
        """The TTL for what is valid for `lifetime` seconds more: Redis only empties the bin."""
        return max(1, math.ceil(lifetime) + self._keep)

    def put(self, kind: str, name: str, value: dict[str, Any], lifetime: float) -> None:
        """Keep `value` under the secret `name`; it ends `lifetime` seconds from now."""
        key = self.key(kind, name)
        self.client.set(key, self.dump({**value, "expires_at": clock.now() + lifetime}), ex=self.redis_ttl(lifetime))
        events.note("state", store="redis", key=abbreviated_key(key), change="set", seconds=round(lifetime))

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """The entry, or None when there is none or its time is over."""
        return self._alive(self.client.get(self.key(kind, name)))

    def take(self, kind: str, name: str) -> dict[str, Any] | None:
        """The entry, and it is gone: of several who take it at once only one gets it (GETDEL)."""
        key = self.key(kind, name)
        entry = self._alive(self.client.getdel(key))
        if entry is not None:
            events.note("state", store="redis", key=abbreviated_key(key), change="taken")
        return entry

    def claim(self, kind: str, name: str, lifetime: float) -> bool:
        """Whether nobody claimed the name before: of several who do at once only one hears yes (SET NX)."""
        key = self.key(kind, name)
        claimed = bool(self.client.set(key, b"1", nx=True, ex=self.redis_ttl(lifetime)))
        if claimed:
            events.note("state", store="redis", key=abbreviated_key(key), change="set", seconds=round(lifetime))
        return claimed

    def delete(self, kind: str, name: str) -> None:
        """Remove the entry, if there is one."""
        key = self.key(kind, name)
        if self.client.delete(key):
            events.note("state", store="redis", key=abbreviated_key(key), change="deleted")

    def dump(self, value: dict[str, Any]) -> bytes:
        """A value in the form in which it is kept."""
        text = json.dumps(value, separators=(",", ":")).encode()
        return self._cipher.encrypt(text) if self._cipher else text

    def load(self, raw: bytes) -> dict[str, Any] | None:
        """A kept value; None when it was sealed with a key that we no longer have."""
        if self._cipher:
            try:
                raw = self._cipher.decrypt(raw)
            except InvalidToken:
                return None
        return cast("dict[str, Any]", json.loads(raw))

    def _alive(self, raw: Any) -> dict[str, Any] | None:
        if raw is None:
            return None
        entry = self.load(raw)
        return entry if entry is not None and entry["expires_at"] > clock.now() else None


def abbreviated_key(key: str) -> str:
    """A key as a watcher sees it: the hash cut short."""
    head, _, rest = key.partition("{")
    return f"{head}{rest.rstrip('}')[:8]}…" if rest else key
