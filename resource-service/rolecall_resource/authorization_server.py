"""The authorization server whose tokens this service accepts: its metadata (RFC 8414 section 3) and keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jwt

from rolecall import checks
from rolecall.errors import OAuthError
from rolecall.http import HttpClient, Unreachable
from rolecall.issuer import CachedKeys, CachedMetadata, endpoint, optional_endpoint
from rolecall.vocabulary import SIGNING_ALGORITHMS
from rolecall_resource.settings import Settings

ISSUER = checks.define(
    "metadata.issuer", "RFC 8414 section 3.3", "server_error", "The metadata names another issuer.", status=503
)


@dataclass(frozen=True, slots=True)
class Metadata:
    """The endpoints that this service uses; only introspection needs the second (RFC 8414 section 2)."""

    jwks_uri: str
    introspection_endpoint: str | None


class AuthorizationServer:
    """The metadata and the keys, which are fetched when they are needed; the old ones are kept during an outage."""

    def __init__(self, settings: Settings, http: HttpClient) -> None:
        self._insecure = settings.lab
        self._metadata = CachedMetadata(
            http, settings.issuer, self._endpoints, is_issuer=ISSUER, backchannel_url=settings.backchannel_url
        )
        self._keys = CachedKeys(http, lambda: self._metadata.get().jwks_uri, SIGNING_ALGORITHMS)

    def metadata(self) -> Metadata:
        """Return the endpoints.

        Raises:
            OAuthError: temporarily_unavailable, if they have never been fetched and cannot be fetched now.
        """
        try:
            return self._metadata.get()
        except (Unreachable, OAuthError) as error:
            raise authorization_server_unavailable(f"no metadata: {error}") from error

    def key(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """Return the only published key that fits, or None if there is not exactly one; see `CachedKeys.get`.

        Return None also if refetching the keys failed.

        Raises:
            OAuthError: temporarily_unavailable, if no keys have ever been fetched and they cannot be fetched now.
        """
        try:
            return self._keys.get(kid, algorithm)
        except (Unreachable, OAuthError) as error:
            if self._keys.is_available:
                return None
            raise authorization_server_unavailable(f"no key set: {error}") from error

    def _endpoints(self, document: dict[str, Any]) -> Metadata:
        return Metadata(
            jwks_uri=endpoint(document, "jwks_uri", insecure=self._insecure),
            introspection_endpoint=optional_endpoint(document, "introspection_endpoint", insecure=self._insecure),
        )


def authorization_server_unavailable(detail: str) -> OAuthError:
    """Return the error for an authorization server that is needed and does not respond properly.

    Args:
        detail: for the log only.
    """
    return OAuthError(
        "temporarily_unavailable",
        "The token cannot be validated because the authorization server is unavailable. Try again in a few seconds.",
        detail=detail,
        status=503,
        retry_after=2,
    )
