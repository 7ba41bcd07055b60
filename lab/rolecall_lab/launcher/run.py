"""Start the lab, print its addresses, and stop everything at the end: `make run`."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import http.client
import json
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from rolecall.clock import monotonic
from rolecall_lab.launcher import redis_server
from rolecall_lab.launcher.environment import (
    CLIENT,
    EVERYTHING,
    FOLDERS,
    HOSTS,
    LAB_ENV,
    OBSERVER,
    ROOT,
    Service,
    compose,
    inherited,
    of_service,
    read_env,
)
from rolecall_lab.launcher.processes import Child, Ended, Fault, Watch, last_words, short, stop

GUNICORN: Final = ("--config=python:rolecall_lab.gunicorn_conf", "--graceful-timeout=5")

LOOKING_ON: Final = ("--config=python:rolecall_lab.observer.gunicorn_conf",)

WSGI: Final = "rolecall_lab.wsgi"
"""What gunicorn loads; it has a factory for each service."""

PREPARE: Final = "rolecall_lab.launcher.prepare"
"""Migrates the databases and applies the seeds."""

READY: Final = 30.0
"""Seconds that the services get to become ready."""

POLL: Final = 0.03
"""Seconds between two questions whether a service is ready."""


def main() -> int:
    """Run the lab until it is asked to end; gives the exit code."""
    watch = Watch()
    try:
        with ExitStack() as ends:
            run(watch, os.environ, ends)
    except Ended:
        return 0
    except (Fault, OSError) as error:
        text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        with suppress(OSError):
            print(f"rolecall: {text}", file=sys.stderr, flush=True)
        return 1
    return 0


def run(watch: Watch, environ: Mapping[str, str], ends: ExitStack) -> None:
    """Start everything and stay until it shall end; `ends` holds what must be stopped then.

    Raises:
        Fault: it cannot start, or something ended by itself.
        Ended: it was asked to end.
        OSError: a file cannot be written.
    """
    began = monotonic()
    hosts = environ.get("HOSTS") or HOSTS[0]
    if hosts not in HOSTS:
        raise Fault(f"HOSTS is {hosts}, and must be one of {', '.join(HOSTS)}")
    folder = Path(environ.get("ROLECALL_DIR") or ROOT / ".rolecall").absolute()
    notice = ends.enter_context(locked(folder))
    sockets = {service: ends.enter_context(bound(service, port_of(service, environ))) for service in EVERYTHING}
    ports = {service: int(sockets[service][0].getsockname()[1]) for service in EVERYTHING}
    redis = ends.enter_context(redis_server.taken(watch, folder, inherited(environ)))
    say("Redis", redis.label)

    settings = compose(environ, read_env(LAB_ENV), hosts=hosts, ports=ports, redis_url=redis.url, data=folder)
    prepare(watch, folder, settings, environ)

    say("Services", "starting ...")
    children = [redis.child] if redis.child else []
    services: dict[Service, Child] = {}
    ends.callback(lambda: stop(services.values()))
    for service in EVERYTHING:
        services[service] = start(service, sockets[service], folder, of_service(service, settings, environ))
        if service is not OBSERVER:
            children.append(services[service])
    wait_ready(watch, services, ports)

    addresses = {service: service.url(hosts, ports[service]) for service in EVERYTHING}
    processes = {each.name: {"url": addresses[each], "pid": services[each].pid} for each in EVERYTHING}
    notice.write_text(json.dumps({"pid": os.getpid(), "redis_url": redis.url, "services": processes}))
    for service in EVERYTHING:
        say("", f"{addresses[service]:<29} {service.role} ({service.name}, pid {services[service].pid})")
    say("Logs", short(folder / "logs"))
    say("Open", f"{addresses[CLIENT]}   (ready after {monotonic() - began:.1f} s; Ctrl-C stops everything)")
    try:
        while True:
            if ended := next((child for child in children if child.exit_code() is not None), None):
                raise ended.fault()
            if OBSERVER in services and services[OBSERVER].exit_code() is not None:
                # nobody else needs it
                say("Observer", f"it ended; all else goes on [{short(services.pop(OBSERVER).log)}]")
            watch.pause()
    except Ended:
        say("Stopping", "...")
        raise


def say(what: str, text: str) -> None:
    """One line of progress; that nobody can read it any more is no fault."""
    with suppress(OSError):
        print(f"{what:<11}{text}", flush=True)


@contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """Make a folder ready and be the only launcher that works in it; gives the file that says what runs there.

    Raises:
        Fault: another one does, or the folder cannot be written.
    """
    notice = folder / "running.json"
    try:
        for name in ("run", "logs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        file = notice.open("a+", encoding="utf-8")
        notice.chmod(0o600)  # REDIS_URL may hold a password
    except OSError as error:
        text = f"the folder {folder} cannot be written ({error.strerror}); ROLECALL_DIR names another one"
        raise Fault(text) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Fault(f"the lab runs already in {folder}{_pid_in(notice)}; stop that one first") from None
        notice.write_text(json.dumps({"pid": os.getpid()}))
        try:
            yield notice
        finally:
            notice.write_text("{}")


def port_of(service: Service, environ: Mapping[str, str]) -> int:
    """The port that is set for a service; 0 is any free one.

    Raises:
        Fault: that is no port, or set for another service as well.
    """
    ports = {}
    for each in EVERYTHING:
        text = environ.get(each.port_setting) or str(each.port)
        if not (text.isascii() and text.isdigit() and int(text) <= 65535):
            raise Fault(f"{each.port_setting} is {text}, and must be the number of a port")
        ports[each] = int(text)
    same = [each.port_setting for each in EVERYTHING if ports[each] == ports[service] != 0]
    if len(same) > 1:
        raise Fault(f"{' and '.join(same)} are both {ports[service]}")
    return ports[service]


@contextmanager
def bound(service: Service, port: int) -> Iterator[list[socket.socket]]:
    """Sockets at a service's port of 127.0.0.1 and, where there is one, of ::1, to which names may lead first.

    They are bound here so that a busy port shows at once, and nobody can take it meanwhile.

    Raises:
        Fault: another program has the port, or it may not be used.
    """
    with ExitStack() as opened:
        sockets: list[socket.socket] = []
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            try:
                each = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                each.bind((host, port))
            except OSError as error:
                if family == socket.AF_INET6 and error.errno != errno.EADDRINUSE:
                    continue
                why = f"is in use{listener(port)}" if error.errno == errno.EADDRINUSE else f"({error.strerror})"
                raise Fault(
                    f"port {port}, where the {service.role} should listen, {why}; "
                    f"free it, or choose another one with {service.port_setting}"
                ) from error
            port = each.getsockname()[1]
            sockets.append(each)
        yield sockets


def listener(port: int) -> str:
    """Who listens at a port, such as ` by python3 (pid 7)`; empty when that cannot be told."""
    with suppress(OSError, ValueError, IndexError):
        rows = [
            row.split() for table in ("tcp", "tcp6") for row in Path("/proc/net", table).read_text().splitlines()[1:]
        ]
        wanted = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}
        for link in Path("/proc").glob("[0-9]*/fd/*"):
            with suppress(OSError):
                if str(link.readlink()) in wanted:
                    process = link.parents[1]
                    return f" by {(process / 'comm').read_text().strip()} (pid {process.name})"
    return ""


def prepare(watch: Watch, folder: Path, settings: Mapping[str, str], environ: Mapping[str, str]) -> None:
    """Migrate the databases and apply the seeds, unless that was done with the same code, settings and seeds.

    Raises:
        Fault: it did not work.
        Ended: the launcher shall end.
    """
    stamp = folder / "prepared"
    now = fingerprint(settings, environ)
    if now is not None and stamp.is_file() and stamp.read_text() == now:
        say("Databases", "as they should be")
        return
    began = monotonic()
    say("Databases", "migrating them, loading people, clients and invoices ...")
    stamp.unlink(missing_ok=True)
    child = Child(
        "prepare",
        [sys.executable, "-m", PREPARE],
        folder / "logs" / "prepare.log",
        environ={**inherited(environ), **settings},
    )
    try:
        while child.exit_code() is None:
            watch.pause()
    finally:
        stop([child])
    if child.exit_code() != 0:
        raise Fault(f"the databases could not be prepared: {last_words(child.log)}")
    if (now := fingerprint(settings, environ)) is not None:
        stamp.write_text(now)
    say("", f"done in {monotonic() - began:.1f} s")


def fingerprint(settings: Mapping[str, str], environ: Mapping[str, str]) -> str | None:
    """Of everything that preparing depends on; None when a database is missing or cannot be looked at."""
    urls = [value for name, value in settings.items() if name.endswith("_DATABASE_URL")]
    if not all(url.startswith("sqlite:///") and Path(url.removeprefix("sqlite:///")).is_file() for url in urls):
        return None
    files = sorted(path for each in FOLDERS for path in (ROOT / each).rglob("*") if path.suffix in {".py", ".yaml"})
    if seeds := environ.get("SEEDS_FILE"):
        files.append(Path(seeds))
    digest = hashlib.sha256(sys.version.encode())
    variables = {name: value for name, value in settings.items() if "REDIS_URL" not in name}
    for path in files:
        content = path.read_bytes() if path.is_file() else b""
        digest.update(f"{path} {len(content)} ".encode() + content)
        if path.suffix == ".yaml":
            names = re.findall(r"\$\{(\w+)", content.decode(errors="replace"))
            variables |= {name: environ[name] for name in names if name in environ and name not in variables}
    digest.update(json.dumps(variables, sort_keys=True).encode())
    return digest.hexdigest()


def start(service: Service, sockets: Sequence[socket.socket], folder: Path, environ: Mapping[str, str]) -> Child:
    """Start a service, which takes over its sockets."""
    command = [sys.executable, "-m", "gunicorn", *(LOOKING_ON if service is OBSERVER else GUNICORN)]
    command.append(f"--name={service.name}")
    command.append(f"{WSGI}:{service.label.lower()}_app()")
    command += [f"--bind=fd://{each.fileno()}" for each in sockets]
    log = folder / "logs" / f"{service.name}.log"
    child = Child(service.name, command, log, environ=environ, pass_fds=[each.fileno() for each in sockets])
    for each in sockets:
        each.close()
    return child


def wait_ready(watch: Watch, services: Mapping[Service, Child], ports: Mapping[Service, int]) -> None:
    """Wait until every service says that it is ready; an observer that ended is not waited for.

    Raises:
        Fault: one ended, or is not ready in time.
        Ended: the launcher shall end.
    """
    until = monotonic() + READY
    waiting = dict(services)
    while waiting:
        for service, child in list(waiting.items()):
            if child.exit_code() is not None:
                if service is OBSERVER:
                    del waiting[service]
                    continue
                raise child.fault()
            if (hindrance := unready(ports[service])) is None:
                del waiting[service]
            elif monotonic() > until:
                raise Fault(f"{service.name} is not ready after {READY:.0f} s: {hindrance} [{short(child.log)}]")
        if waiting:
            watch.pause(POLL)


def unready(port: int) -> str | None:
    """Why the service at a port is not ready; None when it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return None if answer.status == 200 else f"it answers {answer.status} {answer.read(300).decode().strip()}"
    except (OSError, http.client.HTTPException) as error:
        return f"it does not answer ({error})"
    finally:
        connection.close()


def _pid_in(path: Path) -> str:
    with suppress(OSError, ValueError, KeyError):
        return f" (pid {json.loads(path.read_text())['pid']})"
    return ""


if __name__ == "__main__":
    sys.exit(main())
