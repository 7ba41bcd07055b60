"""How things look from inside a service: its settings, clock and stores, and whom it reaches. For `make doctor`."""

from __future__ import annotations

import socket
from typing import Any

from flask import Flask

from rolecall import clock
from rolecall.http import HttpClient, Unreachable
from rolecall.settings import ServiceSettings, declared_settings
from rolecall.vocabulary import METADATA_PATH, RESOURCE_METADATA_PATH
from rolecall.web.health import fault_of
from rolecall_lab.launcher.environment import AUTH, CLIENT, RESOURCE
from rolecall_lab.settings import LabSettings

_http = HttpClient(connect=1.0, read=2.0)


def of(app: Flask, lab: LabSettings) -> dict[str, Any]:
    """The view of one process, without a secret.

    `role`; `host`, whose view it is; `addresses` of all three services, as this one was told them; `issuer`; `now`
    (seconds, the system's clock) and `offset` (seconds, the lab's); `stores` and `reaches` (for each an empty text when
    it is well, else what is wrong).
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
        "stores": {name: fault_of(question) for name, question in app.extensions["rolecall_ready"].items()},
        "reaches": _reaches(values),
    }


def _reaches(values: dict[str, Any]) -> dict[str, str]:
    """Whether the other services are found under the addresses that this one uses, and are who they should be."""
    found = {}
    if "backchannel_url" in values:
        url = (values["backchannel_url"] or values["issuer"]) + METADATA_PATH
        found[AUTH.name] = _names(url, "issuer", values["issuer"])
    if "resource_backchannel_url" in values:
        url = values["resource_backchannel_url"] or values["resource_url"]
        found[RESOURCE.name] = _names(url + RESOURCE_METADATA_PATH, "resource", values["resource_identifier"])
    return found


def _names(url: str, member: str, expected: str) -> str:
    try:
        named = _http.send("GET", url).json().get(member)
    except (Unreachable, ValueError) as error:
        return str(error) if isinstance(error, Unreachable) else f"{url} did not answer with JSON"
    return "" if named == expected else f"{url} says {member} {named}, and this service was told {expected}"
