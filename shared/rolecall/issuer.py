"""Caches for the metadata (RFC 8414) and the signing keys (RFC 7517) of one authorization server."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import jwt

from rolecall import clock
from rolecall.checks import Check
from rolecall.errors import OAuthError
from rolecall.http import HttpClient, HttpResponse, Unreachable, metadata_url

log = logging.getLogger(__name__)

MIN_LIFETIME: Final = 10.0
MAX_LIFETIME: Final = 3600.0
"""Bounds in seconds of the lifetime that Cache-Control sets; the lower bound applies without max-age."""

RETRY_WITH_VALUE: Final = 10.0
RETRY_WITHOUT_VALUE: Final = 1.0
"""Seconds between a failed fetch and the next one, depending on whether an older value is available."""

REFETCH_AFTER: Final = 10.0
"""Seconds between two fetches of a key set that are caused by unknown key IDs."""

_ALGORITHMS: Final[Mapping[tuple[Any, Any], tuple[str, ...]]] = {
    ("RSA", None): ("RS256", "PS256"),
    ("EC", "P-256"): ("ES256",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
"""The algorithms of keys without `alg`, by `kty` and `crv` (RFC 7518 section 3.1, RFC 8037 section 3.1)."""

_MAX_AGE: Final = re.compile(r"max-age=(\d{1,9})")

T = TypeVar("T")


class _Cache(Generic[T]):
    """A fetched value. One thread fetches at a time; threads that can use the old value do not wait for it.

    Args:
        fetch: returns the value and its lifetime in seconds; raises Unreachable or OAuthError.
        refetch_after: seconds from one fetch to the next if the value is fresh but not sufficient.
    """

    def __init__(self, fetch: Callable[[], tuple[T, float]], refetch_after: float = REFETCH_AFTER) -> None:
        self._fetch = fetch
        self._refetch_after = refetch_after
        self._lock = threading.Lock()
        self._fetched_at = self._stale_at = float("-inf")
        self._failure: Unreachable | OAuthError | None = None
        self.value: T | None = None

    def get(self, is_sufficient: Callable[[T], bool] = bool) -> T:
        """Return the value, fetched again if it is stale or not sufficient.

        If the last fetch succeeded, the value is returned even if it is not sufficient.

        Raises:
            Unreachable, OAuthError: the last fetch failed, and the older value, if any, is not sufficient.
        """
        value = self.value
        if value is None or not is_sufficient(value):
            with self._lock:
                return self._refreshed(is_sufficient)
        if clock.cache_time() >= self._stale_at and self._lock.acquire(blocking=False):
            try:
                return self._refreshed(is_sufficient)
            finally:
                self._lock.release()
        return value

    def _refreshed(self, is_sufficient: Callable[[T], bool]) -> T:
        now = clock.cache_time()
        if now >= self._stale_at or (now >= self._fetched_at + self._refetch_after and not self._has(is_sufficient)):
            self._refresh(now)
        if self._failure is not None and not self._has(is_sufficient):
            raise _copy(self._failure)
        assert self.value is not None
        return self.value

    def _refresh(self, now: float) -> None:
        try:
            self.value, lifetime = self._fetch()
            self._failure = None
        except (Unreachable, OAuthError) as error:
            log.warning("authorization server metadata or keys could not be fetched", extra={"detail": str(error)})
            self._failure = _copy(error)
            now = clock.cache_time()  # the fetch may have waited for a timeout
            lifetime = RETRY_WITH_VALUE if self.value else RETRY_WITHOUT_VALUE
        self._fetched_at, self._stale_at = now, now + lifetime

    def _has(self, is_sufficient: Callable[[T], bool]) -> bool:
        return self.value is not None and is_sufficient(self.value)


class CachedMetadata(Generic[T]):
    """The metadata of an authorization server; older metadata remain in use while it is unavailable.

    Args:
        parse: selects the members that the service uses; raises KeyError if a member is missing.
        is_issuer: the service's check that the metadata name the expected issuer (RFC 8414 section 3.3).
        backchannel_url: the issuer's address from here, if it differs.
    """

    def __init__(
        self,
        http: HttpClient,
        issuer: str,
        parse: Callable[[dict[str, Any]], T],
        *,
        is_issuer: Check,
        backchannel_url: str | None = None,
    ) -> None:
        self._http = http
        self._url = metadata_url(issuer, backchannel_url)
        self._issuer = issuer
        self._parse = parse
        self._is_issuer = is_issuer
        self._cache = _Cache(self._fetch)

    def get(self) -> T:
        """Return the metadata.

        Raises:
            Unreachable: the metadata have never been fetched, and the last fetch failed.
            OAuthError: the same, because the metadata name another issuer.
        """
        return self._cache.get()

    def _fetch(self) -> tuple[T, float]:
        response = _get(self._http, self._url)
        try:
            document = response.json()
            actual = document.get("issuer")
            self._is_issuer(actual == self._issuer, expected=self._issuer, actual=str(actual)[:200])
            return self._parse(document), _lifetime(response)
        except (ValueError, KeyError) as error:
            raise Unreachable(self._url, "the response is not authorization server metadata") from error


class CachedKeys:
    """The published signing keys of an authorization server; older keys remain in use while it is unavailable.

    `kid` and `alg` are optional in a key and in a token's header (RFC 7517 sections 4.4 and 4.5, RFC 7515 section
    4.1.4). Without them, a key is used if it is the only one that fits.

    Args:
        url: returns the address of the key set; may raise Unreachable or OAuthError.
        algorithms: the accepted algorithms; keys for others are ignored.
        max_lifetime: the most seconds for which the key set is cached.
        refetch_after: seconds between two fetches that are caused by unknown key IDs.
    """

    def __init__(
        self,
        http: HttpClient,
        url: Callable[[], str],
        algorithms: Sequence[str],
        *,
        max_lifetime: float = MAX_LIFETIME,
        refetch_after: float = REFETCH_AFTER,
    ) -> None:
        self._http = http
        self._url = url
        self._algorithms = algorithms
        self._max_lifetime = max_lifetime
        self._cache = _Cache(self._fetch, refetch_after)

    @property
    def is_available(self) -> bool:
        """Whether any keys have been fetched."""
        return bool(self._cache.value)

    def get(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """Return the only key for this algorithm that fits, or None if no key fits, or several.

        A key with this ID fits, and else a key without an ID. Without `kid`, every key fits.

        Raises:
            Unreachable: the key is not cached, and the last fetch of the key set failed.
            OAuthError: the same, because of the metadata.
        """
        return _find(self._cache.get(lambda keys: _find(keys, kid, algorithm) is not None), kid, algorithm)

    def _fetch(self) -> tuple[tuple[jwt.PyJWK, ...], float]:
        url = self._url()
        response = _get(self._http, url)
        try:
            return self._parse(response.json()["keys"]), min(_lifetime(response), self._max_lifetime)
        except (ValueError, KeyError, TypeError) as error:
            raise Unreachable(url, "the response is not a key set") from error

    def _parse(self, jwks: Any) -> tuple[jwt.PyJWK, ...]:
        """Return the usable keys, once for each algorithm that they can be used with.

        An unusable key does not affect the others (RFC 7517 section 5).
        """
        if not isinstance(jwks, list):
            raise TypeError("keys is not a list")
        keys = []
        for jwk in jwks:
            if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig" or not isinstance(jwk.get("kid", ""), str):
                continue
            try:
                keys += [jwt.PyJWK(jwk, each) for each in _algorithms(jwk) if each in self._algorithms]
            except (jwt.PyJWTError, AttributeError, TypeError, ValueError) as error:
                log.warning("unusable key in the key set", extra={"detail": type(error).__name__})
        return tuple(keys)


def _algorithms(jwk: dict[str, Any]) -> tuple[Any, ...]:
    """Return the `alg` of a key or, if it has none, the algorithms that its type permits."""
    return (jwk["alg"],) if "alg" in jwk else _ALGORITHMS.get((jwk.get("kty"), jwk.get("crv")), ())


def _find(keys: Sequence[jwt.PyJWK], kid: str | None, algorithm: str) -> jwt.PyJWK | None:
    fitting = [key for key in keys if key.algorithm_name == algorithm]
    if kid is not None:
        named = [key for key in fitting if key.key_id == kid]
        fitting = named or [key for key in fitting if key.key_id is None]
    return fitting[0] if len(fitting) == 1 else None


def _get(http: HttpClient, url: str) -> HttpResponse:
    response = http.send("GET", url)
    if response.status != 200:
        raise Unreachable(url, f"the response has status {response.status}")
    return response


def _lifetime(response: HttpResponse) -> float:
    match = _MAX_AGE.search(response.headers.get("cache-control", ""))
    return min(max(float(match[1]) if match else 0.0, MIN_LIFETIME), MAX_LIFETIME)


def _copy(error: Unreachable | OAuthError) -> Unreachable | OAuthError:
    """Return an equal exception without a traceback: threads must not share one, and it would keep frames alive."""
    if isinstance(error, Unreachable):
        return Unreachable(error.url, error.reason)
    return OAuthError(error.error, error.description, detail=error.detail, status=error.status)
