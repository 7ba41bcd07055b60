"""Start the lab, print its addresses, and stop everything at the end: `make run`."""

from __future__ import annotations

import fcntl
import gc
import hashlib
import http.client
import importlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from rolecall.clock import monotonic, now
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
from rolecall_lab.launcher.ports import bound, port_of
from rolecall_lab.launcher.processes import Child, Interrupted, LauncherError, Watch, last_words, short, stop

PRELOAD: Final = (
    "gunicorn.app.wsgiapp",
    "gunicorn.workers.gthread",
    "rolecall.worker",
    "rolecall_auth",
    "rolecall_resource",
    "rolecall_client",
    "rolecall_lab.wsgi",
    "rolecall_lab.catalog",
    "rolecall_lab.compare.pages",
    "rolecall_lab.observer.app",
)
"""The modules of the services: imported once and shared, because the services are copies of the launcher."""

GUNICORN: Final = ("--config=python:rolecall_lab.gunicorn_conf", "--graceful-timeout=5")

OBSERVER_GUNICORN: Final = ("--config=python:rolecall_lab.observer.gunicorn_conf",)

WSGI: Final = "rolecall_lab.wsgi"
"""The module that gunicorn loads; it has a factory for each service."""

PREPARE: Final = "rolecall_lab.launcher.prepare"
"""The module that migrates the databases and applies the seeds."""

SIGN_IN: Final = "alice / wonderland-lab"
"""The username and the password of the first person in the lab's default seeds."""

READY_TIMEOUT: Final = 30.0
"""Seconds that the services have to become ready."""

POLL_INTERVAL: Final = 0.03
"""Seconds between two checks of whether a service is ready."""

LOST: Final = "sessions, unfinished flows, recordings, and the lab's clock offset are lost"
"""The data lost when the embedded Redis ends, because it stores nothing on disk."""


def main() -> int:
    """Run the lab until it is asked to end; return the exit code."""
    if not sys.flags.safe_path:  # a module in the current directory must not replace one of ours in the services
        sys.path[:] = [path for path in sys.path if path and Path(path) != Path.cwd()]
    watch = Watch()
    try:
        with ExitStack() as ends:
            run(watch, os.environ, ends)
    except Interrupted:
        return 0
    except (LauncherError, OSError) as error:
        text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        with suppress(OSError):
            print(f"rolecall: {text}", file=sys.stderr, flush=True)
        return 1
    return 0


def run(watch: Watch, environ: Mapping[str, str], ends: ExitStack) -> None:
    """Start everything and wait; `ends` stops it again.

    Raises:
        LauncherError: the lab cannot start, or one of its processes ended.
        Interrupted: the launcher was asked to end.
        OSError: a file cannot be written.
    """
    started = _start_of_command(environ)
    hosts = environ.get("HOSTS") or HOSTS[0]
    if hosts not in HOSTS:
        raise LauncherError(f"HOSTS is {hosts}, and must be one of {', '.join(HOSTS)}")
    folder = Path(environ.get("ROLECALL_DIR") or ROOT / ".rolecall").absolute()
    notice = ends.enter_context(locked(folder))
    sockets = {service: ends.enter_context(bound(service, port_of(service, environ))) for service in EVERYTHING}
    ports = {service: int(sockets[service][0].getsockname()[1]) for service in EVERYTHING}
    redis = ends.enter_context(redis_server.running(watch, folder, inherited(environ)))
    report("Redis", redis.label)

    settings = compose(environ, read_env(LAB_ENV), hosts=hosts, ports=ports, redis_url=redis.url, data=folder)
    if any(name.endswith("METRICS_PORT") for name in settings):
        raise LauncherError("METRICS_PORT is for containers and production; `make run` does not support metrics")
    preload()
    prepare(watch, folder, settings, environ)

    report("Services", "starting ...")
    services: dict[Service, Child] = {}
    ends.callback(lambda: stop(services.values()))
    for service in EVERYTHING:
        descriptors = [each.fileno() for each in sockets[service]]
        services[service] = start(service, descriptors, folder, of_service(service, settings, environ))
    for each in sockets.values():
        for bound_socket in each:
            bound_socket.close()
    wait_ready(watch, services, ports)

    addresses = {service: settings[f"{service.label}_URL"] for service in EVERYTHING}
    processes = {each.name: {"url": addresses[each], "pid": services[each].pid} for each in EVERYTHING}
    notice.write_text(json.dumps({"pid": os.getpid(), "redis_url": redis.url, "services": processes}))
    for service in EVERYTHING:
        report("", f"{addresses[service]:<29} {service.role} ({service.name}, pid {services[service].pid})")
    report("Logs", short(folder / "logs"))
    if not environ.get("SEEDS_FILE"):
        report("Sign in", SIGN_IN)
    report("Catalog", f"{addresses[CLIENT]}/flows")
    report("Compare", f"{addresses[CLIENT]}/compare")
    report("Open", f"{addresses[CLIENT]}   (ready after {now() - started:.1f} s; Ctrl-C stops everything)")
    try:
        wait(watch, redis.server, services)
    except Interrupted:
        report("Stopping", "...")
        raise


def _start_of_command(environ: Mapping[str, str]) -> float:
    """Return when `make run` started, which may have installed packages first, in seconds since the epoch."""
    try:
        return float(environ["STARTED_AT"].removesuffix(".N"))  # date of BSD and macOS has no nanoseconds
    except (KeyError, ValueError):
        return now()


