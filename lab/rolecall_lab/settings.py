"""The lab's settings: its Redis, the key of its hashes, and the addresses of the services."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from ipaddress import IPv4Address
from typing import ClassVar, Final, Literal, Self
from urllib.parse import urlsplit

from rolecall.settings import (
    ServiceSettings,
    SettingsError,
    is_container,
    is_loopback,
    setting,
    settings_class,
    url,
    urls,
)

Role = Literal["client", "authorization_server", "resource_server", "observer"]
"""The roles of RFC 6749 section 1.1 that record exchanges, and the observer."""

Party = Literal["browser", "client", "authorization_server", "resource_server", "other"]
"""The possible participants of an exchange."""

_HOST: Final = re.compile(r"(\[[0-9a-f:]+\]|[a-z0-9_.-]+)(:[0-9]{1,5})?")
"""A `Host` header in lower case: the name, and the port."""

_MISTAKEN: Final = re.compile(r"/mistakes/[^/]+")
"""The path of an issuer of the mistaken provider."""


def refuse_public(addresses: Iterable[str], backchannel: Iterable[str] = ()) -> None:
    """Prevent the lab from running at addresses that other machines can reach.

    Args:
        addresses: URLs for browsers, whose hosts must be loopback, `*.localhost`, or `*.test`.
        backchannel: URLs for services, whose hosts may also be names of containers, which do not contain a dot.

    Raises:
        SettingsError: lists the addresses that are not allowed.
    """
    faults = [f"{address} is not a local address" for address in addresses if not is_loopback(address)]
    faults += [
        f"{address} is not a local address or the name of a container"
        for address in backchannel
        if not is_loopback(address) and not is_container(address)
    ]
    if faults:
        raise SettingsError("the lab", faults)


@settings_class
class LabSettings(ServiceSettings):
    """The settings of the lab around one service; the service has separate settings.

    `role` is not read from the environment, because the code that wraps the service passes it. Creating the settings
    fails if an address is not local.
    """

    SERVICE: ClassVar[str] = "the lab"

    secret_key: str = ""  # not needed, because the lab does not sign anything
    role: Role = "client"
    lab_key: str = setting("The key of the hashes that identify values; the same for all services.", secret=True)
    lab_redis_url: str = setting("Redis for the recorded events and the lab's clock. Defaults to REDIS_URL.")
    lab_clock_skew: float = setting(
        "Seconds by which this service's clock is wrong, to show the effects.", default=0.0, parse=float
    )
    client_url: str = setting("The client's URL for browsers.", default="http://localhost:8000", parse=url)
    auth_url: str = setting("The authorization server's URL for browsers.", default="http://localhost:8001", parse=url)
    resource_url: str = setting("The resource server's URL for browsers.", default="http://localhost:8002", parse=url)
    observer_url: str | None = setting("The observer's URL for browsers.", default=None, parse=url)
    observer_backchannel_url: str | None = setting(
        "The observer's URL for the client, where the mistaken provider is. Default: the URL for browsers.",
        default=None,
        parse=url,
    )
    client_backchannel_urls: tuple[str, ...] = setting(
        "Further URLs of the client, for other containers.", default=(), parse=urls
    )
    auth_backchannel_urls: tuple[str, ...] = setting(
        "Further URLs of the authorization server, for other containers.", default=(), parse=urls
    )
    resource_backchannel_urls: tuple[str, ...] = setting(
        "Further URLs of the resource server, for other containers.", default=(), parse=urls
    )
    backchannel_urls: tuple[str, ...] = setting(
        "Further URLs of this service, at which it accepts requests.", default=(), parse=urls
    )

    def __post_init__(self) -> None:
        refuse_public(
            tuple(filter(None, (self.client_url, self.auth_url, self.resource_url, self.observer_url))),
            (
                *self.client_backchannel_urls,
                *self.auth_backchannel_urls,
                *self.resource_backchannel_urls,
                *self.backchannel_urls,
                *filter(None, (self.observer_backchannel_url,)),
            ),
        )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], *, lab: bool = True, role: Role = "client") -> Self:
        """Read the settings for the service of this role.

        Raises:
            SettingsError: lists all errors.
        """
        environ = dict(environ)
        if not environ.get("LAB_REDIS_URL") and not environ.get("LAB_REDIS_URL_FILE"):
            environ["LAB_REDIS_URL"] = environ.get("REDIS_URL", "")
            environ["LAB_REDIS_URL_FILE"] = environ.get("REDIS_URL_FILE", "")
        if role == "observer":
            environ |= {"LAB_KEY": "unused, because the observer does not create marks", "LAB_KEY_FILE": ""}
        settings = super().from_environ(environ, lab=lab)
        return dataclasses.replace(settings, role=role)

    def role_of(self, address: str) -> Party:
        """Return the role of the service at a URL or `host:port`; `other` if it is not one of our services."""
        return self._roles.get(_netloc(address), "other")

    def base_path(self, party: Party | Role, path: str) -> str:
        """Return the part of a request's path that is the path of the issuer; it is usually empty."""
        if party == "authorization_server" and (match := _MISTAKEN.match(path)):
            return match[0]
        base = urlsplit(self.auth_url).path if party == "authorization_server" else ""
        return base if path == base or path.startswith(f"{base}/") else ""

    def is_known_host(self, host: str) -> bool:
        """Return whether a `Host` header names this machine or an address in the settings, to prevent DNS rebinding.

        Browsers resolve `localhost` and `*.localhost` themselves. Every other name leads to where its owner wants.
        """
        match = _HOST.fullmatch(host.lower())
        return match is not None and (is_own_machine(match[1]) or _netloc(host) in self._hosts)

    @property
    def own_url(self) -> str:
        """The service's URL for browsers."""
        addresses = {
            "client": self.client_url,
            "authorization_server": self.auth_url,
            "resource_server": self.resource_url,
        }
        return addresses.get(self.role) or self.observer_url or "http://localhost:8003"

    @property
    def mistakes_url(self) -> str | None:
        """The issuer of the mistaken provider, without the name of the alteration."""
        return f"{self.observer_url}/mistakes" if self.observer_url else None

    @property
    def mistakes_backchannel_url(self) -> str | None:
        """The address of the mistaken provider for the client, if it differs from the issuer."""
        return f"{self.observer_backchannel_url}/mistakes" if self.observer_backchannel_url else None

    @property
    def _observer_urls(self) -> tuple[str | None, ...]:
        return (self.observer_url, self.observer_backchannel_url)

    @cached_property
    def _hosts(self) -> frozenset[str]:
        return frozenset({*self._roles, *map(_netloc, filter(None, (*self._observer_urls, *self.backchannel_urls)))})

    @cached_property
    def _roles(self) -> dict[str, Party]:
        addresses: dict[Party, tuple[str, ...]] = {
            "client": (self.client_url, *self.client_backchannel_urls),
            "authorization_server": (
                self.auth_url,
                *self.auth_backchannel_urls,
                *filter(None, self._observer_urls),  # for the mistaken provider
            ),
            "resource_server": (self.resource_url, *self.resource_backchannel_urls),
        }
        return {_netloc(each): role for role, urls_of_role in addresses.items() for each in urls_of_role}


def is_own_machine(name: str) -> bool:
    """Return whether a host name in lower case is `localhost`, a name below it, or a loopback address."""
    if name in {"localhost", "[::1]"} or name.endswith(".localhost"):
        return True
    try:
        return IPv4Address(name).is_loopback
    except ValueError:
        return False


def _netloc(address: str) -> str:
    try:
        parts = urlsplit(address if "//" in address else f"//{address}")
    except ValueError:
        return ""
    return parts.netloc.lower().removesuffix(":443" if parts.scheme == "https" else ":80")
