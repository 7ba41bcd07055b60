"""The client's settings."""

from __future__ import annotations

from typing import ClassVar

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
)
from rolecall.vocabulary import ID_TOKEN_ALGORITHMS
from rolecall_client.limits import LIMITS


@add_settings({row.setting: setting(row.counts, default=limit(row.default), parse=limit) for row in LIMITS})
@settings_class
class Settings(ServiceSettings):
    """Settings, read once when the process starts. Each row of `LIMITS` adds one."""

    SERVICE: ClassVar[str] = "client-webapp"

    public_url: str = setting("The URL at which browsers reach this service.", https=True, parse=url)
    issuer: str = setting("The issuer identifier of the authorization server.", https=True, parse=identifier)
    backchannel_url: str | None = setting(
        "The address of the authorization server for this service. Default: the issuer.",
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
    resource_identifier: str = setting(
        "The resource identifier of the Invoices API (RFC 8707).", https=True, parse=identifier
    )
    client_id: str = setting("The client ID at the authorization server.")
    client_secret: str = setting("The client secret.", secret=True)
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

    @property
    def redirect_uri(self) -> str:
        """The redirection endpoint, which receives authorization responses."""
        return f"{self.public_url}/callback"
