"""The launcher restarts its Redis, on the same socket and a limited number of times."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from rolecall import storage
from rolecall_lab.launcher import redis_server, run
from rolecall_lab.launcher.environment import AUTH
from rolecall_lab.launcher.processes import Child, LauncherError, Watch, stop
from support.launching import lab_folder
from support.servers import RedisServer


def kill(watch: Watch, server: redis_server.Server) -> None:
    os.kill(server.child.pid, signal.SIGKILL)
    while server.child.exit_code() is None:
        watch.pause(0.01)


def test_a_killed_redis_returns_empty_on_the_same_socket(watch: Watch, tmp_path: Path) -> None:
    with redis_server.running(watch, lab_folder(tmp_path), {"PATH": os.environ["PATH"]}) as taken:
        assert taken.server is not None
        client = storage.connect(taken.url)
        client.set("session", "alice")
        before = client.info("server")["run_id"]
        kill(watch, taken.server)
        assert taken.server.restart(watch) == "was ended by signal 9"
        assert client.get("session") is None
        assert client.info("server")["run_id"] != before, "the services notice the loss of data by the new run_id"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        client.close()


def test_a_redis_that_ends_again_and_again_is_not_restarted(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis_server.running(watch, lab_folder(tmp_path), {"PATH": os.environ["PATH"]}) as taken:
        server = taken.server
        assert server is not None
        with monkeypatch.context() as patch:
            patch.setattr(redis_server, "SETTLED", 0.0)  # each start counts as successful
            for _ in range(redis_server.FAILURES):
                kill(watch, server)
                server.restart(watch)
        for _ in range(redis_server.FAILURES - 1):
            kill(watch, server)
            server.restart(watch)
        kill(watch, server)
        with pytest.raises(LauncherError, match=r"Redis ended 3 times.*the last time, it was ended by signal 9 \["):
            server.restart(watch)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Child]:
    """A process that does not end by itself, as a stand-in for a service."""
    log = lab_folder(tmp_path) / "logs/auth.log"
    child = Child.spawn("auth-service", ["sleep", "600"], log, environ={"PATH": os.environ["PATH"]})
    yield child
    stop([child])


def test_each_restart_is_reported(
    watch: Watch, tmp_path: Path, service: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = []
    with redis_server.running(watch, tmp_path, {"PATH": os.environ["PATH"]}) as taken:
        server = taken.server
        assert server is not None

        def report_and_kill(topic: str, text: str) -> None:
            reported.append((topic, text))
            kill(watch, server)

        monkeypatch.setattr(run, "report", report_and_kill)
        kill(watch, server)
        with pytest.raises(LauncherError, match=r"Redis ended 3 times.*it was ended by signal 9 \[") as error:
            run.wait(watch, server, {AUTH: service})
    assert "\n" not in str(error.value)
    assert reported == [("Redis", f"was ended by signal 9, and was restarted empty; {run.LOST}")] * 2


def test_a_redis_that_cannot_start_again_ends_the_lab(watch: Watch, tmp_path: Path, service: Child) -> None:
    path = tmp_path / "redis-server"
    path.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "Redis server v=7.0.15 sha=0" && exit\n'
        f"echo started >> {tmp_path}/starts\n"
        f'[ "$(cat {tmp_path}/starts)" = started ] && exec "{redis_server.find()[0]}" "$@"\n'
        'echo "Error: no memory"; exit 3\n'
    )
    path.chmod(0o700)
    environ = {"PATH": os.pathsep.join([str(tmp_path), os.environ["PATH"]])}
    with redis_server.running(watch, tmp_path, environ) as taken:
        assert taken.server is not None
        kill(watch, taken.server)
        with pytest.raises(LauncherError, match=r"it ended with exit code 3: Error: no memory \["):
            run.wait(watch, taken.server, {AUTH: service})
    assert (tmp_path / "starts").read_text().split() == ["started"] * redis_server.FAILURES


def test_a_service_that_ends_while_redis_is_restarted_ends_the_lab(
    watch: Watch, tmp_path: Path, service: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The restart consumes the signal that a child has ended."""
    with redis_server.running(watch, tmp_path, {"PATH": os.environ["PATH"]}) as taken:
        server = taken.server
        assert server is not None
        restart = server.restart

        def restart_while_a_service_ends(watch: Watch) -> str:
            os.kill(service.pid, signal.SIGKILL)
            while service.exit_code() is None:
                watch.pause(0.01)
            return restart(watch)

        monkeypatch.setattr(server, "restart", restart_while_a_service_ends)
        kill(watch, server)
        with pytest.raises(LauncherError, match="auth-service was ended by signal 9"):
            run.wait(watch, server, {AUTH: service})


def test_a_redis_at_redis_url_is_not_restarted(watch: Watch, tmp_path: Path, own_redis: RedisServer) -> None:
    service = Child.spawn("auth-service", ["sh"], lab_folder(tmp_path) / "logs/auth.log", environ=dict(os.environ))
    with redis_server.running(watch, tmp_path, {"REDIS_URL": own_redis.url}) as taken:
        own_redis.stop()
        with pytest.raises(LauncherError, match="auth-service ended with exit code 0"):
            run.wait(watch, taken.server, {AUTH: service})
