"""The authorization server's settings."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

from cryptography.fernet import MultiFernet
from limits import RateLimitItem

from rolecall.settings import ServiceSettings, fernet_keys, identifier, one_of, seconds, setting, settings_class, urls
from rolecall.vocabulary import PROFILES
from rolecall_auth.limits import limit

MAX_LIFETIME = 86400
"""Seconds that an access token may be made to live."""
MAX_CODE_LIFETIME = 600
"""Seconds, the recommended maximum (RFC 6749 section 4.1.2)."""


@settings_class
class Settings(ServiceSettings):
    """Read once, when the process starts."""

    SERVICE: ClassVar[str] = "auth-service"

    issuer: str = setting(
        "The issuer identifier: the one public address (RFC 8414 section 2).", https=True, parse=identifier
    )
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
        "How long others may keep the key set; a new key is published that long, and a second more, before it signs.",
        default=300,
        parse=seconds,
    )
    sign_up: str = setting(
        "Whether people may make their own account.", default="closed", parse=one_of("open", "closed")
    )

    sign_in_limit: RateLimitItem = setting(
        "Attempts to sign in to one account, from browsers that are new to it and from each that is not.",
        default=limit("10/5 minutes"),
        parse=limit,
    )
    sign_in_address_limit: RateLimitItem = setting(
        "Attempts to sign in from one address.", default=limit("60/minute"), parse=limit
    )
    sign_up_limit: RateLimitItem = setting("New accounts from one address.", default=limit("10/hour"), parse=limit)
    authorization_limit: RateLimitItem = setting(
        "Authorization requests from one address that have to wait for a person.",
        default=limit("300/minute"),
        parse=limit,
    )
    client_limit: RateLimitItem = setting(
        "Failed authentications of one client or resource from one address.", default=limit("60/minute"), parse=limit
    )
    client_address_limit: RateLimitItem = setting(
        "Failed authentications of clients and resources from one address, whichever they say they are.",
        default=limit("300/minute"),
        parse=limit,
    )

    registration: str = setting(
        "Who may register clients (RFC 7591): anybody, who has an initial access token, or nobody.",
        default="token",
        parse=one_of("open", "token", "closed"),
    )
    registration_profile: str = setting(
        "How strict the server is with clients that registered without an initial access token; "
        "fapi2 is as oauth2.1 so far.",
        default=PROFILES[0],
        parse=one_of(*PROFILES),
    )
    registration_limit: RateLimitItem = setting(
        "Registrations of clients from one address.", default=limit("30/hour"), parse=limit
    )

    def faults(self) -> list[str]:
        """Lifetimes that contradict each other, or that RFC 6749 section 4.1.2 has a maximum for."""
        faults = super().faults()
        if self.code_lifetime > MAX_CODE_LIFETIME:
            faults.append(f"CODE_LIFETIME is longer than {MAX_CODE_LIFETIME} seconds, ten minutes")
        if self.access_token_lifetime > MAX_LIFETIME:
            faults.append(f"ACCESS_TOKEN_LIFETIME is longer than {MAX_LIFETIME} seconds, a day")
        if urlsplit(self.issuer).path:
            faults.append("ISSUER has a path (a slash at its end is one), and this server can only be at a host's root")
        if self.refresh_idle_lifetime > self.refresh_lifetime:
            faults.append("REFRESH_IDLE_LIFETIME is longer than REFRESH_LIFETIME")
        return faults
