"""Rate limits, and limits on the bytes that callers may store in Redis.

The library `limits` counts in Redis and uses the time of Redis instead of `rolecall.clock`. The limits slow down
guessing and protect the machine; no decision of the protocol depends on them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import redis
from flask.typing import ResponseReturnValue
from limits import RateLimitItem, parse
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter

from rolecall import audit, clock
from rolecall.errors import OAuthError, json_response
from rolecall.openapi import ResponseObject, error_body, html
from rolecall.openapi import json_response as json_object
from rolecall.storage import Memory
from rolecall.web.errors import Problem, problem_response, retry_url, wants_page
from rolecall.web.proxies import UNKNOWN, client_address
from rolecall.web.routes import Kind

RESERVE: Final = 0.25
"""The part of Redis that callers who are not signed in cannot use, regardless of what fills the rest."""

RESERVE_WAIT: Final = 30
"""Seconds for `Retry-After` while only the reserve is left."""

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
"""The prefix of IPv4 addresses that were translated to IPv6 (RFC 6052 section 2.1)."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate limit.

    Args:
        name: identifies the limit in Redis and in the audit log, and names its setting.
        default: the allowed amount per period if the setting has no value, such as `10/5 minutes`.
        counts: a description of the counted events or bytes, for the documentation of the setting and of the error
            response.
        title: the title of the error page.
        message: the text of the error response; `{wait}` is replaced with the time until the next attempt.
        unit: the unit of the amount, for example `bytes`.
        status: the status of the error response: 429, or 503 for a limit on all callers together.
        is_joint: whether callers without a known address share a counter, which bounds what they store. Other limits
            do not count them, because one caller could block all of them (RFC 7239 section 6.2).
    """

    name: str
    default: str
    counts: str
    title: str
    message: str
    unit: Literal["attempts", "bytes"] = "attempts"
    status: Literal[429, 503] = 429
    is_joint: bool = False

    @property
    def setting(self) -> str:
        """The name of the setting: `sign_in_limit` for `sign-in`."""
        return f"{self.name.replace('-', '_')}_limit"


class TooMany(Exception):
    """A rate limit is exceeded; the next attempt is accepted after `seconds`."""

    def __init__(self, exceeded: Limit, seconds: int) -> None:
        super().__init__(f"too many {exceeded.unit}: {exceeded.name}")
        self.limit = exceeded
        self.seconds = seconds

    @property
    def message(self) -> str:
        """The text of the response."""
        wait = f"{self.seconds} seconds" if self.seconds < 120 else f"{round(self.seconds / 60)} minutes"
        return self.limit.message.format(wait=wait)


class _Counters(RedisStorage):
    """The library's counters, which would also import the client library of Valkey, and make a slower client."""

    DEPENDENCIES = {"redis": RedisStorage.DEPENDENCIES["redis"]}  # noqa: RUF012  not a ClassVar in the library

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self._client = client
        super().__init__("redis://", connection_pool=client.connection_pool, key_prefix=prefix)

    def get_connection(self, readonly: bool = False) -> Any:  # noqa: ARG002
        return self._client


class Limits:
    """The counters of the rate limits.

    Args:
        rates: the allowed amounts per period, by the names of the settings.
        prefix: the prefix of all Redis keys.
    """

    def __init__(self, rates: Mapping[str, RateLimitItem], client: redis.Redis, prefix: str) -> None:
        self._limiter = FixedWindowRateLimiter(_Counters(client, f"{prefix}:throttle"))
        self._rates = rates

    def count(self, limit: Limit, *key: str, cost: int = 1) -> None:
        """Count an attempt.

        Args:
            key: identifies the party that attempts, such as its `network` or its account.
            cost: how much to count, in the unit of the limit.

        Raises:
            TooMany: the limit is exceeded; reject the attempt without verifying or storing anything.
            redis.RedisError: Redis does not respond.
        """
        if UNKNOWN in key and limit.unit == "attempts" and not limit.is_joint:
            return
        rate = self._rates[limit.setting]
        if not self._limiter.hit(rate, limit.name, *key, cost=cost):
            reset = self._limiter.get_window_stats(rate, limit.name, *key).reset_time
            # the limiter does not know the offset of rolecall.clock
            remaining = reset - (clock.now() - clock.offset())
            raise TooMany(limit, max(1, min(round(remaining), rate.get_expiry())))

    def give_back(self, limit: Limit, *key: str) -> None:
        """Undo the count of an attempt that did not take place after all."""
        self._limiter.hit(self._rates[limit.setting], limit.name, *key, cost=-1)

    def reset(self, limit: Limit, *key: str) -> None:
        """Reset the count of a party after a successful attempt."""
        self._limiter.clear(self._rates[limit.setting], limit.name, *key)


