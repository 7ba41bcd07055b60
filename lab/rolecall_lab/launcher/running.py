"""Where the lab runs on this machine, whether `make run` started it or `make up`."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rolecall_lab.launcher.environment import ROOT, SERVICES, Service, read_env
from rolecall_lab.walker import LocalNames


class NothingRuns(Exception):
    """The lab does not run here; the text says how to start it."""


def notice(environ: Mapping[str, str]) -> dict[str, Any]:
    """What the launcher of `make run` says of itself; empty when none runs."""
    folder = Path(environ.get("ROLECALL_DIR") or ROOT / ".rolecall")
    try:
        found: dict[str, Any] = json.loads((folder / "running.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if "services" in found else {}


def ports(environ: Mapping[str, str]) -> dict[Service, str]:
    """Where each service should listen on this machine: `host:port`."""
    services = notice(environ).get("services", {})
    if services:
        return {each: services[each.name]["url"].split("//")[1] for each in SERVICES}
    try:
        chosen = {**read_env(ROOT / ".env"), **environ}  # what `make up` was told
    except OSError:
        chosen = dict(environ)
    return {each: f"127.0.0.1:{chosen.get(each.port_setting) or each.port}" for each in SERVICES}


def addresses(environ: Mapping[str, str]) -> dict[Service, str]:
    """The public address of each service.

    Raises:
        NothingRuns: there is no lab.
    """
    client = next(iter(SERVICES))
    try:
        urls = ask(f"http://{ports(environ)[client]}/_lab/view")["addresses"]
        return {each: urls[each.name] for each in SERVICES}
    except (OSError, ValueError, KeyError):
        raise NothingRuns("the lab does not run; start it with `make run` in another terminal, or `make up`") from None


def ask(url: str, timeout: float = 10.0) -> dict[str, Any]:
    """GET a JSON object of the lab; `timeout` in seconds.

    Raises:
        OSError: nobody answers, or with an error.
        ValueError: it is no JSON object.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), LocalNames())
    with opener.open(url, timeout=timeout) as answer:
        found = json.loads(answer.read())
    if not isinstance(found, dict):
        raise ValueError(f"{url} answered with something else")
    return found
