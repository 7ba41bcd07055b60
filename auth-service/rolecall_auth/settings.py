"""Settings of the authorization server."""

from __future__ import annotations

import re
from typing import ClassVar, Final
from urllib.parse import urlsplit

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
    urls,
)
from rolecall.vocabulary import PROFILES
from rolecall.web.cors import ANY, Origins
from rolecall.web.health import HEALTH_PATHS
from rolecall_auth.limits import LIMITS

MAX_LIFETIME = 86400
"""The maximum of ACCESS_TOKEN_LIFETIME, in seconds."""
MAX_CODE_LIFETIME = 600
"""The maximum of CODE_LIFETIME, in seconds, as recommended by RFC 6749 section 4.1.2."""
_PATH: Final = re.compile(r"(/[A-Za-z0-9][A-Za-z0-9._~-]*)+")


@add_settings({row.setting: setting(row.counts, default=limit(row.default), parse=limit) for row in LIMITS})
@settings_class
class Settings(ServiceSettings):
    """The settings, which are read once when the process starts. Each row of `LIMITS` adds a setting."""

    SERVICE: ClassVar[str] = "auth-service"

    issuer: str = setting(
        "The issuer identifier: the public URL of this server (RFC 8414 section 2).", https=True, parse=identifier
    )
    backchannel_urls: tuple[str, ...] = setting(
        "Further URLs under which containers reach this service. Metadata fetched from such a URL lists back-channel "
        "endpoints under the same URL.",
        default=(),
        parse=urls,
    )
    database_url: str = setting("The SQL database, as an SQLAlchemy URL.")
    redis_url: str = setting("The Redis instance for codes, sessions, pending requests, and the set of revoked tokens.")
    data_key: MultiFernet = setting(
        "Fernet keys that encrypt stored secrets, such as signing keys; the newest comes first.",
        secret=True,
        parse=fernet_keys,
    )
    code_lifetime: int = setting("The lifetime of an authorization code.", default=60, parse=seconds)
    access_token_lifetime: int = setting("The lifetime of an access token.", default=300, parse=seconds)
    refresh_idle_lifetime: int = setting(
        "How long an unused refresh token is valid.", default=14 * 86400, parse=seconds
    )
    refresh_lifetime: int = setting(
        "The maximum lifetime of a family of refresh tokens.", default=90 * 86400, parse=seconds
    )
    session_lifetime: int = setting("How long a sign-in lasts.", default=12 * 3600, parse=seconds)
    request_lifetime: int = setting(
        "How long a user can take to respond to an authorization request.", default=900, parse=seconds
    )
    jwks_max_age: int = setting(
        "How long others may cache the key set. A new key is published this long, plus one second, before it signs.",
        default=300,
        parse=seconds,
    )
    sign_up: str = setting(
        "Whether users can create their own accounts.", default="closed", parse=one_of("open", "closed")
    )
    registration: str = setting(
        "Who can register clients (RFC 7591): anyone, holders of an initial access token, or no one.",
        default="token",
        parse=one_of("open", "token", "closed"),
    )
    registration_profile: str = setting(
        "The profile of clients that register without an initial access token. fapi2 currently behaves like oauth2.1.",
        default=PROFILES[0],
        parse=one_of(*PROFILES),
    )
    registration_origins: Origins = setting(
        "The origins whose pages can register clients and manage them: `*` for all, or a list of origins "
        "(`https://app.example`) and hosts (`localhost`, `*.test`). Other programs are not affected.",
        default=ANY,
        parse=Origins,
    )

    ca_file: str | None = setting(
        "A file with certificate authorities (PEM) to trust in addition to the system's, for documents of clients.",
        default=None,
        parse=certificates,
    )

    @property
    def path(self) -> str:
        """The path of the issuer: starts with a slash and does not end with one; empty for the root of the host."""
        return urlsplit(self.issuer).path

    def faults(self) -> list[str]:
        """Return all invalid values, including lifetimes that are too long or that contradict each other."""
        faults = super().faults()
        if self.code_lifetime > MAX_CODE_LIFETIME:
            faults.append(f"CODE_LIFETIME must be at most {MAX_CODE_LIFETIME} seconds (ten minutes)")
        if self.access_token_lifetime > MAX_LIFETIME:
            faults.append(f"ACCESS_TOKEN_LIFETIME must be at most {MAX_LIFETIME} seconds (one day)")
        if self.path and not _PATH.fullmatch(self.path):
            faults.append(
                "ISSUER may have a path of letters, digits, and the characters . _ ~ - (RFC 8414 section 2), such as "
                "/s/abc; each part starts with a letter or a digit, and there is no slash at the end"
            )
        elif self.path in HEALTH_PATHS:
            faults.append(f"ISSUER must not have the path {self.path}, which belongs to the health checks")
        faults += [
            f"BACKCHANNEL_URLS: {each} must have the path of the issuer, {self.path or 'which has none'}"
            for each in self.backchannel_urls
            if urlsplit(each).path != self.path
        ]
        if self.refresh_idle_lifetime > self.refresh_lifetime:
            faults.append("REFRESH_IDLE_LIFETIME must not be longer than REFRESH_LIFETIME")
        return faults
