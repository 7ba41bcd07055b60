"""The client's settings."""

from __future__ import annotations

from typing import ClassVar

from cryptography.fernet import MultiFernet

from rolecall.settings import (
    ServiceSettings,
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


@settings_class
class Settings(ServiceSettings):
    """Settings, read once when the process starts."""

    SERVICE: ClassVar[str] = "client-webapp"

    public_url: str = setting("The address under which browsers reach this service.", https=True, parse=url)
    issuer: str = setting("The issuer identifier of the authorization server.", https=True, parse=identifier)
    backchannel_url: str | None = setting(
        "The authorization server's address from here; without it, the issuer.", default=None, https=True, parse=url
    )
    resource_url: str = setting("The Invoices API's public address.", https=True, parse=url)
    resource_backchannel_url: str | None = setting(
        "The Invoices API's address from here; without it, the public one.", default=None, https=True, parse=url
    )
    resource_identifier: str = setting("The Invoices API's identifier (RFC 8707).", https=True, parse=identifier)
    client_id: str = setting("This client's id at the authorization server.")
    client_secret: str = setting("This client's secret there.", secret=True)
    id_token_signed_response_alg: str = setting(
        "The algorithm of ID tokens that this client is registered with there.",
        default=ID_TOKEN_ALGORITHMS[0],
        parse=one_of(*ID_TOKEN_ALGORITHMS),
    )
    redis_url: str = setting("Redis: sessions and unfinished flows.")
    data_key: MultiFernet = setting(
        "Seals the tokens in Redis: Fernet keys, the newest first.", secret=True, parse=fernet_keys
    )
    session_lifetime: int = setting("How long a browser stays connected.", default=12 * 3600, parse=seconds)
    flow_lifetime: int = setting("How long a flow may take.", default=1800, parse=seconds)
    ca_file: str | None = setting(
        "Certificate authorities (PEM) that are trusted besides the system's.", default=None, parse=certificates
    )

    @property
    def redirect_uri(self) -> str:
        """The redirection endpoint, which receives authorization responses."""
        return f"{self.public_url}/callback"
