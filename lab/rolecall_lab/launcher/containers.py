"""The containers of `make up`, as Docker Compose reports them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Final

from rolecall_lab.launcher.environment import ROOT

TIMEOUT: Final = 20
"""Seconds that a Docker command may take."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container, with its state and health in Docker's terms."""

    service: str
    name: str
    state: str
    health: str
    exit_code: int

    @property
    def is_healthy(self) -> bool:
        """Whether the container is running and healthy, or has finished its task."""
        if self.state == "exited":
            return self.exit_code == 0 and self.service == "migrate"
        return self.state == "running" and self.health in {"", "healthy"}


def all_containers() -> list[Container]:
    """Return all containers of the project, including stopped ones; none without Docker."""
    rows = (json.loads(line) for line in _docker("compose", "ps", "--all", "--format", "json").splitlines())
    return [Container(row["Service"], row["Name"], row["State"], row["Health"], row["ExitCode"]) for row in rows]


def for_service(service: str) -> list[Container]:
    """Return the running containers of a service."""
    return [each for each in all_containers() if each.service == service and each.state == "running"]


def last_line(container: Container) -> str:
    """Return the last line of a container's log."""
    lines = _docker("logs", "--tail", "1", container.name).strip().splitlines()
    return lines[-1][:300] if lines else ""


def _docker(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["docker", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if arguments[0] == "logs" else subprocess.DEVNULL,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout
