"""Storage in Redis for data that expires.

Keys contain the hash of an entry's secret name. `rolecall.clock` decides when an entry expires.
"""

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

from rolecall import clock, events, metrics
from rolecall.lean_redis import LeanRedis

TIMEOUT: Final = 0.8
"""Seconds to wait for Redis, to connect or to respond."""


FULL: Final = 0.95
"""The fraction of `maxmemory` at which Redis counts as full."""

MEMORY_AGE: Final = 0.5
"""Seconds for which a process reuses the last measurement of Redis's memory."""

MEASURE_INTERVAL: Final = 15.0
"""Seconds between the measurements for the metric."""

OVERHEAD: Final = 500
"""Bytes of an entry in addition to its value: its key, the overhead of Redis, and members that are added later."""


class StorageError(Exception):
    """Redis cannot be used; the message says why and what to do."""


def digest(secret: str) -> str:
    """Return the SHA-256 of a secret in hexadecimal; sufficient for storing secrets of 128 bits or more."""
    return hashlib.sha256(secret.encode()).hexdigest()


def connect(url: str, *, on_connect: Callable[[redis.connection.AbstractConnection], None] | None = None) -> LeanRedis:
    """Return a client that fails within two seconds if Redis is unavailable, and reconnects by itself.

    Args:
        on_connect: called with each new connection; must call `connection.on_connect()` for the handshake.
    """
    pool = redis.ConnectionPool.from_url(
        url,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        retry=Retry(ConstantBackoff(0.05), 1),
        max_connections=64,
        redis_connect_func=on_connect,
    )
    return cast("LeanRedis", LeanRedis.from_pool(pool))


def require_noeviction(client: redis.Redis) -> None:
    """Check that Redis does not evict codes and revocations when its memory is full.

    Raises:
        StorageError: Redis does not respond, or has another `maxmemory-policy`.
    """
    try:
        policy = _maxmemory_policy(client)
    except redis.RedisError as error:
        raise _no_response(error) from error
    if policy != "noeviction":
        raise StorageError(f"Redis may evict data (maxmemory-policy {policy}); set it to noeviction")


def _no_response(error: redis.RedisError) -> StorageError:
    return StorageError(f"Redis does not respond ({error}); start it, or set REDIS_URL to a running server")


def _maxmemory_policy(client: redis.Redis) -> str:
    return str(client.info("memory").get("maxmemory_policy", "unknown"))


class Memory:
    """The fraction of `maxmemory` that Redis uses; 0.0 if Redis has no maximum.

    Args:
        service: the label of the metric, which every measurement updates.
    """

    def __init__(self, client: redis.Redis, service: str) -> None:
        self._client = client
        self._service = service
        self._measured = (-math.inf, 0.0)

    def part(self) -> float:
        """Measure and return the fraction.

        Raises:
            redis.RedisError: Redis does not respond.
        """
        info = self._client.info("memory")
        # Redis does not count its output buffers toward the maximum either
        used, maximum = info["used_memory"] - info.get("mem_not_counted_for_evict", 0), info.get("maxmemory", 0)
        part = used / maximum if maximum else 0.0
        metrics.REDIS_MEMORY.labels(self._service).set(part)
        self._measured = (clock.monotonic(), part)
        return part

    def recent_part(self) -> float:
        """Return a measurement that is at most `MEMORY_AGE` old."""
        measured_at, part = self._measured
        return part if clock.monotonic() - measured_at < MEMORY_AGE else self.part()

    def require_room(self) -> None:
        """Check that Redis is not full.

        Raises:
            StorageError: Redis does not respond, or is full.
        """
        try:
            part = self.part()
        except redis.RedisError as error:
            raise _no_response(error) from error
        if part > FULL:
            raise StorageError(f"Redis is full: it uses {part:.0%} of its maxmemory. Raise maxmemory")


class Store:
    """The entries of one service, with `put`, `get`, and the atomic operations `take` and `claim`.

    Keys have the form `prefix:kind:{sha256 of the name}`, so that the names, which are secrets, are not stored, and all
    keys of an entry share a hash slot. Values are JSON objects, encrypted if there is a cipher.

    Args:
        prefix: the only key prefix that this service may use.
        keep: seconds that Redis keeps an entry after its expiry.
        cipher: encrypts the values, if they contain secrets.
    """

    def __init__(self, client: LeanRedis, prefix: str, *, keep: int, cipher: MultiFernet | None = None) -> None:
        self.client = client
        self.prefix = prefix
        self._keep = keep
        self._cipher = cipher

    def key(self, kind: str, name: str) -> str:
        """Return the Redis key of an entry."""
        return f"{self.prefix}:{kind}:{{{digest(name)}}}"

    def redis_ttl(self, lifetime: float) -> int:
        """Return the TTL for a lifetime, both in seconds; the TTL only removes entries that have expired."""
        return max(1, math.ceil(lifetime) + self._keep)

    def put(self, kind: str, name: str, value: dict[str, Any], lifetime: float) -> None:
        """Store `value` under the secret `name` for `lifetime` seconds."""
        key = self.key(kind, name)
        entry = self.dump({**value, "expires_at": clock.now() + lifetime})
        self.client.set(key, entry, ex=self.redis_ttl(lifetime))
        events.note("state", store="redis", key=abbreviated_key(key), change="set", seconds=round(lifetime))

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return an entry, or None if it does not exist or has expired."""
        return self._alive(self.client.get(self.key(kind, name)))

    def take(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return and delete an entry atomically (GETDEL): only one of several concurrent callers gets it."""
        key = self.key(kind, name)
        entry = self._alive(self.client.getdel(key))
        if entry is not None:
            events.note("state", store="redis", key=abbreviated_key(key), change="taken")
        return entry

    def claim(self, kind: str, name: str, lifetime: float) -> bool:
        """Claim a name atomically (SET NX): only the first of all callers gets True."""
        key = self.key(kind, name)
        claimed = bool(self.client.set(key, b"1", nx=True, ex=self.redis_ttl(lifetime)))
        if claimed:
            events.note("state", store="redis", key=abbreviated_key(key), change="set", seconds=round(lifetime))
        return claimed

    def delete(self, kind: str, name: str) -> None:
        """Delete an entry, if it exists."""
        key = self.key(kind, name)
        if self.client.delete(key):
            events.note("state", store="redis", key=abbreviated_key(key), change="deleted")

    def dump(self, value: dict[str, Any]) -> bytes:
        """Serialize a value, and encrypt it if there is a cipher."""
        text = compact_json(value)
        return self._cipher.encrypt(text) if self._cipher else text

    def cost(self, value: dict[str, Any]) -> int:
        """Return the approximate memory in bytes that Redis needs for an entry; it rounds up by a quarter at most."""
        return len(self.dump(value)) * 5 // 4 + OVERHEAD

    def load(self, raw: bytes) -> dict[str, Any] | None:
        """Reverse `dump`; return None if the value was encrypted with a key that is no longer configured."""
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


def compact_json(value: Any) -> bytes:
    """Return JSON in UTF-8, without whitespace and with only the escapes that JSON requires."""
    # JSON from other servers may contain a lone surrogate; json.loads accepts it in this form
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def abbreviated_key(key: str) -> str:
    """Return a key with its hash shortened, for display."""
    head, _, rest = key.partition("{")
    return f"{head}{rest.rstrip('}')[:8]}…" if rest else key
