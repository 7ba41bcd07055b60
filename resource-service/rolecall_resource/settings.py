"""The resource server's settings."""

from __future__ import annotations

from typing import ClassVar

from rolecall.settings import ServiceSettings, certificates, identifier, one_of, seconds, setting, settings_class, url

VALIDATORS = ("jwt", "introspection")
"""How an access token can be validated."""


@settings_class
class Settings(ServiceSettings):
    """Settings, read once when the process starts."""

    SERVICE: ClassVar[str] = "resource-service"

    issuer: str = setting("The issuer identifier of the authorization server.", https=True, parse=identifier)
    backchannel_url: str | None = setting(
        "The authorization server's address from here; without it, the issuer.", default=None, https=True, parse=url
    )
    public_url: str = setting("The address under which clients reach this service.", https=True, parse=url)
    resource_identifier: str = setting(
        "This API's identifier, the `aud` of its tokens: a constant.", https=True, parse=identifier
    )
    resource_id: str = setting("This API's name at the introspection endpoint.")
    resource_secret: str = setting("This API's secret there.", secret=True)
    database_url: str = setting("SQL: an SQLAlchemy URL.")
    validator: str = setting("How access tokens are checked.", default=VALIDATORS[0], parse=one_of(*VALIDATORS))
    clock_leeway: int = setting("How far the issuer's clock may be ahead.", default=5, parse=seconds)
    ca_file: str | None = setting(
        "Certificate authorities (PEM) that are trusted besides the system's.", default=None, parse=certificates
    )
