"""Rate limits for sign-in, sign-up, and client authentication (RFC 6749 section 10.10, RFC 9700 section 2.5).

The library `limits` counts in Redis and uses the time of Redis instead of `rolecall.clock`. The limits slow down
guessing and protect the machine; no decision of the protocol depends on them.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import redis
from limits import RateLimitItem, parse
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter

from rolecall import clock
from rolecall.storage import digest

MAX_BLOCKED: Final = 10_000
"""Blocked clients and addresses that a process keeps in memory."""


class TooMany(Exception):
    """A rate limit is exceeded; the next attempt is accepted after `seconds`."""

    def __init__(self, what: str, seconds: int) -> None:
        super().__init__(f"too many attempts: {what}")
        self.what = what
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Limits:
    """The rate limits.

    Args:
        account: sign-in attempts for one account, counted together for all browsers in which the owner never signed
            in, and separately for each browser in which the owner did, so that guessing does not lock the owner out.
        address: sign-in attempts from one address.
        sign_up: new accounts from one address.
        authorization: requests from one address that are stored until a person decides.
        client: failed authentications of one client from one address.
        client_address: failed authentications from one address, for all clients together.
        registration: registrations from one address.
    """

    account: RateLimitItem
    address: RateLimitItem
    sign_up: RateLimitItem
    authorization: RateLimitItem
    client: RateLimitItem
    client_address: RateLimitItem
    registration: RateLimitItem


class Throttles:
    """The counters of the rate limits.

    A person's attempt is counted before it is verified, so that concurrent attempts count as well. For clients, only
    failures are counted: their secrets cannot be guessed, and a successful authentication needs no request to Redis.
    """

    def __init__(self, limits: Limits, client: redis.Redis, prefix: str) -> None:
        storage = RedisStorage("redis://", connection_pool=client.connection_pool, key_prefix=f"{prefix}:throttle")
        self._limiter = FixedWindowRateLimiter(storage)
        self._limits = limits
        self._blocked: OrderedDict[tuple[str | None, str], float] = OrderedDict()
        self._lock = threading.Lock()

    def sign_in(self, username: str, address: str, device: str | None) -> None:
        """Count an attempt to sign in.

        Args:
            device: the identifier of a browser in which this person has signed in before.

        Raises:
            TooMany: reject the attempt without verifying the password.
            redis.RedisError: Redis does not respond.
        """
        self._count("sign-in-address", self._limits.address, network(address))
        self._count("sign-in", self._limits.account, *self._account(username, device))

    def signed_in(self, username: str, device: str | None) -> None:
        """Reset the account's counter after a successful sign-in."""
        self._limiter.clear(self._limits.account, "sign-in", *self._account(username, device))

    def sign_up(self, address: str) -> None:
        """Count a new account.

        Raises:
            TooMany: the limit of this address is exceeded.
            redis.RedisError: Redis does not respond.
        """
        self._count("sign-up", self._limits.sign_up, network(address))

    def authorization(self, address: str) -> None:
        """Count an authorization request that is about to be stored, which uses memory.

        Raises:
            TooMany: the limit of this address is exceeded.
            redis.RedisError: Redis does not respond.
        """
        self._count("authorization", self._limits.authorization, network(address))

    def registration(self, address: str) -> None:
        """Count a client registration or a failed attempt.

        Raises:
            TooMany: the limit of this address is exceeded.
            redis.RedisError: Redis does not respond.
        """
        self._count("registration", self._limits.registration, network(address))

    def client(self, client_id: str | None, address: str) -> None:
        """Reject a client or an address that this process has blocked; this does not query Redis.

        Args:
            client_id: None if the request does not name a client.

        Raises:
            TooMany: reject the request without verifying its credentials.
        """
        source, now = network(address), clock.cache_time()
        until = max(self._blocked.get((each, source), 0.0) for each in (None, client_id))
        if until > now:
            raise TooMany("client", max(1, round(until - now)))

    def client_failed(self, client_id: str | None, address: str) -> None:
        """Count a failed authentication.

        Raises:
            TooMany: this failure exceeds the limit.
            redis.RedisError: Redis does not respond.
        """
        source = network(address)
        self._count_failure(None, source, self._limits.client_address, "client-address", source)
        if client_id:
            self._count_failure(client_id, source, self._limits.client, "client", digest(client_id), source)

    def _count_failure(self, client_id: str | None, source: str, limit: RateLimitItem, what: str, *key: str) -> None:
        try:
            self._count(what, limit, *key)
        except TooMany as error:
            with self._lock:
                self._blocked[(client_id, source)] = clock.cache_time() + error.seconds
                while len(self._blocked) > MAX_BLOCKED:
                    self._blocked.popitem(last=False)
            raise

    def _count(self, what: str, limit: RateLimitItem, *key: str) -> None:
        if not self._limiter.hit(limit, what, *key):
            reset = self._limiter.get_window_stats(limit, what, *key).reset_time
            # the limiter does not know the offset of rolecall.clock
            remaining = reset - (clock.now() - clock.offset())
            raise TooMany(what, max(1, min(round(remaining), limit.get_expiry())))

    @staticmethod
    def _account(username: str, device: str | None) -> tuple[str, str]:
        return digest(username), device or "anywhere"


def network(address: str) -> str:
    """Return the network that an address is counted as: for IPv6 the /64, which one household owns as a whole."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
    return str(parsed)


def limit(text: str) -> RateLimitItem:
    """Parse a number of attempts per period, such as `10/5 minutes`."""
    return parse(text)
