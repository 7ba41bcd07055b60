"""The authorization server that this client uses: its metadata (RFC 8414) and signing keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jwt

from rolecall import checks
from rolecall.http import HttpClient
from rolecall.issuer import CachedKeys, CachedMetadata, endpoint, optional_endpoint
from rolecall.vocabulary import ID_TOKEN_ALGORITHMS
from rolecall_client.settings import Settings

ISSUER = checks.define(
    "client.metadata_issuer", "RFC 8414 section 3.3", "server_error", "The metadata names another issuer."
)


@dataclass(frozen=True, slots=True)
class Metadata:
    """The endpoints that this client uses; some servers do not have all of them (RFC 8414 section 2).

    `scopes` are the scopes that the server lists, or None if it lists none. `announces_iss` is whether each
    authorization response contains `iss` (RFC 9207 section 3).
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    revocation_endpoint: str | None = None
    userinfo_endpoint: str | None = None
    registration_endpoint: str | None = None
    scopes: frozenset[str] | None = None
    announces_iss: bool = False


class AuthorizationServer:
    """The metadata and the keys, which are fetched when they are needed; the old ones are kept during an outage."""

    def __init__(self, settings: Settings, http: HttpClient) -> None:
        self._insecure = settings.lab
        self._metadata = CachedMetadata(
            http, settings.issuer, self._endpoints, is_issuer=ISSUER, backchannel_url=settings.backchannel_url
        )
        self._keys = CachedKeys(http, lambda: self._metadata.get().jwks_uri, ID_TOKEN_ALGORITHMS)

    def metadata(self) -> Metadata:
        """Return the endpoints.

        Raises:
            Unreachable: the metadata has never been fetched and cannot be fetched now.
            OAuthError: the same, because the metadata names another issuer.
        """
        return self._metadata.get()

    def key(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """Return the only published key that fits, or None if there is not exactly one; see `CachedKeys.get`.

        Raises:
            Unreachable: the key is not cached, and the key set cannot be fetched.
            OAuthError: the same, because the metadata names another issuer.
        """
        return self._keys.get(kid, algorithm)

    def _endpoints(self, document: dict[str, Any]) -> Metadata:
        def required(name: str) -> str:
            return endpoint(document, name, insecure=self._insecure)

        def optional(name: str) -> str | None:
            return optional_endpoint(document, name, insecure=self._insecure)

        return Metadata(
            issuer=document["issuer"],
            authorization_endpoint=required("authorization_endpoint"),
            token_endpoint=required("token_endpoint"),
            jwks_uri=required("jwks_uri"),
            revocation_endpoint=optional("revocation_endpoint"),
            userinfo_endpoint=optional("userinfo_endpoint"),
            registration_endpoint=optional("registration_endpoint"),
            scopes=_scopes(document.get("scopes_supported")),
            announces_iss=document.get("authorization_response_iss_parameter_supported") is True,
        )


def _scopes(listed: Any) -> frozenset[str] | None:
    return frozenset(each for each in listed if isinstance(each, str)) if isinstance(listed, list) else None
