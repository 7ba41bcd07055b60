"""Versions of this repository that are measured: where their packages are, and how their services are set up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
HERE: Final = Path(__file__).resolve().parent

FOLDERS: Final = ("shared", "auth-service", "resource-service", "client-webapp", "lab")

PREFIXES: Final = ("AUTH_SERVICE_", "RESOURCE_SERVICE_", "CLIENT_WEBAPP_")

_LIMITS: Final = ("SIGN_IN", "SIGN_IN_ADDRESS", "AUTHORIZATION", "ACCOUNT_AUTHORIZATION", "CLIENT", "CLIENT_ADDRESS")


@dataclass(frozen=True)
class Version:
    """A version: its name in the tables, and the folder with its files."""

    name: str
    root: Path

    @property
    def environ(self) -> dict[str, str]:
        """The environment in which Python finds the packages of this version, and the programs of this folder."""
        paths = [*(str(self.root / folder) for folder in FOLDERS), str(HERE)]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIXES)}
        return {**kept, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1", "GUNICORN_CMD_ARGS": ""}

    def settings(self, folder: Path, redis_url: str, auth: str, resource: str, client: str) -> dict[str, str]:
        """Return the settings of all services, with their prefixes, for databases in `folder` and these URLs."""
        lines = (self.root / "lab" / "lab.env").read_text().splitlines()
        published = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
        return published | {
            "AUTH_SERVICE_ISSUER": auth,
            "AUTH_SERVICE_DATABASE_URL": f"sqlite:///{folder}/auth-service.db",
            "AUTH_SERVICE_REDIS_URL": redis_url,
            "AUTH_SERVICE_ACCESS_TOKEN_LIFETIME": "3600",
            # a version that does not know a setting ignores it
            **{f"AUTH_SERVICE_{name}_LIMIT": "100000000/minute" for name in _LIMITS},
            "RESOURCE_SERVICE_ISSUER": auth,
            "RESOURCE_SERVICE_PUBLIC_URL": resource,
            "RESOURCE_SERVICE_RESOURCE_ID": "invoices-api",
            "RESOURCE_SERVICE_RESOURCE_IDENTIFIER": resource,
            "RESOURCE_SERVICE_DATABASE_URL": f"sqlite:///{folder}/resource-service.db",
            "CLIENT_WEBAPP_PUBLIC_URL": client,
            "CLIENT_WEBAPP_CLIENT_ID": "tally",
            "CLIENT_URL": client,
            "AUTH_URL": auth,
            "RESOURCE_URL": resource,
            "LAB_REDIS_URL": redis_url,
            "LOG_LEVEL": "INFO",
        }

    def prepare(self, settings: dict[str, str]) -> None:
        """Create the databases, the keys, and the people and clients of the seeds."""
        current = (self.root / "lab/rolecall_lab/launcher/prepare.py").is_file()
        module = "rolecall_lab.launcher.prepare" if current else "rolecall_lab.prepare"
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as seeds:
            # Tally of older versions may not request refresh tokens together with ID tokens
            text = (self.root / "lab/rolecall_lab/seeds.yaml").read_text()
            scope = "scope: invoices:read invoices:pay openid profile email"
            seeds.write(text.replace(f"{scope}\n", f"{scope} offline_access\n"))
            seeds.flush()
            environ = self.environ | settings | {"SEEDS_FILE": seeds.name}
            subprocess.run([sys.executable, "-m", module], env=environ, check=True, timeout=60)


def of_service(prefix: str, settings: dict[str, str]) -> dict[str, str]:
    """Return the settings of one service, without its prefix, and none of the others."""
    shared = {name: value for name, value in settings.items() if not name.startswith(PREFIXES)}
    own = {name.removeprefix(prefix): value for name, value in settings.items() if name.startswith(prefix)}
    return shared | own


@contextmanager
def compared(commit: str) -> Iterator[tuple[Version, ...]]:
    """Yield this version, after the one of `commit` if it is not empty, whose files are in a temporary folder."""
    this = Version("this version", ROOT)
    if not commit:
        yield (this,)
        return
    folder = Path(tempfile.mkdtemp(prefix="rolecall-bench-"))
    git = ["git", "-C", str(ROOT), "worktree"]
    try:
        subprocess.run([*git, "add", "--quiet", "--detach", str(folder / "tree"), commit], check=True)
        yield (Version(commit[:12], folder / "tree"), this)
    finally:
        subprocess.run([*git, "remove", "--force", str(folder / "tree")], check=False)
        shutil.rmtree(folder, ignore_errors=True)
