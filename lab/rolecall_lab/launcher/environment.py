"""The lab's three services: their roles and addresses, and the environment that each of them gets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rolecall.settings import declared_settings
from rolecall_auth.settings import Settings as AuthSettings

ROOT: Final = Path(__file__).resolve().parents[3]
FOLDERS: Final = ("shared", "auth-service", "resource-service", "client-webapp", "lab")
"""Where the packages are."""

LAB_ENV: Final = ROOT / "lab" / "lab.env"
"""The lab's published secrets."""

THROTTLES: Final = tuple(
    field.name.upper() for field in declared_settings(AuthSettings) if field.name.endswith("_limit")
)
"""Wide in the lab: a class signs in from one address, and tests try what is wrong."""

HOSTS: Final = ("localhost", "localhost-names")
"""The choices for the names in the addresses; with the second, each service is a site of its own."""


@dataclass(frozen=True, slots=True)
class Service:
    """One of the three.

    Args:
        name: its folder, and what its log is called.
        role: in the words of RFC 6749 section 1.1.
        label: `{label}_PORT` sets its port, `{label}_URL` is the lab's setting of its address.
        port: unless set.
        hostname: in addresses, when `HOSTS` is `localhost-names`.
    """

    name: str
    role: str
    label: str
    port: int
    hostname: str

    @property
    def prefix(self) -> str:
        """With which its settings begin wherever those of all services stand together."""
        return f"{self.name.replace('-', '_').upper()}_"

    @property
    def port_setting(self) -> str:
        """The variable that changes its port."""
        return f"{self.label}_PORT"

    def url(self, hosts: str, port: int) -> str:
        """Where a browser finds it."""
        return f"http://{self.hostname if hosts == 'localhost-names' else 'localhost'}:{port}"


CLIENT: Final = Service("client-webapp", "client", "CLIENT", 8000, "app.localhost")
AUTH: Final = Service("auth-service", "authorization server", "AUTH", 8001, "auth.localhost")
RESOURCE: Final = Service("resource-service", "resource server", "RESOURCE", 8002, "api.localhost")
SERVICES: Final = (CLIENT, AUTH, RESOURCE)

OBSERVER: Final = Service("lab-observer", "observer", "OBSERVER", 8003, "observer.localhost")
"""Draws what the other three recorded; they do not know that it is there."""

EVERYTHING: Final = (*SERVICES, OBSERVER)
"""What the launcher starts, in this order."""


def read_env(path: Path) -> dict[str, str]:
    """The `NAME=value` lines of a file.

    Raises:
        OSError: it cannot be read.
    """
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def compose(
    environ: Mapping[str, str],
    published: Mapping[str, str],
    *,
    hosts: str,
    ports: Mapping[Service, int],
    redis_url: str,
    data: Path,
) -> dict[str, str]:
    """The settings of all services, each under its service's prefix, and those that all of them share.

    What `environ` sets goes first, then `published` (the lab's secrets), then what follows from the arguments.
    The services reach each other at 127.0.0.1: not every resolver knows `*.localhost`.

    Args:
        ports: where each service listens.
        data: the folder of the SQLite databases.
    """
    public = {service: service.url(hosts, port) for service, port in ports.items()}
    inside = {service: f"http://127.0.0.1:{port}" for service, port in ports.items()}
    settings = {
        "AUTH_SERVICE_ISSUER": public[AUTH],
        "AUTH_SERVICE_BACKCHANNEL_URLS": inside[AUTH],
        "AUTH_SERVICE_DATABASE_URL": f"sqlite:///{data}/auth-service.db",
        "AUTH_SERVICE_REDIS_URL": redis_url,
        "AUTH_SERVICE_SIGN_UP": "open",
        "AUTH_SERVICE_REGISTRATION": "open",
        "AUTH_SERVICE_REGISTRATION_PROFILE": "openid",
        **{f"AUTH_SERVICE_{name}": "10000/minute" for name in THROTTLES},
        "RESOURCE_SERVICE_PUBLIC_URL": public[RESOURCE],
        "RESOURCE_SERVICE_BACKCHANNEL_URL": inside[AUTH],
        "RESOURCE_SERVICE_RESOURCE_ID": "invoices-api",
        # one constant for all who ask, through whichever address; clients compare it with the public one (RFC 9728 3.3)
        "RESOURCE_SERVICE_RESOURCE_IDENTIFIER": public[RESOURCE],
        "RESOURCE_SERVICE_DATABASE_URL": f"sqlite:///{data}/resource-service.db",
        "CLIENT_WEBAPP_PUBLIC_URL": public[CLIENT],
        "CLIENT_WEBAPP_BACKCHANNEL_URL": inside[AUTH],
        "CLIENT_WEBAPP_RESOURCE_BACKCHANNEL_URL": inside[RESOURCE],
        "CLIENT_WEBAPP_CLIENT_ID": "tally",
        "CLIENT_WEBAPP_REDIS_URL": redis_url,
        "LAB_REDIS_URL": redis_url,
        "LOG_LEVEL": "INFO",
        **{f"{service.label}_BACKCHANNEL_URLS": inside[service] for service in SERVICES},
    }
    prefixes = tuple(service.prefix for service in EVERYTHING)
    settings |= published
    settings |= {
        name: value
        for name, value in environ.items()
        if value and (name.startswith(prefixes) or name in {"LAB_KEY", "LAB_REDIS_URL", "LOG_LEVEL"})
    }
    # what one service is called, the others must call it too
    issuer, resource_url = settings["AUTH_SERVICE_ISSUER"], settings["RESOURCE_SERVICE_PUBLIC_URL"]
    follows = {
        "RESOURCE_SERVICE_ISSUER": issuer,
        "CLIENT_WEBAPP_ISSUER": issuer,
        "CLIENT_WEBAPP_RESOURCE_URL": resource_url,
        "CLIENT_WEBAPP_RESOURCE_IDENTIFIER": settings["RESOURCE_SERVICE_RESOURCE_IDENTIFIER"],
        "CLIENT_URL": settings["CLIENT_WEBAPP_PUBLIC_URL"],
        "AUTH_URL": issuer,
        "RESOURCE_URL": resource_url,
        **({"OBSERVER_URL": public[OBSERVER]} if OBSERVER in public else {}),
    }
    return follows | settings


def of_service(service: Service, settings: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of one service: its own settings without the prefix, and none of the others'."""
    prefixes = tuple(each.prefix for each in EVERYTHING)
    shared = {name: value for name, value in settings.items() if not name.startswith(prefixes)}
    if service is OBSERVER:
        shared.pop("LAB_KEY", None)
    own = {
        name.removeprefix(service.prefix): value for name, value in settings.items() if name.startswith(service.prefix)
    }
    return inherited(environ) | shared | own


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """What a process of the lab takes over from the terminal: all but the services' settings and gunicorn's."""
    prefixes = tuple(service.prefix for service in EVERYTHING)
    kept = {
        name: value for name, value in environ.items() if not name.startswith(prefixes) and name != "GUNICORN_CMD_ARGS"
    }
    return kept | {"PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in FOLDERS)}
