"""Looks at the lab that runs here, and says in plain words what is wrong and how to mend it: `make doctor`."""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from rolecall import clock
from rolecall.vocabulary import METADATA_PATH
from rolecall_lab.launcher import containers, running
from rolecall_lab.launcher.environment import AUTH, CLIENT, RESOURCE, SERVICES, Service

TOLERANCE: Final = 2.0
"""Seconds by which clocks may differ."""

LOOKS: Final = 6
"""Questions to each service, so that each of its replicas is likely asked."""

ROLES: Final = {CLIENT: "client", AUTH: "authorization_server", RESOURCE: "resource_server"}

View = dict[str, Any]
Fault = tuple[str, str]
"""What is wrong, and how to mend it."""


def main() -> int:
    """Print what was looked at; 1 when anything is wrong."""
    all_containers = [] if running.notice(os.environ) else containers.everything()
    views: dict[Service, list[View]] = {}
    wrong = False
    for title, faults in (
        ("containers", _containers(all_containers)),
        ("ports", _ports(os.environ, bool(all_containers), views)),
        ("addresses", _addresses(views)),
        ("issuer", _issuer(views)),
        ("clocks", _clocks(views)),
        ("stores", _stores(views)),
    ):
        if title == "containers" and not all_containers:
            continue
        found = list(faults)
        wrong = wrong or bool(found)
        print(f"{'✗' if found else '✓'} {title:<11}{'' if found else _well(title, views, all_containers)}".rstrip())
        for fault, remedy in found:
            print(f"    {fault}\n      → {remedy}")
        if title == "ports" and not views:
            return 1
    return int(wrong)


def _well(title: str, views: Mapping[Service, list[View]], all_containers: list[containers.Container]) -> str:
    """What to say of a thing that is well."""
    view = next(iter(views.values()), [{}])[0]
    match title:
        case "containers":
            return f"{len(all_containers)}, all as they should be"
        case "ports":
            return "each service answers at its own"
        case "addresses":
            return ", ".join(view["addresses"].values())
        case "issuer":
            return f"{view['issuer']}, the same for all and from everywhere"
        case "clocks" if view["offset"]:
            return f"all tell this machine's time, and the lab's clock is turned by {view['offset']:.0f} s"
        case "clocks":
            return "all tell this machine's time"
        case _:
            return "databases migrated, Redis keeps what it holds"


def _containers(found: list[containers.Container]) -> Iterator[Fault]:
    for each in found:
        if not each.is_well:
            state = f"{each.state}{f' ({each.health})' if each.health else ''}"
            said = containers.last_words(each)
            yield (
                f"{each.name} is {state}{f'; the last that it said: {said}' if said else ''}",
                f"make up starts it again; docker compose logs {each.service} tells more",
            )
    there = {each.service for each in found}
    for service in ("front", "redis", "postgres", *(each.name for each in SERVICES)):
        if found and service not in there:
            yield f"there is no container of {service}", "make up makes it"


def _ports(environ: Mapping[str, str], in_containers: bool, views: dict[Service, list[View]]) -> Iterator[Fault]:
    start = "make up" if in_containers else "make run (or make up)"
    for service, place in running.ports(environ).items():
        port = place.rpartition(":")[2]
        try:
            found = [_look(f"http://{place}/_lab/view") for _ in range(LOOKS)]
        except (OSError, ValueError, http.client.HTTPException) as error:
            yield _silence(service, port, error, start)
            continue
        if found[0].get("role") != ROLES[service]:
            yield (
                f"port {port} should be the {service.role}, and is the {str(found[0].get('role')).replace('_', ' ')}",
                f"set {service.port_setting} to the port that was meant, the same for make up and make doctor",
            )
            continue
        views[service] = list({view["host"]: view for view in found}.values())


def _look(url: str) -> View:
    """A view, with `ahead`: the seconds by which that process's clock is ahead of ours."""
    view = running.ask(url)
    return {**view, "ahead": view.get("now", 0.0) - clock.now()}


