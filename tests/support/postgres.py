"""Run a command on PostgreSQL: on DATABASE_URL if it is set, else on a new server in Docker.

python tests/support/postgres.py COMMAND ...
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

IMAGE = "postgres:17-alpine"
STARTS_WITHIN = 120
"""Seconds."""


@contextmanager
def postgres() -> Iterator[str]:
    """Start PostgreSQL without durability, in memory; yield its URL and remove it.

    Raises:
        subprocess.CalledProcessError: Docker failed.
        TimeoutError: PostgreSQL did not start.
    """
    options = ["--detach", "--rm", "--publish", "127.0.0.1::5432", "--env", "POSTGRES_PASSWORD=test"]
    options += ["--tmpfs", "/var/lib/postgresql/data"]
    container = _docker("run", *options, IMAGE, "-c", "fsync=off", "-c", "max_connections=300")
    try:
        deadline = time.monotonic() + STARTS_WITHIN
        ready = ["docker", "exec", container, "pg_isready", "-q", "-h", "127.0.0.1", "-U", "postgres"]
        while subprocess.run(ready, check=False).returncode:
            if time.monotonic() > deadline:
                raise TimeoutError(f"PostgreSQL did not start within {STARTS_WITHIN} s")
            time.sleep(0.3)
        address = _docker("port", container, "5432").splitlines()[0]
        yield f"postgresql+psycopg://postgres:test@{address}/postgres"
    finally:
        subprocess.run(["docker", "rm", "--force", container], stdout=subprocess.DEVNULL, check=False)


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def main(command: list[str]) -> int:
    if os.environ.get("DATABASE_URL"):
        return subprocess.run(command, check=False).returncode
    with postgres() as url:
        return subprocess.run(command, env={**os.environ, "DATABASE_URL": url}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
