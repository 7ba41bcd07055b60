"""The containers of `make up`, as Docker Compose tells them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Final

from rolecall_lab.launcher.environment import ROOT

TIMEOUT: Final = 20
"""Seconds for one question to Docker."""


@dataclass(frozen=True, slots=True)
class Container:
    """One container: its service, its name, its state and health in Docker's words, and its exit code."""

    service: str
    name: str
    state: str
    health: str
    exit_code: int

    @property
    def is_well(self) -> bool:
        """Running and healthy, or done with what it was started for."""
        if self.state == "exited":
            return self.exit_code == 0 and self.service == "migrate"
        return self.state == "running" and self.health in {"", "healthy"}


def everything() -> list[Container]:
    """All containers of the project, also those that have stopped; none without Docker."""
    rows = (json.loads(line) for line in _docker("compose", "ps", "--all", "--format", "json").splitlines())
    return [Container(row["Service"], row["Name"], row["State"], row["Health"], row["ExitCode"]) for row in rows]


def of(service: str) -> list[Container]:
    """Those of one service that run."""
    return [each for each in everything() if each.service == service and each.state == "running"]


def last_words(container: Container) -> str:
    """The last line that a container wrote."""
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
