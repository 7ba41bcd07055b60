"""How often one may try: sign-in, sign-up and client authentication (RFC 6749 section 10.10, RFC 9700 section 2.5).

Counted in Redis by the library `limits`, and by Redis's own time: this slows guessing and protects the machine; no
decision of the protocol hangs on it.
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
"""Clients and addresses that a process remembers as blocked."""


class TooMany(Exception):
    """Somebody tried too often; `seconds` until the next attempt is looked at."""

    def __init__(self, what: str, seconds: int) -> None:
        super().__init__(f"too many attempts: {what}")
        self.what = what
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Limits:
    """What is allowed.

    Args:
        account: sign-in attempts for one account, from browsers in which its owner never signed in; and as many more
            from each browser in which the owner did: a guesser does not lock the owner out.
        address: sign-in attempts from one address.
        sign_up: new accounts from one address.
        authorization: requests from one address that are kept until a person has decided.
        client: failed authentications of one client from one address.
        client_address: failed authentications from one address, whichever client it says it is.
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
    """The counters. A person's attempt is counted before it is looked at, so that parallel ones count as well.

    Of programs only failures are counted: their secrets cannot be guessed, and a good one costs no question to Redis.
    """

    def __init__(self, limits: Limits, client: redis.Redis, prefix: str) -> None:
        storage = RedisStorage("redis://", connection_pool=client.connection_pool, key_prefix=f"{prefix}:throttle")
        self._limiter = FixedWindowRateLimiter(storage)
        self._limits = limits
        self._blocked: OrderedDict[tuple[str | None, str], float] = OrderedDict()
        self._lock = threading.Lock()

    def sign_in(self, username: str, address: str, device: str | None) -> None:
        """Count an attempt to sign in; `device` is a browser's that has signed in as this person before.

        Raises:
            TooMany: this one is not to be looked at.
            redis.RedisError: Redis does not answer.
        """
        self._count("sign-in-address", self._limits.address, network(address))
        self._count("sign-in", self._limits.account, *self._account(username, device))

    def signed_in(self, username: str, device: str | None) -> None:
        """The attempt was good: those before it are forgiven."""
        self._limiter.clear(self._limits.account, "sign-in", *self._account(username, device))

    def sign_up(self, address: str) -> None:
        """Count a new account.

        Raises:
            TooMany: no more from there for now.
            redis.RedisError: Redis does not answer.
        """
        self._count("sign-up", self._limits.sign_up, network(address))

    def authorization(self, address: str) -> None:
        """Count a request that is about to be kept: memory is not to be had for the asking.

        Raises:
            TooMany: no more from there for now.
            redis.RedisError: Redis does not answer.
        """
        self._count("authorization", self._limits.authorization, network(address))

    def registration(self, address: str) -> None:
        """Count a client that is about to be registered, or an attempt.

        Raises:
            TooMany: no more from there for now.
            redis.RedisError: Redis does not answer.
        """
        self._count("registration", self._limits.registration, network(address))

    def client(self, client_id: str | None, address: str) -> None:
        """Refuse a client, or an address, that failed too often. Costs no question to Redis: this process remembers.

        Args:
            client_id: None for somebody who names no client.

        Raises:
            TooMany: its credentials are not to be looked at.
        """
        place, now = network(address), clock.cache_time()
        until = max(self._blocked.get((each, place), 0.0) for each in (None, client_id))
        if until > now:
            raise TooMany("client", max(1, round(until - now)))

    def client_failed(self, client_id: str | None, address: str) -> None:
        """Count a failed authentication.

        Raises:
            TooMany: it was one too many.
            redis.RedisError: Redis does not answer.
        """
        place = network(address)
        self._count_failure(None, place, self._limits.client_address, "client-address", place)
        if client_id:
            self._count_failure(client_id, place, self._limits.client, "client", digest(client_id), place)

    def _count_failure(self, client_id: str | None, place: str, limit: RateLimitItem, what: str, *who: str) -> None:
        try:
            self._count(what, limit, *who)
        except TooMany as error:
            with self._lock:
                self._blocked[(client_id, place)] = clock.cache_time() + error.seconds
                while len(self._blocked) > MAX_BLOCKED:
                    self._blocked.popitem(last=False)
            raise

    def _count(self, what: str, limit: RateLimitItem, *who: str) -> None:
        if not self._limiter.hit(limit, what, *who):
            reset = self._limiter.get_window_stats(limit, what, *who).reset_time
            # its own clock set that time
            left = reset - (clock.now() - clock.offset())
            raise TooMany(what, max(1, min(round(left), limit.get_expiry())))

    @staticmethod
    def _account(username: str, device: str | None) -> tuple[str, str]:
        return digest(username), device or "anywhere"


def network(address: str) -> str:
    """An address as it is counted: for IPv6 its network of 64 bits, of which one household has all."""
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
    """A number of attempts in a time, such as `10/5 minutes`."""
    return parse(text)
