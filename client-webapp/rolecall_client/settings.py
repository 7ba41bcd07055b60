"""The client's settings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import jwt
from cryptography.fernet import MultiFernet

from rolecall.limits import limit
from rolecall.settings import (
    ServiceSettings,
    add_settings,
    certificates,
    fernet_keys,
    identifier,
    one_of,
    seconds,
    setting,
    settings_class,
    url,
    whole_seconds,
)
from rolecall.vocabulary import ID_TOKEN_ALGORITHMS
from rolecall_client.limits import LIMITS

SECRET_METHODS: Final = ("client_secret_basic", "client_secret_post")
AUTH_METHODS: Final = (*SECRET_METHODS, "private_key_jwt")

ROLECALL: Final = "Rolecall Accounts"
"""The name of Rolecall's authorization server, which has a page of connected apps at `/apps`."""


def openid_scope(text: str) -> str:
    """Parse a scope that contains `openid` (OpenID Connect Core section 3.1.2.1)."""
    if "openid" not in text.split():
        raise ValueError("must contain openid")
    return text


@dataclass(frozen=True, slots=True)
class ClientKey:
    """The key pair of the client, for `private_key_jwt`.

    Args:
        private: signs; its algorithm is that of the JWK.
        public: the JWK without its private members (RFC 7517 section 4).
    """

    private: jwt.PyJWK
    public: dict[str, Any]


_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})
"""The private members of a JWK (RFC 7518 sections 6.2.2 and 6.3.2)."""


def client_key(text: str) -> ClientKey:
    """Parse a private key in JSON (RFC 7517) for one of the algorithms of client assertions."""
    try:
        document = json.loads(text)
        key = jwt.PyJWK(document)
    except (ValueError, TypeError, AttributeError, jwt.PyJWTError) as error:
        raise ValueError("must be a JWK") from error
    if document.get("alg") not in ID_TOKEN_ALGORITHMS or "d" not in document:
        raise ValueError(f"must be a private key with alg, one of {', '.join(ID_TOKEN_ALGORITHMS)}")
    return ClientKey(key, {name: value for name, value in document.items() if name not in _PRIVATE_MEMBERS})


@add_settings({row.setting: setting(row.counts, default=limit(row.default), parse=limit) for row in LIMITS})
@settings_class
class Settings(ServiceSettings):
    """Settings, read once when the process starts. Each row of `LIMITS` adds a setting."""

    SERVICE: ClassVar[str] = "client-webapp"

    public_url: str = setting("The URL at which browsers reach this service.", https=True, parse=url)
    issuer: str = setting("The issuer identifier of the authorization server.", https=True, parse=identifier)
    issuer_name: str = setting(
        "The authorization server's name on Tally's pages. Only with the default do they link to its page `/apps`.",
        default=ROLECALL,
    )
    backchannel_url: str | None = setting(
        "The authorization server's address for metadata requests. Default: the issuer. All other requests use the "
        "URLs in the metadata.",
        default=None,
        https=True,
        parse=url,
    )
    resource_url: str = setting("The public URL of the Invoices API.", https=True, parse=url)
    resource_backchannel_url: str | None = setting(
        "The address of the Invoices API for this service. Default: the public URL.",
        default=None,
        https=True,
        parse=url,
    )
    resource_identifier: str | None = setting(
        "The resource identifier of the Invoices API (RFC 8707). Default: requests have no `resource`.",
        https=True,
        default=None,
        parse=identifier,
    )
    scope: str = setting("The scope that Tally requests for the invoices.", default="invoices:read")
    sign_in_scope: str = setting(
        "The scope that Tally requests for a sign-in.", default="openid profile email", parse=openid_scope
    )
    client_id: str | None = setting(
        "The client ID at the authorization server. Default: Tally registers itself (RFC 7591).", default=None
    )
    registration_token: str | None = setting(
        "The initial access token for registering, if the authorization server requires one.", default=None, secret=True
    )
    client_auth_method: str = setting(
        "How Tally authenticates at the authorization server.", default=AUTH_METHODS[0], parse=one_of(*AUTH_METHODS)
    )
    client_secret: str | None = setting("The client secret; not for private_key_jwt.", default=None, secret=True)
    client_private_key: ClientKey | None = setting(
        "For private_key_jwt: the private key as a JWK with `alg`, whose public part is registered.",
        default=None,
        secret=True,
        parse=client_key,
    )
    client_assertion_audience: str = setting(
        "For private_key_jwt: the value of `aud` in the assertion. Some servers only accept their token endpoint.",
        default="issuer",
        parse=one_of("issuer", "token_endpoint"),
    )
    response_mode: str | None = setting(
        "How the authorization server returns its response. Default: the server's choice, which is query.",
        default=None,
        parse=one_of("query", "form_post"),
    )
    leeway: int = setting(
        "How many seconds the authorization server's clock may be ahead.", default=10, parse=whole_seconds
    )
    id_token_signed_response_alg: str = setting(
        "The ID token signing algorithm that is registered for this client.",
        default=ID_TOKEN_ALGORITHMS[0],
        parse=one_of(*ID_TOKEN_ALGORITHMS),
    )
    redis_url: str = setting("Redis, for sessions and unfinished flows.")
    data_key: MultiFernet = setting(
        "The Fernet keys that encrypt the tokens in Redis, newest first.", secret=True, parse=fernet_keys
    )
    session_lifetime: int = setting("How long a connection or a sign-in lasts.", default=12 * 3600, parse=seconds)
    flow_lifetime: int = setting("How long a flow may take.", default=1800, parse=seconds)
    ca_file: str | None = setting(
        "A file with certificate authorities (PEM) to trust in addition to the system's.",
        default=None,
        parse=certificates,
    )

    def faults(self) -> list[str]:
        """Return an error if credentials are missing for the authentication method, or set without a client ID."""
        if self.client_id is None and self.client_secret is not None:
            return ["CLIENT_SECRET is set, but CLIENT_ID is not"]
        if self.client_id is not None and self.client_auth_method in SECRET_METHODS and not self.client_secret:
            return ["CLIENT_SECRET is not set"]
        if self.client_auth_method == "private_key_jwt" and self.client_private_key is None:
            return ["CLIENT_PRIVATE_KEY is not set"]
        return []

    @property
    def redirect_uri(self) -> str:
        """The redirection endpoint, which receives authorization responses."""
        return f"{self.public_url}/callback"
