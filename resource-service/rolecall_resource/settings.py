"""The resource server's settings."""

from __future__ import annotations

from typing import ClassVar

from rolecall.settings import ServiceSettings, certificates, identifier, one_of, seconds, setting, settings_class, url
from rolecall.vocabulary import ACCESS_TOKEN_TYPES

VALIDATORS = ("jwt", "introspection")
"""The methods for validating access tokens."""


@settings_class
class Settings(ServiceSettings):
    """Settings, read once when the process starts."""

    SERVICE: ClassVar[str] = "resource-service"

    issuer: str = setting("The issuer identifier of the authorization server.", https=True, parse=identifier)
    backchannel_url: str | None = setting(
        "The authorization server's address for metadata requests. Default: the issuer. All other requests use the "
        "URLs in the metadata.",
        default=None,
        https=True,
        parse=url,
    )
    public_url: str = setting("The URL at which clients reach this service.", https=True, parse=url)
    resource_identifier: str = setting(
        "The identifier of this API, which is the `aud` of its tokens. It must not change.",
        https=True,
        parse=identifier,
    )
    resource_id: str = setting("The ID with which this API authenticates at the introspection endpoint.")
    resource_secret: str = setting("The secret for that ID.", secret=True)
    database_url: str = setting("The database, as an SQLAlchemy URL.")
    access_token_typ: str = setting(
        "The type of this API's access tokens. JWT, which is outside RFC 9068, is accepted in addition to at+jwt.",
        default=ACCESS_TOKEN_TYPES[0],
        parse=one_of(*ACCESS_TOKEN_TYPES),
    )
    validator: str = setting("How access tokens are validated.", default=VALIDATORS[0], parse=one_of(*VALIDATORS))
    clock_leeway: int = setting(
        "How far the issuer's clock may be ahead of this service's clock.", default=5, parse=seconds
    )
    ca_file: str | None = setting(
        "A file with certificate authorities (PEM) to trust in addition to the system's.",
        default=None,
        parse=certificates,
    )