def wait(watch: Watch, redis: redis_server.Server | None, services: dict[Service, Child]) -> None:
    """Wait until a service ends, and restart the Redis that was started here when it ends.

    The services do not need the observer, so its end is only reported. They reconnect to Redis by themselves.

    Raises:
        LauncherError: a service ended, or Redis ended again and again.
        Interrupted: the launcher was asked to end.
    """
    while True:
        for service, child in list(services.items()):
            if child.exit_code() is None:
                continue
            if service is not OBSERVER:
                raise child.error()
            del services[service]
            report("Observer", f"it ended; the other services continue [{short(child.log)}]")
        if redis is not None and redis.child.exit_code() is not None:
            report("Redis", f"{redis.restart(watch)}, and was restarted empty; {LOST}")
            continue  # a service may have ended meanwhile, and pause() would not notice it again
        watch.pause()


def report(topic: str, text: str) -> None:
    """Print a line of progress; ignore a closed terminal."""
    with suppress(OSError):
        print(f"{topic:<11}{text}", flush=True)


@contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """Create a folder, lock it for this launcher, and yield the file that describes what runs there.

    Raises:
        LauncherError: another launcher holds the lock, or the folder cannot be written.
    """
    notice = folder / "running.json"
    try:
        for name in ("run", "logs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        file = notice.open("a+", encoding="utf-8")
        notice.chmod(0o600)  # REDIS_URL may hold a password
    except OSError as error:
        text = f"the folder {folder} cannot be written ({error.strerror}); ROLECALL_DIR names another one"
        raise LauncherError(text) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = f"the lab is already running in {folder}{_pid_in(notice)}; stop it first"
            raise LauncherError(text) from None
        notice.write_text(json.dumps({"pid": os.getpid()}))
        try:
            yield notice
        finally:
            notice.write_text("{}")


def preload() -> None:
    """Import what the services need, and keep the garbage collector from writing into the shared memory."""
    for name in PRELOAD:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def prepare(watch: Watch, folder: Path, settings: Mapping[str, str], environ: Mapping[str, str]) -> None:
    """Migrate the databases and apply the seeds, unless that was done with the same code, settings, and seeds.

    Raises:
        LauncherError: it failed.
        Interrupted: the launcher was asked to end.
    """
    stamp = folder / "prepared"
    now = fingerprint(settings, environ)
    if now is not None and stamp.is_file() and stamp.read_text() == now:
        report("Databases", "up to date")
        return
    began = monotonic()
    report("Databases", "migrating, and loading people, clients, and invoices ...")
    stamp.unlink(missing_ok=True)
    child = Child.fork(
        "prepare",
        lambda: importlib.import_module(PREPARE).main(),
        folder / "logs" / "prepare.log",
        environ={**inherited(environ), **settings},
    )
    try:
        while child.exit_code() is None:
            watch.pause()
    finally:
        stop([child])
    if child.exit_code() != 0:
        raise LauncherError(f"the databases could not be prepared: {last_words(child.log)}")
    if (now := fingerprint(settings, environ)) is not None:
        stamp.write_text(now)
    report("", f"done in {monotonic() - began:.1f} s")


def fingerprint(settings: Mapping[str, str], environ: Mapping[str, str]) -> str | None:
    """Hash everything that the preparation depends on; None if a database is missing or is not SQLite."""
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


def start(service: Service, descriptors: Sequence[int], folder: Path, environ: Mapping[str, str]) -> Child:
    """Start a service, which takes over the sockets of these file descriptors."""
    arguments = [
        *(OBSERVER_GUNICORN if service is OBSERVER else GUNICORN),
        f"--name={service.name}",
        f"{WSGI}:{service.label.lower()}_app()",
        *(f"--bind=fd://{descriptor}" for descriptor in descriptors),
    ]
    log = folder / "logs" / f"{service.name}.log"
    return Child.fork(service.name, partial(gunicorn, arguments), log, environ=environ, keep=descriptors)


def gunicorn(arguments: Sequence[str]) -> None:
    """Run gunicorn in this process, as its command does."""
    sys.argv = ["gunicorn", *arguments]
    importlib.import_module("gunicorn.app.wsgiapp").run()


def wait_ready(watch: Watch, services: Mapping[Service, Child], ports: Mapping[Service, int]) -> None:
    """Wait until every service is ready; do not wait for an observer that ended.

    Raises:
        LauncherError: a service ended, or is not ready in time.
        Interrupted: the launcher was asked to end.
    """
    until = monotonic() + READY_TIMEOUT
    waiting = dict(services)
    while waiting:
        for service, child in list(waiting.items()):
            if child.exit_code() is not None:
                if service is OBSERVER:
                    del waiting[service]
                    continue
                raise child.error()
            if (reason := unready(ports[service])) is None:
                del waiting[service]
            elif monotonic() > until:
                raise LauncherError(
                    f"{service.name} is not ready after {READY_TIMEOUT:.0f} s: {reason} [{short(child.log)}]"
                )
        if waiting:
            watch.pause(POLL_INTERVAL)


def unready(port: int) -> str | None:
    """Return why the service at a port is not ready, or None if it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        if response.status == 200:
            return None
        return f"it responds with {response.status} {response.read(300).decode().strip()}"
    except (OSError, http.client.HTTPException) as error:
        return f"it does not respond ({error})"
    finally:
        connection.close()


def _pid_in(path: Path) -> str:
    with suppress(OSError, ValueError, KeyError):
        return f" (pid {json.loads(path.read_text())['pid']})"
    return ""


if __name__ == "__main__":
    sys.exit(main())
