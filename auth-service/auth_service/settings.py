"""The authorization server's settings."""

from __future__ import annotations

from typing import ClassVar

from cryptography.fernet import MultiFernet

from rolecall.settings import ServiceSettings, fernet_keys, one_of, seconds, setting, settings_class, url, urls


@settings_class
class Settings(ServiceSettings):
    """Read once, when the process starts."""

    SERVICE: ClassVar[str] = "auth-service"

    issuer: str = setting("The issuer identifier: the one public address (RFC 8414 section 2).", https=True, parse=url)
    backchannel_urls: tuple[str, ...] = setting(
        "Other addresses under which containers reach this service; metadata fetched there names back-channel "
        "endpoints under them.",
        default=(),
        parse=urls,
    )
    database_url: str = setting("SQL: an SQLAlchemy URL.")
    redis_url: str = setting("Redis: codes, sessions, pending requests, the set of revoked tokens.")
    data_key: MultiFernet = setting(
        "Seals what must be read back (signing keys): Fernet keys, the newest first.", secret=True, parse=fernet_keys
    )
    code_lifetime: int = setting("How long an authorization code lives.", default=60, parse=seconds)
    access_token_lifetime: int = setting("How long an access token lives.", default=300, parse=seconds)
    refresh_idle_lifetime: int = setting("How long a refresh token lives unused.", default=14 * 86400, parse=seconds)
    refresh_lifetime: int = setting(
        "How long a family of refresh tokens lives at most.", default=90 * 86400, parse=seconds
    )
    session_lifetime: int = setting("How long a sign-in lasts.", default=12 * 3600, parse=seconds)
    request_lifetime: int = setting(
        "How long a person may take over an authorization request.", default=900, parse=seconds
    )
    jwks_max_age: int = setting(
        "How long others may keep the key set; a new key is published that long before it signs.",
        default=300,
        parse=seconds,
    )
    sign_up: str = setting(
        "Whether people may make their own account.", default="closed", parse=one_of("open", "closed")
    )

    def faults(self) -> list[str]:
        """Lifetimes that contradict each other."""
        faults = super().faults()
        if self.refresh_idle_lifetime > self.refresh_lifetime:
            faults.append("REFRESH_IDLE_LIFETIME is longer than REFRESH_LIFETIME")
        return faults
