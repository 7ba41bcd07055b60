"""The authorization server as in production, but without a proxy and without its stores."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rolecall_lab.launcher.environment import inherited
from support.servers import free_port
from support.stack import wait_until


@contextmanager
def gunicorn(folder: Path, **environ: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run the authorization server; yield its process and its port."""
    port = free_port()
    own = {
        "ISSUER": "https://auth.example",
        "SECRET_KEY": "s" * 32,
        "DATA_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        "DATABASE_URL": f"sqlite:///{folder}/auth.db",
        "REDIS_URL": "redis://127.0.0.1:9",
    }
    command = [sys.executable, "-m", "gunicorn", "-c", "python:rolecall.gunicorn_conf", "-b", f"127.0.0.1:{port}"]
    with subprocess.Popen(
        [*command, "rolecall_auth.wsgi:app()"],
        env={**inherited(os.environ), **own, **environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            wait_until(lambda: is_healthy(port))
            yield process, port
        finally:
            process.terminate()
            process.wait(60)


def is_healthy(port: int) -> bool:
    try:
        return "ok" in get(f"http://127.0.0.1:{port}/healthz")
    except OSError:
        return False


def get(url: str) -> str:
    """Return the body of the response, also of an error."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=60) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return str(error.read().decode())
