"""Other servers on the same core: node-oidc-provider, in memory and with Redis, and oauth2-mock-server, from npm."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from flow import Party
from rows import ROWS
from servers import Site, on_last_core, running
from stores import free_port, redis_server
from versions import HERE, ROOT, Version

_SOURCES: Final = HERE / "npm"
_CLIENT: Final = "http://127.0.0.1:9"

_OF_PROVIDER: Final = frozenset(row.name for row in ROWS if row.servers == ("auth",))
_OF_MOCK: Final = _OF_PROVIDER - {"refresh", "code flow"}
"""The flows without an ID token are omitted, because this server always returns one."""


@contextmanager
def sites(folder: Path) -> Iterator[dict[str, Site]]:
    """Install the packages in `folder` and run the servers.

    Raises:
        SystemExit: npm is missing or fails.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("bench: PEERS=1 needs npm")
    programs = folder / "npm"
    shutil.copytree(_SOURCES, programs)
    subprocess.run([npm, "ci", "--silent", "--no-audit", "--no-fund"], cwd=programs, check=True, timeout=180)
    with ExitStack() as ends:
        redis_folder = folder / "peers-redis"
        redis_folder.mkdir()
        redis_url = ends.enter_context(redis_server(redis_folder, on_last_core()))
        yield {
            "node-oidc-provider": ends.enter_context(_site("provider", programs, _OF_PROVIDER)),
            "node-oidc-provider, Redis": ends.enter_context(_site("provider", programs, _OF_PROVIDER, redis_url)),
            "oauth2-mock-server": ends.enter_context(_site("mock", programs, _OF_MOCK)),
        }


@contextmanager
def _site(program: str, folder: Path, rows: frozenset[str], redis_url: str = "") -> Iterator[Site]:
    port = free_port()
    issuer = f"http://127.0.0.1:{port}"
    party = Party(issuer, _CLIENT, "a-secret-of-tally-0123456789abcdef")
    environ = {
        **os.environ,
        "NODE_ENV": "production",
        "ISSUER": issuer,
        "PORT": str(port),
        "CLIENT_SECRET": party.secret,
        "RESOURCE_SECRET": party.secret,
        "REDIRECT_URI": f"{_CLIENT}/callback",
        "REDIS_URL": redis_url,
    }
    command = ["node", str(folder / f"{program}.mjs")]
    with running(program, command, port, environ, folder / f"{program}.log") as server:
        yield Site(Version(program, ROOT), {"auth": server}, party, party.secret, rows)
