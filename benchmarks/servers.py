"""Programs under measurement and the load: their cores, their processor time, and their memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from flow import Page, Party
from stores import free_port, redis_server, wait_for_port
from versions import HERE, Version, of_service

from rolecall_lab.walker import Walker

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

LOAD = HERE.parent / ".venv" / "bench" / "bin" / "python"
"""The Python with Locust, which replaces parts of the standard library and is kept apart from the services."""


@dataclass(frozen=True)
class Server:
    """A program that serves at a URL, with its child processes."""

    name: str
    url: str
    process: subprocess.Popen[bytes]

    def tree(self) -> list[psutil.Process]:
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def processor_time(self) -> float:
        """Return the seconds of processor time that it has used."""
        times = [each.cpu_times() for each in self.tree()]
        return sum(each.user + each.system for each in times)

    def memory(self) -> int:
        """Return its bytes, in which shared pages count once."""
        return sum(int(each.memory_full_info().pss) for each in self.tree())


@contextmanager
def running(name: str, command: list[str], port: int, environ: Mapping[str, str], log: Path) -> Iterator[Server]:
    """Run a program on the last core; yield it when it listens."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=environ,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    _put(process.pid, CORES[-1:])
    try:
        try:
            wait_for_port(port, process)
        except RuntimeError:
            print(log.read_text(errors="replace")[-2000:], file=sys.stderr)
            raise
        yield Server(name, f"http://127.0.0.1:{port}", process)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _put(pid: int, cores: list[int]) -> None:
    """Let a program and its later child processes run on these cores only, if there are others."""
    if len(CORES) > 1:
        os.sched_setaffinity(pid, cores)


def on_last_core() -> list[int]:
    """Return the core for the servers; an empty list if the machine has a single core."""
    return CORES[-1:] if len(CORES) > 1 else []


def gunicorn(factory: str, port: int, options: str) -> list[str]:
    """Return the command of a service in production, with these options in addition."""
    command = [sys.executable, "-m", "gunicorn", "-c", "python:rolecall.gunicorn_conf"]
    return [*command, *options.split(), "-b", f"127.0.0.1:{port}", f"applications:{factory}()"]


@dataclass(frozen=True)
class Site:
    """The services of a version, with the data that callers need.

    Args:
        servers: by name: `auth`, `empty`, and the resource server with each kind of validation.
        party: the data of the client `tally`.
        secret: the secret of the resource.
        rows: the names of the rows that can be measured; None for all.
    """

    version: Version
    servers: Mapping[str, Server]
    party: Party
    secret: str
    rows: frozenset[str] | None = None

    walker: Walker = field(default_factory=Walker)
    """The browser of a person, who signs in once."""

    def visit(self, url: str, form: dict[str, str] | None, headers: Mapping[str, str]) -> Page:
        """Open a URL with the browser, for `Party.tokens`."""
        self.walker._opener.addheaders = [*headers.items(), ("Sec-Fetch-Site", "same-origin")]
        page = self.walker.open(url, form)
        return Page(page.status, page.location, page.text)


@contextmanager
def site(version: Version, folder: Path, *, count: bool = False) -> Iterator[Site]:
    """Run the services of a version, each with the settings of production.

    Args:
        count: with one worker that counts its SQL statements and Redis round trips.
    """
    folder.mkdir()
    with ExitStack() as ends:
        redis_url = ends.enter_context(redis_server(folder, on_last_core()))
        ports = {name: free_port() for name in ("auth", "empty", "jwt", "introspection")}
        auth = f"http://127.0.0.1:{ports['auth']}"
        settings = version.settings(folder, redis_url, auth, f"http://127.0.0.1:{ports['jwt']}", "http://127.0.0.1:9")
        version.prepare(settings)
        more = {"COUNT": "1", "WEB_CONCURRENCY": "1"} if count else {}
        options = "" if count else os.environ.get("GUNICORN", "")
        servers = {}
        for name, port in ports.items():
            prefix = "AUTH_SERVICE_" if name == "auth" else "RESOURCE_SERVICE_"
            own = of_service(prefix, settings) | more | ({} if name in {"auth", "empty"} else {"VALIDATOR": name})
            factory = name if name in {"auth", "empty"} else "resource"
            program = running(
                name, gunicorn(factory, port, options), port, version.environ | own, folder / f"{name}.log"
            )
            servers[name] = ends.enter_context(program)
        party = Party(auth, "http://127.0.0.1:9", settings["CLIENT_WEBAPP_CLIENT_SECRET"])
        yield Site(version, servers, party, settings["RESOURCE_SERVICE_RESOURCE_SECRET"])


class Load:
    """The load generator, on the first core."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [str(LOAD), str(HERE / "load.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        _put(self._process.pid, CORES[:1])

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return the result of a task; see `load.py`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        result: dict[str, Any] = json.loads(self._process.stdout.readline())
        return result

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.terminate()
        self._process.wait(20)