def _silence(service: Service, port: str, error: Exception, start: str) -> Fault:
    reason = getattr(error, "reason", error)
    status = getattr(error, "code", None)
    if isinstance(reason, ConnectionRefusedError):
        return (
            f"nobody listens at port {port}, where the {service.role} should be",
            f"{start} starts it; {service.port_setting} says where, if it is another port",
        )
    if status in {502, 503, 504}:
        return (
            f"the front at port {port} finds no {service.name} that answers",
            f"docker compose logs {service.name} tells why; make up starts it again",
        )
    return (
        f"at port {port} something answers that is not Rolecall's {service.role} ({status or reason})",
        f"end that program, or choose another port: {service.port_setting}=9{port[-3:]}",
    )


def _addresses(views: Mapping[Service, list[View]]) -> Iterator[Fault]:
    told = {tuple(view["addresses"].items()) for each in views.values() for view in each}
    if len(told) > 1:
        yield (
            "the services were told different addresses: "
            + "; ".join(", ".join(url for _, url in one) for one in told),
            "start them together, with one setting of HOSTS and of the ports",
        )
    for service, each in views.items():
        for view in each:
            for other, fault in view["reaches"].items():
                if fault:
                    yield (
                        f"{service.name} ({view['host']}) does not find {other}: {fault}",
                        "look at that service's log, and at the BACKCHANNEL_URL settings (docker-compose.yml)",
                    )


def _issuer(views: Mapping[Service, list[View]]) -> Iterator[Fault]:
    issuers = {view["issuer"]: service for service, each in views.items() for view in each}
    if len(issuers) > 1:
        yield (
            "the services were told different issuers: " + ", ".join(f"{url} ({s.name})" for url, s in issuers.items()),
            "set ISSUER to the same address for all of them, and start them again",
        )
    for issuer in issuers:
        try:
            named = running.ask(issuer + METADATA_PATH).get("issuer")
        except (OSError, ValueError, http.client.HTTPException) as error:
            yield (
                f"the issuer {issuer} does not answer from here ({getattr(error, 'reason', error)})",
                "ISSUER must be the address that a browser on this machine can open",
            )
            continue
        if named != issuer:
            yield (
                f"what answers at {issuer} calls itself {named}",
                "a browser and the services must know it by one name: set ISSUER to the address that is used",
            )


def _clocks(views: Mapping[Service, list[View]]) -> Iterator[Fault]:
    offsets = {view["offset"] for each in views.values() for view in each}
    if len(offsets) > 1:
        yield (
            f"the lab's clock is turned differently: by {', '.join(f'{each:.0f} s' for each in sorted(offsets))}",
            "curl -X DELETE http://localhost:8000/_lab/clock turns all of them back",
        )
    for service, each in views.items():
        for view in each:
            ahead = view["ahead"]
            if abs(ahead) > TOLERANCE:
                yield (
                    f"the clock of {service.name} ({view['host']}) is {abs(ahead):.0f} s "
                    f"{'ahead of' if ahead > 0 else 'behind'} this machine's",
                    "tokens will be refused as too old or too early: set the clocks, or restart Docker",
                )


def _stores(views: Mapping[Service, list[View]]) -> Iterator[Fault]:
    remedies = {
        "sql": "make up migrates (docker compose logs migrate, docker compose logs postgres)",
        "keys": "flask db-upgrade makes the keys: make up runs it",
        "seeds": "make up applies them (docker compose logs migrate)",
    }
    for service, each in views.items():
        for view in each:
            for store, fault in view["stores"].items():
                if fault:
                    remedy = remedies.get(
                        store, "start Redis (docker compose logs redis); docker-compose.yml sets its policy"
                    )
                    yield f"{service.name} ({view['host']}): {fault}", remedy


if __name__ == "__main__":
    sys.exit(main())