class Budget:
    """The bytes that callers may store in Redis: per address, and in total for callers who are not signed in.

    A period starts with the first entry, so at any time Redis holds the entries of at most two periods, provided that a
    period is at least as long as an entry is stored.

    Args:
        per_address: limits the bytes of each address.
        share: limits the bytes of all callers who are not signed in together.
    """

    def __init__(self, limits: Limits, memory: Memory, per_address: Limit, share: Limit) -> None:
        self._limits = limits
        self._memory = memory
        self._per_address = per_address
        self._share = share

    def spend(self, size: int, address: str | None, *, is_anonymous: bool) -> None:
        """Count an entry before it is stored.

        Args:
            size: the bytes of memory that the entry needs (`Store.cost`).
            is_anonymous: whether the caller is not signed in.

        Raises:
            TooMany: the address, or callers who are not signed in, may not store more; do not store the entry.
            redis.RedisError: Redis does not respond.
        """
        if is_anonymous and self._memory.recent_part() > 1 - RESERVE:
            raise TooMany(self._share, RESERVE_WAIT)
        self._limits.count(self._per_address, network(address), cost=size)
        if is_anonymous:
            self._limits.count(self._share, cost=size)


def network(address: str | None) -> str:
    """Return the network that a client is counted as: for IPv6, the /64, which usually belongs to one household.

    Link-local addresses, and addresses that contain an IPv4 address, are counted individually, because the addresses in
    such a /64 belong to different owners (RFC 4291 section 2.5.5, RFC 4380 section 4, RFC 6052 section 2.1).
    """
    text = client_address(address or "")
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return text
    if isinstance(parsed, ipaddress.IPv4Address) or parsed.is_link_local or int(parsed) >> 64 == 0:
        return text
    if parsed in _NAT64:
        return str(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF))
    if parsed.teredo is not None:
        return str(parsed.teredo[1])
    return str(ipaddress.ip_network((int(parsed), 64), strict=False).network_address)


def limit(text: str) -> RateLimitItem:
    """Parse an amount per period, such as `10/5 minutes`."""
    return parse(text)


def too_many_requests(error: TooMany) -> ResponseReturnValue:
    """Handle `TooMany`: return 429 (RFC 6585 section 4) or 503, with the time to wait."""
    audit.record("throttled", what=error.limit.name)
    status = error.limit.status
    if not wants_page():
        return json_response(
            OAuthError("temporarily_unavailable", error.message, status=status, retry_after=error.seconds)
        )
    links = (("Try again", retry_url()),)
    return problem_response(Problem(status, error.limit.title, error.message, links, retry_after=error.seconds))


def too_many(kind: Kind, *limits: Limit) -> ResponseObject:
    """Describe the 429 response of these rate limits (RFC 6585 section 4)."""
    text = "A rate limit is exceeded. Retry-After has the seconds to wait."
    if kind == "page":
        return with_limits(html(429, text, "Retry-After"), *limits)
    response = json_object(text, error_body("temporarily_unavailable"), "Retry-After", status=429)
    return with_limits(response, *limits)


def with_limits(response: ResponseObject, *limits: Limit) -> ResponseObject:
    """Add these limits to the description of the response."""
    lines = [response.description, *(f"{limit.setting.upper()}: {limit.counts}" for limit in limits)]
    return replace(response, description=" ".join(lines))
