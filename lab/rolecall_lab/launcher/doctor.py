"""Check the lab that runs on this machine, and report problems and their solutions: `make doctor`."""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from rolecall import clock
from rolecall.http import metadata_url
from rolecall_lab.launcher import containers, running
from rolecall_lab.launcher.environment import AUTH, CLIENT, RESOURCE, SERVICES, Service

TOLERANCE: Final = 2.0
"""Seconds by which clocks may differ."""

REQUESTS: Final = 6
"""Requests to each service, so that probably every replica responds to one of them."""

ROLES: Final = {CLIENT: "client", AUTH: "authorization_server", RESOURCE: "resource_server"}

SLOW_CLIENTS: Final = 3000
"""The number of half-sent requests with which a service without a proxy was measured (docs/performance.md)."""

Report = dict[str, Any]
Problem = tuple[str, str]
"""A problem and its solution."""


def main() -> int:
    """Print the result of each check; return 1 if a check found a problem."""
    all_containers = [] if running.notice(os.environ) else containers.all_containers()
    try:
        ports = running.ports(os.environ)
    except running.NothingRuns as error:
        print(f"rolecall: {error}", file=sys.stderr)
        return 1
    print(f"Lab: {running.description(os.environ, (f'http://{place}' for place in ports.values()))}")
    reports: dict[Service, list[Report]] = {}
    wrong = False
    for title, problems in (
        ("containers", _containers(all_containers)),
        ("ports", _ports(ports, bool(all_containers), reports)),
        ("addresses", _addresses(reports)),
        ("issuer", _issuer(reports)),
        ("clocks", _clocks(reports)),
        ("stores", _stores(reports)),
    ):
        if title == "containers" and not all_containers:
            continue
        found = list(problems)
        wrong = wrong or bool(found)
        print(f"{'✗' if found else '✓'} {title:<11}{'' if found else _well(title, reports, all_containers)}".rstrip())
        for problem, solution in found:
            print(f"    {problem}\n      → {solution}")
        if title == "ports" and not reports:
            return 1
    return int(wrong)


def _well(title: str, reports: Mapping[Service, list[Report]], all_containers: list[containers.Container]) -> str:
    """Describe a check that found no problem."""
    report = next(iter(reports.values()), [{}])[0]
    match title:
        case "containers":
            return f"{len(all_containers)}, all healthy"
        case "ports" if all_containers:
            return "each service responds on its port, behind the front"
        case "ports":
            return (
                "each service responds on its port, without a proxy; "
                f"`make up` puts one in front, which more than {SLOW_CLIENTS:,} slow connections require"
            )
        case "addresses":
            return ", ".join(report["addresses"].values())
        case "issuer":
            return f"{report['issuer']}, the same for all services and from this machine"
        case "clocks" if report["offset"]:
            return f"all clocks agree with this machine; the clock of the lab is offset by {report['offset']:.0f} s"
        case "clocks":
            return "all clocks agree with this machine"
        case _:
            return "databases migrated, Redis does not evict keys"


def _containers(found: list[containers.Container]) -> Iterator[Problem]:
    for each in found:
        if not each.is_healthy:
            state = f"{each.state}{f' ({each.health})' if each.health else ''}"
            line = containers.last_line(each)
            yield (
                f"{each.name} is {state}{f'; last log line: {line}' if line else ''}",
                f"`make up` starts it again; `docker compose logs {each.service}` shows the reason",
            )
    there = {each.service for each in found}
    for service in ("front", "redis", "postgres", *(each.name for each in SERVICES)):
        if found and service not in there:
            yield f"there is no container of {service}", "`make up` creates it"


def _ports(
    ports: Mapping[Service, str], in_containers: bool, reports: dict[Service, list[Report]]
) -> Iterator[Problem]:
    start = "`make up`" if in_containers else "`make run`"
    for service, place in ports.items():
        port = place.rpartition(":")[2]
        try:
            found = [_look(f"http://{place}/_lab/view") for _ in range(REQUESTS)]
        except (OSError, ValueError, http.client.HTTPException) as error:
            yield _no_response(service, port, error, start)
            continue
        if found[0].get("role") != ROLES[service]:
            yield (
                f"port {port} should be the {service.role}, but is the {str(found[0].get('role')).replace('_', ' ')}",
                f"set {service.port_setting} to the right port, for `make up` and for `make doctor`",
            )
            continue
        reports[service] = list({report["host"]: report for report in found}.values())


