"""The containers that `make up` started, for the tests that `make test-compose` runs against them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

from rolecall.vocabulary import ID_TOKEN_ALGORITHMS
from rolecall_lab.launcher import containers
from rolecall_lab.launcher.environment import AUTH, CLIENT, OBSERVER, RESOURCE, SERVICES, inherited
from support.stack import Stack, wait_until

ROOT = Path(__file__).parents[2]
PSQL = ("compose", "exec", "-T", "postgres", "psql", "-tAqU", "postgres", "-c")


class Containers(Stack):
    """Addresses of the services in containers; the logs come from Docker."""

    def log(self, service: str) -> str:
        return docker("compose", "logs", "--no-log-prefix", service)


def asked_for() -> bool:
    """Return whether the tests run against the containers."""
    return bool(os.environ.get("ROLECALL_COMPOSE"))


def docker(*arguments: str, check: bool = True, stdin: str | None = None) -> str:
    """Run a docker command and return its output."""
    done = subprocess.run(
        ["docker", *arguments], cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=180, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"docker {' '.join(arguments)}: {done.stderr[-800:]}")
    return done.stdout if check else done.stdout + done.stderr


def python_in(service: str, code: str) -> str:
    """Run Python code in a container of a service and return its output."""
    return docker("exec", "-i", names(service)[0], "python", "-c", code)


def told_since(moment: float) -> str:
    """Return the failed checks, and the log lines of level WARNING or above, since a time (seconds since the epoch)."""
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
    """Wait until the services are ready, so that a service that one test stopped does not affect the next test."""
    services = stack()
    urls = (services.auth, services.api, services.client)
    wait_until(lambda: all(services.get(f"{url}/readyz")[0] == 200 for url in urls for _ in range(3)))


def names(service: str) -> list[str]:
    """Return the names of the running containers of a service."""
    return [each.name for each in containers.for_service(service)]


@cache
def production_image(service: str) -> str:
    """Build the production image of a service, and return its name."""
    image = f"rolecall-{service}"
    docker("build", "-q", "--target", "production", "--build-arg", f"SERVICE={service}", "-t", image, ".")
    return image


@cache
def stack() -> Containers:
    """Return the addresses of the containers from outside."""
    hosts = os.environ.get("HOSTS") or "localhost"
    urls = [each.url(hosts, int(os.environ.get(each.port_setting) or each.port)) for each in (CLIENT, AUTH, RESOURCE)]
    workers = 2 * sum(len(names(each.name)) for each in SERVICES)
    observer = OBSERVER.url(hosts, int(os.environ.get(OBSERVER.port_setting) or OBSERVER.port))
    return Containers(ROOT, *urls, redis_url="", pids={}, workers=workers, observer=observer)


def redis_cli(*command: str) -> str:
    login = 'redis-cli --no-auth-warning --user admin -a "$(cat /run/secrets/redis_admin)" "$@"'
    return docker("compose", "exec", "-T", "redis", "sh", "-c", login, "redis-cli", *command)


def healthy(name: str) -> bool:
    return docker("inspect", "--format", "{{.State.Health.Status}}", name).strip() == "healthy"


def psql(statement: str, database: str = "postgres") -> str:
    return docker(*PSQL, statement, database).strip()


def rotated(stack: Stack) -> set[str]:
    """Publish new keys and return their IDs; if keys were just rotated, first advance the clock until it is allowed."""
    may_rotate(stack)
    done = subprocess.run(
        [sys.executable, "-m", "rolecall_lab.launcher.flask_command", "auth-service", "keys", "rotate"],
        cwd=ROOT,
        env=inherited(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    new = {line.split()[1].rstrip(".") for line in done.stdout.splitlines() if line.startswith("Published")}
    assert len(new) == len(ID_TOKEN_ALGORITHMS), done.stdout + done.stderr
    return new


def may_rotate(stack: Stack) -> None:
    """Advance the clock until no key waits to sign; people's codes and tokens may expire."""
    listed = docker("compose", "exec", "-T", "auth-service", "sh", "-c", 'flask --app "$ROLECALL_WSGI" keys list')
    if waits := [int(seconds) for seconds in re.findall(r"published  for (\d+) more seconds", listed)]:
        stack.call("PUT", f"{stack.auth}/_lab/clock", json.dumps({"advance": max(waits) + 5}).encode())
