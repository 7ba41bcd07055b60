"""The authorization server as this service knows it: its metadata (RFC 8414 section 3)."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from resource_service.settings import Settings
from resource_service.validators import away
from rolecall import checks, clock
from rolecall.http import HttpClient, Unreachable
from rolecall.vocabulary import METADATA_PATH

MAX_AGE: Final = 300.0
"""Seconds that metadata are kept."""

ISSUER = checks.define(
    "metadata.issuer", "RFC 8414 section 3.3", "server_error", "The metadata are those of another issuer.", status=503
)


@dataclass(frozen=True, slots=True)
class Metadata:
    """The endpoints that this service uses."""

    jwks_uri: str
    introspection_endpoint: str


class AuthorizationServer:
    """Fetches the metadata when they are needed; what was fetched outlives an outage."""

    def __init__(self, settings: Settings, http: HttpClient) -> None:
        self._settings = settings
        self._http = http
        self._lock = threading.Lock()
        self._metadata: Metadata | None = None
        self._fetched_at = float("-inf")

    def metadata(self) -> Metadata:
        """The endpoints.

        Raises:
            OAuthError: temporarily_unavailable, when they were never fetched and cannot be.
        """
        with self._lock:
            if self._metadata is None or self._fetched_at < clock.monotonic() - MAX_AGE:
                try:
                    self._metadata = self._fetch()
                    self._fetched_at = clock.monotonic()
                except Unreachable as error:
                    if self._metadata is None:
                        raise away(str(error)) from error
            return self._metadata

    def _fetch(self) -> Metadata:
        # the well-known part goes between host and path (RFC 8414 section 3.1)
        path = urlsplit(self._settings.issuer).path
        base = (self._settings.backchannel_url or self._settings.issuer).removesuffix(path)
        url = f"{base}{METADATA_PATH}{path}"
        answer = self._http.send("GET", url)
        try:
            document = answer.json()
            named = document.get("issuer")
            ISSUER(named == self._settings.issuer, expected=self._settings.issuer, actual=str(named)[:200])
            return Metadata(str(document["jwks_uri"]), str(document["introspection_endpoint"]))
        except (ValueError, KeyError) as error:
            raise Unreachable(url, "what it answers is no metadata") from error
