"""A service's report about itself, for `make doctor`: its settings, clock, stores, and connections."""

from __future__ import annotations

import socket
from typing import Any

from flask import Flask

from rolecall import clock
from rolecall.http import HttpClient, Unreachable, metadata_url
from rolecall.settings import ServiceSettings, declared_settings
from rolecall.vocabulary import RESOURCE_METADATA_PATH
from rolecall.web.health import fault_of
from rolecall_lab.launcher.environment import AUTH, CLIENT, RESOURCE
from rolecall_lab.settings import LabSettings

_http = HttpClient(connect=1.0, read=2.0)


def collect(app: Flask, lab: LabSettings) -> dict[str, Any]:
    """Return the report of this process, without secrets.

    `role`; `host`, the name of the machine or container; `addresses` of all three services, as configured here;
    `issuer`; `now` (seconds, the system's clock) and `offset` (seconds, the lab's clock); `stores` and `reaches` (for
    each store and each service that this one calls, the error message, or an empty string if it works).
    """
    settings: ServiceSettings = app.extensions["rolecall_settings"]
    values = {field.name: getattr(settings, field.name) for field in declared_settings(type(settings))}
    return {
        "role": lab.role,
        "host": socket.gethostname(),
        "addresses": {CLIENT.name: lab.client_url, AUTH.name: lab.auth_url, RESOURCE.name: lab.resource_url},
        "issuer": values["issuer"],
        "now": clock.now() - clock.offset() + lab.lab_clock_skew,
        "offset": clock.offset() - lab.lab_clock_skew,
        "stores": {name: fault_of(check) for name, check in app.extensions["rolecall_ready"].items()},
        "reaches": _check_connections(values),
    }


def _check_connections(values: dict[str, Any]) -> dict[str, str]:
    """Check that the configured addresses of the other services lead to the expected services."""
    errors = {}
    if "backchannel_url" in values:
        url = metadata_url(values["issuer"], values["backchannel_url"])
        errors[AUTH.name] = _identity_error(url, "issuer", values["issuer"])
    if "resource_backchannel_url" in values:
        url = values["resource_backchannel_url"] or values["resource_url"]
        errors[RESOURCE.name] = _identity_error(url + RESOURCE_METADATA_PATH, "resource", values["resource_identifier"])
    return errors


def _identity_error(url: str, member: str, expected: str) -> str:
    """Return why the metadata at `url` does not name the expected service; empty if it does."""
    try:
        actual = _http.send("GET", url).json().get(member)
    except Unreachable as error:
        return str(error)
    except ValueError:
        return f"{url} did not respond with JSON"
    return "" if actual == expected else f"{url} has the {member} {actual}, but this service expects {expected}"
