"""The addresses of the lab that `make run` or `make up` started from this checkout."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rolecall_lab.launcher import containers
from rolecall_lab.launcher.environment import ROOT, SERVICES, Service, read_env
from rolecall_lab.walker import LocalNames


class NothingRuns(Exception):
    """The lab of this checkout is not running; the text explains how to start it."""

    def __init__(self) -> None:
        super().__init__(
            "the lab of this checkout is not running; start it with `make run` in another terminal, or `make up`"
        )


def notice(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the launcher's description of the running lab; empty if `make run` of this checkout is not running."""
    folder = Path(environ.get("ROLECALL_DIR") or ROOT / ".rolecall")
    try:
        found: dict[str, Any] = json.loads((folder / "running.json").read_text())
        os.kill(found["pid"], 0)  # raises an error if the launcher was killed and could not clear the file
    except (OSError, ValueError, KeyError):
        return {}
    return found if "services" in found else {}


def ports(environ: Mapping[str, str]) -> dict[Service, str]:
    """Return `host:port` where each service of this checkout's lab should listen on this machine.

    Raises:
        NothingRuns: neither `make run` nor `make up` has started a lab from this checkout.
    """
    services = notice(environ).get("services", {})
    if services:
        return {each: services[each.name]["url"].split("//")[1] for each in SERVICES}
    if not containers.all_containers():
        raise NothingRuns
    try:
        chosen = {**read_env(ROOT / ".env"), **environ}  # the settings of `make up`
    except OSError:
        chosen = dict(environ)
    return {each: f"127.0.0.1:{chosen.get(each.port_setting) or each.port}" for each in SERVICES}


def addresses(environ: Mapping[str, str]) -> dict[Service, str]:
    """Return the public address of each service.

    Raises:
        NothingRuns: the lab does not run.
    """
    client = next(iter(SERVICES))
    try:
        urls = ask(f"http://{ports(environ)[client]}/_lab/view")["addresses"]
        return {each: urls[each.name] for each in SERVICES}
    except (OSError, ValueError, KeyError):
        raise NothingRuns from None


def description(environ: Mapping[str, str], urls: Iterable[str]) -> str:
    """Return a line that identifies the lab with these addresses."""
    found = notice(environ)
    origin = f"started by `make run`, pid {found['pid']}" if found else "started by `make up`"
    return f"{', '.join(urls)} ({origin})"


def ask(url: str, timeout: float = 10.0) -> dict[str, Any]:
    """Fetch a JSON object from the lab; `timeout` is in seconds.

    Raises:
        OSError: the lab does not respond, or responds with an error.
        ValueError: the response is not a JSON object.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), LocalNames())
    with opener.open(url, timeout=timeout) as response:
        found = json.loads(response.read())
    if not isinstance(found, dict):
        raise ValueError(f"{url} did not return a JSON object")
    return found
