"""Rate limits for sign-in, sign-up, and client authentication (RFC 6749 section 10.10, RFC 9700 section 2.5).

The library `limits` counts in Redis and uses the time of Redis instead of `rolecall.clock`. The limits slow down
guessing and protect the machine; no decision of the protocol depends on them.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Mapping
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


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate limit.

    Args:
        name: identifies the limit in Redis and in the audit log, and names its setting.
        default: the number of attempts per period if the setting has no value, such as `10/5 minutes`.
        counts: what is counted; the documentation of the setting and of the 429 response.
        title: the title of the error page.
        message: the text of the 429 response; `{wait}` is replaced with the time until the next attempt.
    """

    name: str
    default: str
    counts: str
    title: str
    message: str

    @property
    def setting(self) -> str:
        """The name of the setting: `sign_in_limit` for `sign-in`."""
        return f"{self.name.replace('-', '_')}_limit"


_GUESSING: Final = (
    "To protect accounts from password guessing, sign-in is paused here. Try again in {wait}. Your account is not "
    "locked. If these attempts were not yours, someone may have tried to guess your password; it has not changed."
)

SIGN_IN: Final = Limit(
    "sign-in",
    "10/5 minutes",
    "Sign-in attempts for one account: from all new browsers together, and from each browser used before.",
    "Too many attempts",
    _GUESSING,
)
SIGN_IN_ADDRESS: Final = Limit(
    "sign-in-address", "60/minute", "Sign-in attempts from one address.", "Too many attempts", _GUESSING
)
SIGN_UP: Final = Limit(
    "sign-up",
    "10/hour",
    "New accounts from one address.",
    "Too many new accounts",
    "Too many accounts have been created from this address. Try again in {wait}. "
    "If you already have an account, you can still sign in.",
)
AUTHORIZATION: Final = Limit(
    "authorization",
    "300/minute",
    "Authorization requests from one address that wait for a person.",
    "Too many requests",
    "Too many apps have requested access from this address. Try again in {wait}.",
)
ACCOUNT_AUTHORIZATION: Final = Limit(
    "account-authorization",
    "60/minute",
    "Authorizations that one account gives to apps, with and without a consent page.",
    "Too many requests",
    "Apps have been given access to your account too often. Try again in {wait}.",
)
CLIENT: Final = Limit(
    "client",
    "60/minute",
    "Failed authentications of one client or resource from one address.",
    "Too many attempts",
    "Too many failed attempts. Try again in {wait}.",
)
CLIENT_ADDRESS: Final = Limit(
    "client-address",
    "300/minute",
    "Failed authentications from one address, for all clients and resources together.",
    "Too many attempts",
    "Too many failed attempts from this address. Try again in {wait}.",
)
REGISTRATION: Final = Limit(
    "registration",
    "30/hour",
    "Client registrations from one address.",
    "Too many requests",
    "Too many clients have been registered from this address. Try again in {wait}.",
)

LIMITS: Final = (
    SIGN_IN,
    SIGN_IN_ADDRESS,
    SIGN_UP,
    AUTHORIZATION,
    ACCOUNT_AUTHORIZATION,
    CLIENT,
    CLIENT_ADDRESS,
    REGISTRATION,
)
"""All rate limits. The settings, the lab's defaults, and the documentation have one entry for each row."""


class TooMany(Exception):
    """A rate limit is exceeded; the next attempt is accepted after `seconds`."""

    def __init__(self, exceeded: Limit, seconds: int) -> None:
        super().__init__(f"too many attempts: {exceeded.name}")
        self.limit = exceeded
        self.seconds = seconds

    @property
    def message(self) -> str:
        """The text of the response."""
        wait = f"{self.seconds} seconds" if self.seconds < 120 else f"{round(self.seconds / 60)} minutes"
        return self.limit.message.format(wait=wait)


class Limits:
    """The counters of the rate limits.

    A person's attempt is counted before it is verified, so that concurrent attempts count as well. For clients, only
    failures are counted: their secrets cannot be guessed, and a successful authentication needs no request to Redis.

    Args:
        rates: the allowed attempts per period, by the names of the settings.
        prefix: the prefix of all Redis keys.
    """

    def __init__(self, rates: Mapping[str, RateLimitItem], client: redis.Redis, prefix: str) -> None:
        storage = RedisStorage("redis://", connection_pool=client.connection_pool, key_prefix=f"{prefix}:throttle")
        self._limiter = FixedWindowRateLimiter(storage)
        self._rates = rates
        self._blocked: OrderedDict[tuple[str | None, str], float] = OrderedDict()
        self._lock = threading.Lock()

    def count(self, limit: Limit, *key: str) -> None:
        """Count an attempt.

        Args:
            key: identifies the party that attempts, such as its network or its account.

        Raises:
            TooMany: the limit is exceeded; reject the attempt without verifying anything.
            redis.RedisError: Redis does not respond.
        """
        rate = self._rates[limit.setting]
        if not self._limiter.hit(rate, limit.name, *key):
            reset = self._limiter.get_window_stats(rate, limit.name, *key).reset_time
            # the limiter does not know the offset of rolecall.clock
            remaining = reset - (clock.now() - clock.offset())
            raise TooMany(limit, max(1, min(round(remaining), rate.get_expiry())))

    def reset(self, limit: Limit, *key: str) -> None:
        """Forget the attempts of a party, after a successful one."""
        self._limiter.clear(self._rates[limit.setting], limit.name, *key)

    def refuse_blocked_client(self, client_id: str | None, address: str | None) -> None:
        """Reject a client or an address that this process has blocked; this does not query Redis.

        Args:
            client_id: None if the request does not name a client.

        Raises:
            TooMany: reject the request without verifying its credentials.
        """
        source, now = network(address), clock.cache_time()
        until = max(self._blocked.get((each, source), 0.0) for each in (None, client_id))
        if until > now:
            raise TooMany(CLIENT, max(1, round(until - now)))

    def count_client_failure(self, client_id: str | None, address: str | None) -> None:
        """Count a failed authentication, and block the client or the address if it exceeds the limit.

        Raises:
            TooMany: this failure exceeds the limit.
            redis.RedisError: Redis does not respond.
        """
        source = network(address)
        self._count_failure(CLIENT_ADDRESS, None, source, source)
        if client_id:
            self._count_failure(CLIENT, client_id, source, digest(client_id), source)

    def _count_failure(self, limit: Limit, client_id: str | None, source: str, *key: str) -> None:
        try:
            self.count(limit, *key)
        except TooMany as error:
            with self._lock:
                self._blocked[(client_id, source)] = clock.cache_time() + error.seconds
                while len(self._blocked) > MAX_BLOCKED:
                    self._blocked.popitem(last=False)
            raise


def account(username: str, device: str | None) -> tuple[str, str]:
    """Return the key of an account.

    Args:
        device: the identifier of a browser in which this person has signed in before. It has a counter, so that
            guessing in other browsers does not lock the owner out.
    """
    return digest(username), device or "anywhere"


def network(address: str | None) -> str:
    """Return the network that an address is counted as: for IPv6 the /64, which one household owns as a whole."""
    try:
        parsed = ipaddress.ip_address(address or "")
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
