"""The authorization server that this client uses: its metadata (RFC 8414) and signing keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import jwt

from rolecall import checks
from rolecall.http import HttpClient
from rolecall.issuer import CachedKeys, CachedMetadata
from rolecall.vocabulary import ID_TOKEN_ALGORITHMS
from rolecall_client.settings import Settings

REFETCH_AFTER: Final = 5.0
"""Seconds between two fetches of the keys that are caused by unknown key IDs."""

ISSUER = checks.define(
    "client.metadata_issuer", "RFC 8414 section 3.3", "server_error", "The metadata name another issuer."
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
    """Fetches the metadata and the keys when they are needed, and keeps the old ones during an outage."""

    def __init__(self, settings: Settings, http: HttpClient) -> None:
        self._metadata = CachedMetadata(
            http, settings.issuer, _endpoints, is_issuer=ISSUER, backchannel_url=settings.backchannel_url
        )
        self._keys = CachedKeys(
            http, lambda: self._metadata.get().jwks_uri, ID_TOKEN_ALGORITHMS, refetch_after=REFETCH_AFTER
        )

    def metadata(self) -> Metadata:
        """Return the endpoints.

        Raises:
            Unreachable: the metadata have never been fetched and cannot be fetched now.
            OAuthError: the same, because the metadata name another issuer.
        """
        return self._metadata.get()

    def key(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """Return the only published key that fits, or None if there is not exactly one; see `CachedKeys.get`.

        Raises:
            Unreachable: the key is not cached, and the key set cannot be fetched.
            OAuthError: the same, because the metadata name another issuer.
        """
        return self._keys.get(kid, algorithm)


def _endpoints(document: dict[str, Any]) -> Metadata:
    return Metadata(
        issuer=document["issuer"],
        authorization_endpoint=str(document["authorization_endpoint"]),
        token_endpoint=str(document["token_endpoint"]),
        revocation_endpoint=str(document["revocation_endpoint"]),
        userinfo_endpoint=str(document["userinfo_endpoint"]),
        jwks_uri=str(document["jwks_uri"]),
        registration_endpoint=document.get("registration_endpoint"),
    )
