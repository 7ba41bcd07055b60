"""The lab's settings: where it records, the key of its hashes, and which address belongs to which role."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import ClassVar, Literal, Self
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
"""The roles that record (RFC 6749 section 1.1), and the one that looks on."""

Party = Literal["browser", "client", "authorization_server", "resource_server", "other"]
"""Who an exchange can be drawn between."""


def refuse_public(addresses: Iterable[str], backchannel: Iterable[str] = ()) -> None:
    """Stop the lab where people outside could reach it.

    Args:
        addresses: URLs a browser uses; each host must be loopback, `*.localhost` or `*.test`.
        backchannel: URLs only services use; the host may also be a container's name, which has no dot.

    Raises:
        SettingsError: some address is neither.
    """
    faults = [f"{address} is not a local address" for address in addresses if not is_loopback(address)]
    faults += [
        f"{address} is neither a local address nor a container's name"
        for address in backchannel
        if not is_loopback(address) and not is_container(address)
    ]
    if faults:
        raise SettingsError("the lab", faults)


@settings_class
class LabSettings(ServiceSettings):
    """Read once, beside the service's own settings; made only for local addresses.

    `role` does not come from the environment: the code that wraps a service says which one it is.
    """

    SERVICE: ClassVar[str] = "the lab"

    secret_key: str = ""  # the lab signs nothing, so it does not read the service's
    role: Role = "client"
    lab_key: str = setting("The lab's keyed hashes, by which it recognises a value; one for all services.", secret=True)
    lab_redis_url: str = setting("Redis: what was recorded, and the lab's clock. Without it, REDIS_URL.")
    lab_clock_skew: float = setting(
        "Seconds by which this service's clock is off, to see what that does.", default=0.0, parse=float
    )
    client_url: str = setting("Where the browser finds the client.", default="http://localhost:8000", parse=url)
    auth_url: str = setting(
        "Where the browser finds the authorization server.", default="http://localhost:8001", parse=url
    )
    resource_url: str = setting(
        "Where the browser finds the resource server.", default="http://localhost:8002", parse=url
    )
    observer_url: str | None = setting("Where the browser finds the observer.", default=None, parse=url)
    client_backchannel_urls: tuple[str, ...] = setting(
        "Other addresses of the client, between containers.", default=(), parse=urls
    )
    auth_backchannel_urls: tuple[str, ...] = setting(
        "Other addresses of the authorization server, between containers.", default=(), parse=urls
    )
    resource_backchannel_urls: tuple[str, ...] = setting(
        "Other addresses of the resource server, between containers.", default=(), parse=urls
    )

    def __post_init__(self) -> None:
        refuse_public(
            tuple(filter(None, (self.client_url, self.auth_url, self.resource_url, self.observer_url))),
            (*self.client_backchannel_urls, *self.auth_backchannel_urls, *self.resource_backchannel_urls),
        )

    @classmethod
    def of(cls, role: Role, environ: Mapping[str, str]) -> Self:
        """Read the settings for the service of this role.

        Raises:
            SettingsError: with all the faults found.
        """
        environ = dict(environ)
        if not environ.get("LAB_REDIS_URL") and not environ.get("LAB_REDIS_URL_FILE"):
            environ["LAB_REDIS_URL"] = environ.get("REDIS_URL", "")
            environ["LAB_REDIS_URL_FILE"] = environ.get("REDIS_URL_FILE", "")
        if role == "observer":
            environ |= {"LAB_KEY": "none, it makes no marks", "LAB_KEY_FILE": ""}
        settings = cls.from_environ(environ, lab=True)
        return dataclasses.replace(settings, role=role)

    def role_of(self, address: str) -> Party:
        """Whose a URL or a `host:port` is; `other` when it is none of ours."""
        return self._roles.get(_netloc(address), "other")

    def is_known_host(self, host: str) -> bool:
        """Whether a `Host` header names this machine or one of the services: DNS rebinding names another one."""
        try:
            return "@" not in host and (self.role_of(host) != "other" or is_loopback(f"http://{host}"))
        except ValueError:
            return False

    @cached_property
    def _roles(self) -> dict[str, Party]:
        addresses: dict[Party, tuple[str, ...]] = {
            "client": (self.client_url, *self.client_backchannel_urls),
            "authorization_server": (self.auth_url, *self.auth_backchannel_urls),
            "resource_server": (self.resource_url, *self.resource_backchannel_urls),
        }
        return {_netloc(each): role for role, urls_of_role in addresses.items() for each in urls_of_role}


def _netloc(address: str) -> str:
    try:
        parts = urlsplit(address if "//" in address else f"//{address}")
    except ValueError:
        return ""
    return parts.netloc.lower().removesuffix(":443" if parts.scheme == "https" else ":80")
