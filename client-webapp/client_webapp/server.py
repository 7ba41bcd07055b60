"""The authorization server as this client knows it: its metadata (RFC 8414), fetched and kept for a while."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from client_webapp.settings import Settings
from rolecall import checks, clock
from rolecall.http import HttpClient, Unreachable
from rolecall.vocabulary import METADATA_PATH

MAX_AGE: Final = 300.0
"""Seconds that metadata are kept."""

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


class AuthorizationServer:
    """Fetches the metadata when they are needed; one that was fetched outlives an outage."""

    def __init__(self, settings: Settings, http: HttpClient) -> None:
        self._settings = settings
        self._http = http
        self._metadata: Metadata | None = None
        self._fetched_at = float("-inf")

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
        return self._metadata

    def _fetch(self) -> Metadata:
        url = (self._settings.backchannel_url or self._settings.issuer) + METADATA_PATH
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
            )
        except (ValueError, KeyError) as error:
            raise Unreachable(url, "what it answers is no metadata") from error
