"""The authorization server as this service knows it: its metadata (RFC 8414 section 3)."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import Final

from rolecall import checks, clock
from rolecall.errors import OAuthError
from rolecall.http import HttpClient, HttpResponse, Unreachable, metadata_url
from rolecall_resource.settings import Settings
from rolecall_resource.validators import away

RETRY_KNOWN: Final = 10.0
RETRY_UNKNOWN: Final = 1.0
"""Seconds after a fetch that failed until the next, with something older to go on with, and with nothing."""

_MAX_AGE: Final = re.compile(r"max-age=(\d{1,9})")

ISSUER = checks.define(
    "metadata.issuer", "RFC 8414 section 3.3", "server_error", "The metadata are those of another issuer.", status=503
)


@dataclass(frozen=True, slots=True)
class Metadata:
    """The endpoints that this service uses."""

    jwks_uri: str
    introspection_endpoint: str


def max_age(answer: HttpResponse) -> float:
    """Seconds that what was fetched is kept: as its Cache-Control says, but from 10 seconds to an hour."""
    match = _MAX_AGE.search(answer.headers.get("cache-control", ""))
    return float(min(max(int(match[1]) if match else 0, 10), 3600))


class AuthorizationServer:
    """Fetches the metadata when they are needed; what was fetched outlives an outage."""

    def __init__(self, settings: Settings, http: HttpClient) -> None:
        self._settings = settings
        self._http = http
        self._lock = threading.Lock()
        self._metadata: Metadata | None = None
        self._fetch_at = float("-inf")

    def metadata(self) -> Metadata:
        """The endpoints.

        Raises:
            OAuthError: temporarily_unavailable, when they were never fetched and cannot be.
        """
        known = self._metadata
        # who has something to go on with does not wait for somebody else's fetch
        if not self._lock.acquire(blocking=known is None):
            assert known is not None
            return known
        try:
            if clock.cache_time() >= self._fetch_at:
                try:
                    self._metadata, lifetime = self._fetch()
                    self._fetch_at = clock.cache_time() + lifetime
                except (Unreachable, OAuthError) as error:
                    self._fetch_at = clock.cache_time() + (RETRY_KNOWN if self._metadata else RETRY_UNKNOWN)
                    if self._metadata is None:
                        raise away(str(error)) from error
            if self._metadata is None:
                # those who waited for the same fetch to fail do not each wait for their own
                raise away("no metadata: they could not be fetched a moment ago")
            return self._metadata
        finally:
            self._lock.release()

    def _fetch(self) -> tuple[Metadata, float]:
        url = metadata_url(self._settings.issuer, self._settings.backchannel_url)
        answer = self._http.send("GET", url)
        if answer.status != 200:
            raise Unreachable(url, f"it answered {answer.status}")
        try:
            document = answer.json()
            named = document.get("issuer")
            ISSUER(named == self._settings.issuer, expected=self._settings.issuer, actual=str(named)[:200])
            endpoints = Metadata(str(document["jwks_uri"]), str(document["introspection_endpoint"]))
            return endpoints, max_age(answer)
        except (ValueError, KeyError) as error:
            raise Unreachable(url, "what it answers is no metadata") from error
