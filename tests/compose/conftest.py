"""The containers that `make up` started: `make test-compose` runs these tests; elsewhere they are skipped."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from stack import Stack

ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get("ROLECALL_COMPOSE"):
        for item in items:
            if "compose" in Path(item.fspath).parts:
                item.add_marker(pytest.mark.skip(reason="needs `make up`; `make test-compose` runs it"))


def docker(*arguments: str, check: bool = True) -> str:
    """What a docker command prints."""
    done = subprocess.run(["docker", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    if check and done.returncode:
        raise AssertionError(f"docker {' '.join(arguments)}: {done.stderr[-800:]}")
    return done.stdout


def python_in(service: str, code: str) -> str:
    """What a piece of Python prints in a service's container."""
    return docker("compose", "exec", "-T", service, "python", "-c", code)


@pytest.fixture(scope="session")
def containers() -> Stack:
    """Where the containers are reached from outside."""
    ports = {"CLIENT_PORT": "8000", "AUTH_PORT": "8001", "RESOURCE_PORT": "8002"}
    urls = [f"http://localhost:{os.environ.get(name) or port}" for name, port in ports.items()]
    return Stack(ROOT, *urls, redis_url="", pids={})
