"""The containers that `make up` started, for the tests that `make test-compose` runs against them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from functools import cache
from pathlib import Path

from rolecall_lab import containers
from rolecall_lab.environment import AUTH, CLIENT, OBSERVER, RESOURCE, SERVICES
from support.stack import Stack, wait_until

ROOT = Path(__file__).parents[2]


class Containers(Stack):
    """Addresses of the services; their logs come from Docker."""

    def log(self, service: str) -> str:
        return docker("compose", "logs", "--no-log-prefix", service)


def asked_for() -> bool:
    """Whether the tests are to run against the containers."""
    return bool(os.environ.get("ROLECALL_COMPOSE"))


def docker(*arguments: str, check: bool = True, stdin: str | None = None) -> str:
    """What a docker command prints."""
    done = subprocess.run(
        ["docker", *arguments], cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=180, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"docker {' '.join(arguments)}: {done.stderr[-800:]}")
    return done.stdout if check else done.stdout + done.stderr


def python_in(service: str, code: str) -> str:
    """What a piece of Python prints in one of a service's containers."""
    return docker("exec", "-i", names(service)[0], "python", "-c", code)


def told_since(moment: float) -> str:
    """What explains a failure: the checks that failed, and what was logged as a warning or worse (since the epoch)."""
    lines = []
    try:
        for event in sorted(stack().events(), key=lambda event: float(event["at"])):
            failed = [check for check in event["checks"] or () if not check["passed"]]
            if failed and event["at"] > moment:
                lines.append(f"{event['at']:.2f} {event['role']} {event['path']} {json.dumps(failed)[:300]}")
    except (OSError, KeyError) as error:
        lines.append(f"no events: {error}")
    logged = docker("compose", "logs", "--no-color", "--no-log-prefix", "--since", str(int(moment)), check=False)
    lines += [line[:300] for line in logged.splitlines() if re.search(r'"level": "(WARNING|ERROR|CRITICAL)"', line)]
    return "\n".join(lines[-40:])


def settle() -> None:
    """Wait until the services are ready: what one test has stopped is no affair of the next."""
    services = stack()
    urls = (services.auth, services.api, services.client)
    wait_until(lambda: all(services.get(f"{url}/readyz")[0] == 200 for url in urls for _ in range(3)))


def names(service: str) -> list[str]:
    """The running containers of a service."""
    return [each.name for each in containers.of(service)]


@cache
def production_image(service: str) -> str:
    """Build the image of one service as production has it."""
    image = f"rolecall-{service}"
    docker("build", "-q", "--target", "production", "--build-arg", f"SERVICE={service}", "-t", image, ".")
    return image


@cache
def stack() -> Containers:
    """Where the containers are reached from outside."""
    hosts = os.environ.get("HOSTS") or "localhost"
    urls = [each.url(hosts, int(os.environ.get(each.port_setting) or each.port)) for each in (CLIENT, AUTH, RESOURCE)]
    workers = 2 * sum(len(names(each.name)) for each in SERVICES)
    observer = OBSERVER.url(hosts, int(os.environ.get(OBSERVER.port_setting) or OBSERVER.port))
    return Containers(ROOT, *urls, redis_url="", pids={}, workers=workers, observer=observer)
