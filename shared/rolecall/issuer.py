"""Caches for the metadata (RFC 8414) and the signing keys (RFC 7517) of one authorization server."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlsplit

import jwt

from rolecall import clock
from rolecall.checks import Check
from rolecall.errors import OAuthError
from rolecall.http import (
    HttpClient,
    HttpResponse,
    InvalidResponse,
    Unreachable,
    metadata_url,
    openid_configuration_url,
)

log = logging.getLogger(__name__)

MIN_LIFETIME: Final = 10.0
MAX_LIFETIME: Final = 3600.0
"""Bounds in seconds of the lifetime that Cache-Control sets; the lower bound applies without max-age."""

RETRY_WITH_VALUE: Final = 10.0
RETRY_WITHOUT_VALUE: Final = 1.0
"""Seconds between a failed fetch and the next one, depending on whether an older value is available."""

REFETCH_AFTER: Final = 10.0
"""Seconds between two fetches of a fresh value that are caused by requests for which it is not sufficient."""

MIN_RSA_BITS: Final = 2048
"""The minimum size of an RSA key (RFC 7518 section 3.3)."""

_KEY_TYPES: Final = {
    "RS256": ("RSA", None),
    "PS256": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""The `kty` and `crv` of each algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1)."""

_MAX_AGE: Final = re.compile(r"max-age=(\d{1,9})")

T = TypeVar("T")


