"""The rate limits of the authorization server (RFC 6749 section 10.10, RFC 9700 section 2.5)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import redis
from limits import RateLimitItem

from rolecall import clock, limits
from rolecall.limits import Limit, TooMany, network
from rolecall.storage import digest

MAX_BLOCKED: Final = 10_000
"""Maximum number of blocked clients and addresses that a process keeps in memory."""

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
    is_joint=True,
)
AUTHORIZATION: Final = Limit(
    "authorization",
    "300/minute",
    "Authorization requests from one address that wait for a user.",
    "Too many requests",
    "Too many authorization requests came from this address. Try again in {wait}.",
)
AUTHORIZATION_BYTES: Final = Limit(
    "authorization-bytes",
    "4000000/16 minutes",
    "Bytes of pending authorization requests from one address.",
    "Too many requests",
    "Too many authorization requests came from this address. Try again in {wait}.",
    unit="bytes",
)
ANONYMOUS_BYTES: Final = Limit(
    "anonymous-bytes",
    "30000000/16 minutes",
    "Bytes of pending authorization requests of all users who are not signed in, together.",
    "The server is busy",
    "Too many people are signing in at the moment. Try again in {wait}.",
    unit="bytes",
    status=503,
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
ASSERTION_BYTES: Final = Limit(
    "assertion-bytes",
    "8000000/hour",
    "Bytes of used client assertions from one address: 250 for one that is valid for an hour, fewer for a shorter one.",
    "Too many requests",
    "Too many client assertions were used at this address. Try again in {wait}, or let assertions expire sooner.",
    unit="bytes",
)
REGISTRATION: Final = Limit(
    "registration",
    "30/hour",
    "Client registrations from one address.",
    "Too many requests",
    "Too many clients have been registered from this address. Try again in {wait}.",
    is_joint=True,
)

LIMITS: Final = (
    SIGN_IN,
    SIGN_IN_ADDRESS,
    SIGN_UP,
    AUTHORIZATION,
    AUTHORIZATION_BYTES,
    ANONYMOUS_BYTES,
    ACCOUNT_AUTHORIZATION,
    CLIENT,
    CLIENT_ADDRESS,
    ASSERTION_BYTES,
    REGISTRATION,
)
"""All rate limits. The settings, the lab's defaults, and the documentation have one entry for each row."""


class Limits(limits.Limits):
    """The counters, and the clients and addresses that have failed too often.

    A person's attempt is counted before it is verified, so that concurrent attempts count as well. For clients, only
    failures are counted, after the verification: a secret of 128 bits or more cannot be guessed, so the correct one is
    accepted however many others have failed, and a successful authentication needs no request to Redis. Verifying is
    cheap: a SHA-256 hash for a secret, and a signature for an assertion, whose keys are fetched at most twice in
    `outbound.cache.MIN_LIFETIME`.
    """

    def __init__(self, rates: Mapping[str, RateLimitItem], client: redis.Redis, prefix: str) -> None:
        super().__init__(rates, client, prefix)
        self._blocked: OrderedDict[tuple[str | None, str], float] = OrderedDict()
        self._lock = threading.Lock()

    def count_client_failure(self, client_id: str | None, address: str | None) -> None:
        """Count a failed authentication, and block the client or the address if it exceeds the limit.

        Failures of a blocked client or address are rejected without a request to Redis.

        Args:
            client_id: None if the request does not name a client.

        Raises:
            TooMany: this failure exceeds the limit.
            redis.RedisError: Redis does not respond.
        """
        source, now = network(address), clock.cache_time()
        until = max(self._blocked.get((each, source), 0.0) for each in (None, client_id))
        if until > now:
            raise TooMany(CLIENT, max(1, round(until - now)))
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
        device: the identifier of a browser in which this person has signed in before. It has its own counter, so that
            guessing in other browsers does not lock the owner out.
    """
    return digest(username), device or "anywhere"
