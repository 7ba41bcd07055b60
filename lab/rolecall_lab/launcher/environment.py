"""The services of the lab: their roles and addresses, and the environment of each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

ROOT: Final = Path(__file__).resolve().parents[3]
FOLDERS: Final = ("shared", "auth-service", "resource-service", "client-webapp", "lab")
"""The folders that contain the packages."""

LAB_ENV: Final = ROOT / "lab" / "lab.env"
"""The published secrets of the lab."""

HOSTS: Final = ("localhost", "localhost-names")
"""The choices for the hostnames; with `localhost-names`, each service is a separate site."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service of the lab.

    Args:
        name: the name of its folder and of its log.
        role: its role (RFC 6749 section 1.1).
        label: `{label}_PORT` sets its port, and `{label}_URL` is the lab's setting for its address.
        port: the default port.
        hostname: its host if `HOSTS` is `localhost-names`.
    """

    name: str
    role: str
    label: str
    port: int
    hostname: str

    @property
    def prefix(self) -> str:
        """The prefix of its settings where the settings of all services are in one environment."""
        return f"{self.name.replace('-', '_').upper()}_"

    @property
    def port_setting(self) -> str:
        """The variable that sets its port."""
        return f"{self.label}_PORT"

    def url(self, hosts: str, port: int) -> str:
        """Return the address that a browser uses."""
        return f"http://{self.hostname if hosts == 'localhost-names' else 'localhost'}:{port}"


CLIENT: Final = Service("client-webapp", "client", "CLIENT", 8000, "app.localhost")
AUTH: Final = Service("auth-service", "authorization server", "AUTH", 8001, "auth.localhost")
RESOURCE: Final = Service("resource-service", "resource server", "RESOURCE", 8002, "api.localhost")
SERVICES: Final = (CLIENT, AUTH, RESOURCE)

OBSERVER: Final = Service("lab-observer", "observer", "OBSERVER", 8003, "observer.localhost")
"""Draws the messages that the other services recorded; they do not depend on it."""

EVERYTHING: Final = (*SERVICES, OBSERVER)
"""All services, in the order in which the launcher starts them."""


def read_env(path: Path) -> dict[str, str]:
    """Read the `NAME=value` lines of a file.

    Raises:
        OSError: the file cannot be read.
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
    """Return the settings of all services, each with its service's prefix, and the settings that they share.

    `environ` takes precedence over `published` (the secrets of the lab), and both over the defaults derived from the
    arguments. The services reach each other at 127.0.0.1, because not every resolver resolves `*.localhost`.

    Args:
        ports: the port of each service.
        data: the folder of the SQLite databases.
    """
    public = {service: service.url(hosts, port) for service, port in ports.items()}
    inside = {service: f"http://127.0.0.1:{port}" for service, port in ports.items()}
    inside[AUTH] += urlsplit(environ.get("AUTH_SERVICE_ISSUER", "")).path
    settings = _defaults(public, inside, redis_url, data)
    prefixes = tuple(service.prefix for service in EVERYTHING)
    settings |= published
    settings |= {
        name: value
        for name, value in environ.items()
        if value and (name.startswith(prefixes) or name in {"LAB_KEY", "LAB_REDIS_URL", "LOG_LEVEL"})
    }
    # settings of one service that the others must agree with
    issuer, resource_url = settings["AUTH_SERVICE_ISSUER"], settings["RESOURCE_SERVICE_PUBLIC_URL"]
    is_foreign = settings.get("CLIENT_WEBAPP_ISSUER", issuer) != issuer
    if is_foreign and not environ.get("CLIENT_WEBAPP_BACKCHANNEL_URL"):
        settings.pop("CLIENT_WEBAPP_BACKCHANNEL_URL", None)
    follows = {
        "RESOURCE_SERVICE_ISSUER": issuer,
        "CLIENT_WEBAPP_ISSUER": issuer,
        "CLIENT_WEBAPP_RESOURCE_URL": resource_url,
        "CLIENT_URL": settings["CLIENT_WEBAPP_PUBLIC_URL"],
        "AUTH_URL": issuer,
        "RESOURCE_URL": resource_url,
        **({"OBSERVER_URL": public[OBSERVER]} if OBSERVER in public else {}),
    }
    if not is_foreign:  # another provider rejects a resource that it does not know (RFC 8707 section 2)
        follows["CLIENT_WEBAPP_RESOURCE_IDENTIFIER"] = settings["RESOURCE_SERVICE_RESOURCE_IDENTIFIER"]
    return follows | settings


def _defaults(
    public: Mapping[Service, str], inside: Mapping[Service, str], redis_url: str, data: Path
) -> dict[str, str]:
    return {
        "AUTH_SERVICE_ISSUER": public[AUTH],
        "AUTH_SERVICE_BACKCHANNEL_URLS": inside[AUTH],
        "AUTH_SERVICE_DATABASE_URL": f"sqlite:///{data}/auth-service.db",
        "AUTH_SERVICE_REDIS_URL": redis_url,
        "AUTH_SERVICE_SIGN_UP": "open",
        "AUTH_SERVICE_REGISTRATION": "open",
        "AUTH_SERVICE_REGISTRATION_PROFILE": "openid",
        "RESOURCE_SERVICE_PUBLIC_URL": public[RESOURCE],
        "RESOURCE_SERVICE_BACKCHANNEL_URL": inside[AUTH],
        "RESOURCE_SERVICE_RESOURCE_ID": "invoices-api",
        # the same value at every address, because clients compare it with the public one (RFC 9728 section 3.3)
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


def of_service(service: Service, settings: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of one service: its own settings without the prefix, and none of the other services."""
    prefixes = tuple(each.prefix for each in EVERYTHING)
    shared = {name: value for name, value in settings.items() if not name.startswith(prefixes)}
    if service is OBSERVER:
        shared.pop("LAB_KEY", None)
    own = {
        name.removeprefix(service.prefix): value for name, value in settings.items() if name.startswith(service.prefix)
    }
    is_foreign = service is CLIENT and own["ISSUER"] != settings["AUTH_SERVICE_ISSUER"]
    if is_foreign and not environ.get("CLIENT_WEBAPP_CLIENT_ID"):
        # the registration in the seeds means nothing to another provider: the client registers itself there
        own = {name: value for name, value in own.items() if name not in {"CLIENT_ID", "CLIENT_SECRET"}}
    return inherited(environ) | shared | own


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a process of the lab inherits from the terminal: not the settings of services and of gunicorn."""
    prefixes = tuple(service.prefix for service in EVERYTHING)
    kept = {
        name: value for name, value in environ.items() if not name.startswith(prefixes) and name != "GUNICORN_CMD_ARGS"
    }
    return kept | {
        "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in FOLDERS),
        "PYTHONSAFEPATH": "1",  # a module in the current directory must not replace one of ours
    }