def _look(url: str) -> Report:
    """Fetch a report, and add `ahead`: by how many seconds the clock of that process is ahead of ours."""
    report = running.ask(url)
    return {**report, "ahead": report.get("now", 0.0) - clock.now()}


def _no_response(service: Service, port: str, error: Exception, start: str) -> Problem:
    reason = getattr(error, "reason", error)
    status = getattr(error, "code", None)
    if isinstance(reason, ConnectionRefusedError):
        return (
            f"nothing listens on port {port} of the {service.role}",
            f"start it with {start}; if it uses another port, set {service.port_setting}",
        )
    if status in {502, 503, 504}:
        return (
            f"the proxy on port {port} gets no response from {service.name}",
            f"`docker compose logs {service.name}` shows the reason; `make up` starts it again",
        )
    return (
        f"another program responds on port {port} of the {service.role} ({status or reason})",
        f"stop that program, or choose another port: {service.port_setting}=9{port[-3:]}",
    )


def _addresses(reports: Mapping[Service, list[Report]]) -> Iterator[Problem]:
    configured = {tuple(report["addresses"].items()) for each in reports.values() for report in each}
    if len(configured) > 1:
        yield (
            "the services have different addresses configured: "
            + "; ".join(", ".join(url for _, url in one) for one in configured),
            "start them together, with the same HOSTS and ports",
        )
    for service, each in reports.items():
        for report in each:
            for other, problem in report["reaches"].items():
                if problem:
                    yield (
                        f"{service.name} ({report['host']}) cannot reach {other}: {problem}",
                        "check the log of that service, and the BACKCHANNEL_URL settings in docker-compose.yml",
                    )


def _issuer(reports: Mapping[Service, list[Report]]) -> Iterator[Problem]:
    issuers = {report["issuer"]: service for service, each in reports.items() for report in each}
    if len(issuers) > 1:
        yield (
            "the services have different issuers configured: "
            + ", ".join(f"{url} ({s.name})" for url, s in issuers.items()),
            "set ISSUER to the same address for all of them, and restart them",
        )
    for issuer in issuers:
        try:
            named = running.ask(metadata_url(issuer)).get("issuer")
        except (OSError, ValueError, http.client.HTTPException) as error:
            yield (
                f"the issuer {issuer} is not reachable from this machine ({getattr(error, 'reason', error)})",
                "set ISSUER to an address that a browser on this machine can open",
            )
            continue
        if named != issuer:
            yield (
                f"the metadata at {issuer} name the issuer {named}",
                "set ISSUER to the address that the browser and the services use",
            )


def _clocks(reports: Mapping[Service, list[Report]]) -> Iterator[Problem]:
    offsets = {report["offset"] for each in reports.values() for report in each}
    if len(offsets) > 1:
        yield (
            f"the services have different clock offsets: {', '.join(f'{each:.0f} s' for each in sorted(offsets))}",
            "reset them with `curl -X DELETE http://localhost:8000/_lab/clock`",
        )
    for service, each in reports.items():
        for report in each:
            ahead = report["ahead"]
            if abs(ahead) > TOLERANCE:
                yield (
                    f"the clock of {service.name} ({report['host']}) is {abs(ahead):.0f} s "
                    f"{'ahead of' if ahead > 0 else 'behind'} this machine's",
                    "tokens will be rejected as expired or not yet valid: set the clocks, or restart Docker",
                )


def _stores(reports: Mapping[Service, list[Report]]) -> Iterator[Problem]:
    solutions = {
        "sql": "run `make up`, which migrates (see `docker compose logs migrate` and `docker compose logs postgres`)",
        "keys": "run `make up`, which runs `flask db-upgrade` and creates the keys",
        "seeds": "run `make up`, which applies them (see `docker compose logs migrate`)",
    }
    for service, each in reports.items():
        for report in each:
            for store, problem in report["stores"].items():
                if problem:
                    solution = solutions.get(
                        store,
                        "start Redis (see `docker compose logs redis`); docker-compose.yml sets its eviction policy",
                    )
                    yield f"{service.name} ({report['host']}): {problem}", solution


if __name__ == "__main__":
    sys.exit(main())
