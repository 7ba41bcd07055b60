"""The authorization server as this client knows it: its metadata (RFC 8414), fetched and kept for a while."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import jwt

from rolecall import checks, clock
from rolecall.http import HttpClient, HttpResponse, Unreachable, metadata_url
from rolecall.vocabulary import ID_TOKEN_ALGORITHMS
from rolecall_client.settings import Settings

MAX_AGE: Final = 300.0
"""Seconds that metadata and keys are kept."""

REFETCH_AFTER: Final = 5.0
"""Seconds between two fetches of the keys for the sake of an unknown one."""

RETRY_AFTER: Final = 5.0
"""Seconds after which metadata that are too old are fetched again, while the server does not answer."""

ISSUER = checks.define(
    "client.metadata_issuer", "RFC 8414 section 3.3", "server_error", "The metadata are those of another issuer."
)


@dataclass(frozen=True, slots=True)
class Metadata:
    """The endpoints that this client uses."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    revocation_endpoint: str
    userinfo_endpoint: str
    jwks_uri: str
    registration_endpoint: str | None = None


class AuthorizationServer:
    """Fetches the metadata when they are needed; one that was fetched outlives an outage."""

    def __init__(self, settings: Settings, http: HttpClient) -> None:
        self._settings = settings
        self._http = http
        self._metadata: Metadata | None = None
        self._fetched_at = float("-inf")
        self._keys: dict[str, jwt.PyJWK] = {}
        self._keys_fetched_at = float("-inf")
        self._lock = threading.Lock()

    def metadata(self) -> Metadata:
        """The endpoints.

        Raises:
            Unreachable: the server does not answer, and never did.
            OAuthError: the metadata are another issuer's.
        """
        if self._metadata is None or self._fetched_at < clock.cache_time() - MAX_AGE:
            try:
                self._metadata = self._fetch()
                self._fetched_at = clock.cache_time()
            except Unreachable:
                if self._metadata is None:
                    raise
                self._fetched_at = clock.cache_time() - MAX_AGE + RETRY_AFTER
        return self._metadata

    def key(self, kid: str) -> jwt.PyJWK | None:
        """The published key of this id (RFC 7517); an unknown one is looked for again, at most every `REFETCH_AFTER`.

        Raises:
            Unreachable: the server does not answer, or not with a key set.
            OAuthError: the metadata are another issuer's.
        """
        with self._lock:
            age = clock.cache_time() - self._keys_fetched_at
            if age > MAX_AGE or (kid not in self._keys and age > REFETCH_AFTER):
                self._keys = _keys(self._http.send("GET", url := self.metadata().jwks_uri), url)
                self._keys_fetched_at = clock.cache_time()
            return self._keys.get(kid)

    def _fetch(self) -> Metadata:
        url = metadata_url(self._settings.issuer, self._settings.backchannel_url)
        answer = self._http.send("GET", url)
        try:
            document: dict[str, Any] = answer.json()
            issuer = document.get("issuer")
            ISSUER(issuer == self._settings.issuer, expected=self._settings.issuer, actual=issuer)
            return Metadata(
                issuer=self._settings.issuer,
                authorization_endpoint=str(document["authorization_endpoint"]),
                token_endpoint=str(document["token_endpoint"]),
                revocation_endpoint=str(document["revocation_endpoint"]),
                userinfo_endpoint=str(document["userinfo_endpoint"]),
                jwks_uri=str(document["jwks_uri"]),
                registration_endpoint=document.get("registration_endpoint"),
            )
        except (ValueError, KeyError) as error:
            raise Unreachable(url, "what it answers is no metadata") from error


def _keys(answer: HttpResponse, url: str) -> dict[str, jwt.PyJWK]:
    """The keys that ID tokens may be signed with; one that cannot be used spoils no other (RFC 7517 section 5)."""
    try:
        listed = answer.json()["keys"]
    except (ValueError, KeyError) as error:
        raise Unreachable(url, "what it answers is no key set") from error
    keys = {}
    for jwk in listed if isinstance(listed, list) else []:
        usable = isinstance(jwk, dict) and jwk.get("alg") in ID_TOKEN_ALGORITHMS and jwk.get("use", "sig") == "sig"
        if usable and isinstance(jwk.get("kid"), str):
            with suppress(jwt.PyJWTError, AttributeError, TypeError, ValueError):
                keys[jwk["kid"]] = jwt.PyJWK(jwk)
    return keys