class _Cache(Generic[T]):
    """A fetched value. One thread fetches at a time; threads that can use the old value do not wait for it.

    Args:
        fetch: returns the value and its lifetime in seconds; raises Unreachable or OAuthError.
    """

    def __init__(self, fetch: Callable[[], tuple[T, float]]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._stale_at = self._refetched_at = float("-inf")
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
        if now >= self._stale_at:
            self._refresh(now)
        elif self._failure is None and not self._has(is_sufficient) and now >= self._refetched_at + REFETCH_AFTER:
            self._refetched_at = now
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
        self._stale_at = now + lifetime

    def _has(self, is_sufficient: Callable[[T], bool]) -> bool:
        return self.value is not None and is_sufficient(self.value)


class CachedMetadata(Generic[T]):
    """The metadata of an authorization server; older metadata remain in use while it is unavailable.

    They are at the address of RFC 8414 section 3.1 or, at servers that only know OpenID Connect, at that of Discovery
    section 4.

    Args:
        parse: selects the members that the service uses; raises ValueError with a reason (see `endpoint`).
        is_issuer: the service's check that the metadata names the expected issuer (RFC 8414 section 3.3).
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
        self._urls = (metadata_url(issuer, backchannel_url), openid_configuration_url(issuer, backchannel_url))
        self._issuer = issuer
        self._parse = parse
        self._is_issuer = is_issuer
        self._cache = _Cache(self._fetch)

    def get(self) -> T:
        """Return the metadata.

        Raises:
            Unreachable: the metadata has never been fetched, and the last fetch failed.
            OAuthError: the same, because the metadata names another issuer.
        """
        return self._cache.get()

    def _fetch(self) -> tuple[T, float]:
        url, response = self._response()
        try:
            document = response.json()
        except ValueError as error:
            raise InvalidResponse(url, "the response is not authorization server metadata") from error
        actual = document.get("issuer")
        self._is_issuer(actual == self._issuer, expected=self._issuer, actual=str(actual)[:200])
        try:
            return self._parse(document), _lifetime(response)
        except ValueError as error:
            raise InvalidResponse(url, str(error)) from error

    def _response(self) -> tuple[str, HttpResponse]:
        for url in self._urls:
            response = self._http.send("GET", url)
            if response.status == HTTPStatus.OK:
                return url, response
        raise _bad_status(self._urls[0], response)


def endpoint(document: Mapping[str, Any], name: str, *, insecure: bool) -> str:
    """Return an endpoint from authorization server metadata (RFC 8414 section 2).

    Args:
        insecure: also allow http, which is for the lab only (RFC 6750 section 5.3).

    Raises:
        ValueError: the member is missing, or not such a URL.
    """
    value = optional_endpoint(document, name, insecure=insecure)
    if value is None:
        raise ValueError(f"the metadata has no {name}")
    return value


def optional_endpoint(document: Mapping[str, Any], name: str, *, insecure: bool) -> str | None:
    """Return an endpoint from the metadata, or None if the server does not have it; otherwise like `endpoint`."""
    value = document.get(name)
    if value is None or value == "":
        return None
    scheme = "http or https" if insecure else "https"
    try:
        parts = urlsplit(value) if isinstance(value, str) and value.isascii() and value.isprintable() else None
        is_valid = parts is not None and bool(parts.hostname) and not parts.fragment and " " not in value
    except ValueError:
        parts, is_valid = None, False
    if parts is None or not is_valid or parts.scheme not in scheme.split(" or "):
        raise ValueError(f"the {name} in the metadata is not a URL with {scheme}")
    return str(value)


class CachedKeys:
    """The published signing keys of an authorization server; older keys remain in use while it is unavailable.

    The first request for an unknown key fetches the key set immediately (OpenID Connect Core section 10.1.1).

    Args:
        url: returns the address of the key set; may raise Unreachable or OAuthError.
        algorithms: the accepted algorithms; keys for others are ignored.
        max_lifetime: the maximum number of seconds for which the key set is cached.
    """

    def __init__(
        self,
        http: HttpClient,
        url: Callable[[], str],
        algorithms: Sequence[str],
        *,
        max_lifetime: float = MAX_LIFETIME,
    ) -> None:
        self._http = http
        self._url = url
        self._algorithms = algorithms
        self._max_lifetime = max_lifetime
        self._cache = _Cache(self._fetch)

    @property
    def is_available(self) -> bool:
        """Whether any keys have been fetched."""
        return bool(self._cache.value)

    def get(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """Return the key for a signature, or None if the server publishes none, or several that fit.

        `kid` and `alg` are optional in a key (RFC 7517 sections 4.4 and 4.5): without them, a key is used if its type
        permits the algorithm and no other key fits.

        Args:
            kid: the key ID in the token's header; None if it has none (RFC 7515 section 4.1.4).
            algorithm: one of `algorithms`, which the caller expects or has checked.

        Raises:
            Unreachable: the key is not cached, and the last fetch of the key set failed.
            OAuthError: the same, because of the metadata.
        """
        keys = self._cache.get(lambda keys: _fitting(keys, kid, algorithm) is not None)
        return _fitting(keys, kid, algorithm)

    def _fetch(self) -> tuple[list[_Key], float]:
        url = self._url()
        response = _get(self._http, url)
        try:
            listed = response.json()["keys"]
        except (ValueError, KeyError) as error:
            raise InvalidResponse(url, "the response is not a key set") from error
        if not isinstance(listed, list):
            raise InvalidResponse(url, "the response is not a key set")
        keys = [_Key(jwk.get("kid"), self._usable(jwk)) for jwk in listed if isinstance(jwk, dict)]
        return keys, min(_lifetime(response), self._max_lifetime)

    def _usable(self, jwk: dict[str, Any]) -> dict[str, jwt.PyJWK]:
        """Return the key by algorithm; an unusable one does not affect the others (RFC 7517 section 5)."""
        usable = {}
        for algorithm in self._algorithms:
            if not _permits(jwk, algorithm):
                continue
            try:
                key = jwt.PyJWK(jwk, algorithm)
            except (jwt.PyJWTError, AttributeError, TypeError, ValueError) as error:
                log.warning("unusable key in the key set", extra={"detail": type(error).__name__})
                break
            if jwk["kty"] == "RSA" and key.key.key_size < MIN_RSA_BITS:
                log.warning("unusable key in the key set", extra={"detail": f"RSA of {key.key.key_size} bits"})
                break
            usable[algorithm] = key
        return usable


@dataclass(frozen=True, slots=True)
class _Key:
    """A published key, as it verifies each algorithm that it permits."""

    kid: Any
    by_algorithm: dict[str, jwt.PyJWK]


def _permits(jwk: Mapping[str, Any], algorithm: str) -> bool:
    kty, curve = _KEY_TYPES[algorithm]
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("kty") == kty
        and jwk.get("crv") == curve
        and jwk.get("alg", algorithm) == algorithm
        and jwk.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
    )


def _fitting(keys: Sequence[_Key], kid: str | None, algorithm: str) -> jwt.PyJWK | None:
    """Return the only key that fits; one with the ID is preferred to those without an ID."""
    fitting = [key for key in keys if algorithm in key.by_algorithm]
    if kid is not None:
        fitting = [key for key in fitting if key.kid == kid] or [key for key in fitting if key.kid is None]
    return fitting[0].by_algorithm[algorithm] if len(fitting) == 1 else None


def _get(http: HttpClient, url: str) -> HttpResponse:
    response = http.send("GET", url)
    if response.status != HTTPStatus.OK:
        raise _bad_status(url, response)
    return response


def _bad_status(url: str, response: HttpResponse) -> Unreachable:
    kind = Unreachable if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR else InvalidResponse
    return kind(url, f"the response has status {response.status}")


def _lifetime(response: HttpResponse) -> float:
    match = _MAX_AGE.search(response.headers.get("cache-control", ""))
    return min(max(float(match[1]) if match else 0.0, MIN_LIFETIME), MAX_LIFETIME)


def _copy(error: Unreachable | OAuthError) -> Unreachable | OAuthError:
    """Return an equal exception without a traceback: threads must not share one, and it would keep frames alive."""
    if isinstance(error, Unreachable):
        return type(error)(error.url, error.reason)
    return OAuthError(error.error, error.description, detail=error.detail, status=error.status)
