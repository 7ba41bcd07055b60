"""Python programs of tests/interop, with the configuration of their documentation and the addresses of the test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from support.foreign import INTEROP, configuration, installed, register, running
from support.servers import free_port
from support.stack import Stack, lab_command

ENVIRON: Final = {"NO_PROXY": "localhost", "no_proxy": "localhost", "PYTHONPATH": ""}
"""Environment variables of the programs: no proxies, and no modules from the environment of the tests."""


def interpreter() -> Path:
    """Return the Python with the packages of tests/interop/python/requirements.txt."""
    venv = [sys.executable, "-m", "venv", "venv"]
    pip = ["venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    folder = installed("software from PyPI", INTEROP / "python", venv, [*pip, "-r", "requirements.txt"])
    return folder / "venv/bin/python"


def configured(stack: Stack, folder: Path, source: str, replacements: dict[str, str]) -> None:
    """Copy the files of a folder of tests/interop, with the addresses of the running services."""
    for file in (INTEROP / source).iterdir():
        if file.is_file():
            (folder / file.name).write_text(configuration(file.read_text(), stack, replacements))


def registered(stack: Stack, metadata: dict[str, Any], profile: str) -> dict[str, Any]:
    """Register a client of a profile, with an initial access token (RFC 7591 section 3)."""
    made = lab_command(stack, "launcher.flask_command", "auth-service", "registration-token", "--profile", profile)
    headers = {"Content_Type": "application/json", "Authorization": f"Bearer {made.stdout.strip()}"}
    status, client = stack.call("POST", f"{stack.auth}/register", json.dumps(metadata).encode(), **headers)
    assert status == 201, client
    return client


@contextmanager
def django_site(
    stack: Stack, folder: Path, source: str, settings: str, profile: str = "openid", **replacements: str
) -> Iterator[str]:
    """Register the client of a folder of tests/interop, and run its Django project.

    Args:
        folder: an empty folder for the project and its database.
        settings: the module with the settings.

    Yields:
        The URL of the site.
    """
    address = f"localhost:{free_port()}"
    values = {"localhost:8000": address, **replacements}
    metadata = json.loads(configuration((INTEROP / source / "client.json").read_text(), stack, values))
    client = register(stack, **metadata) if profile == "openid" else registered(stack, metadata, profile)
    values |= {f'"{name.upper()}"': f'"{client[name]}"' for name in ("client_id", "client_secret")}
    for name in ("django", source):
        configured(stack, folder, name, values)
    django = [str(interpreter()), "-m", "django"]
    environ = {**ENVIRON, "DJANGO_SETTINGS_MODULE": settings}
    subprocess.run([*django, "migrate", "-v", "0"], cwd=folder, env={**os.environ, **environ}, check=True, timeout=120)
    with running([*django, "runserver", address, "--noreload"], f"http://{address}/", cwd=folder, **environ):
        yield f"http://{address}"
