"""Fixtures for tests of every kind, loaded as a plugin by `tests/conftest.py`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from playwright.sync_api import Browser, expect, sync_playwright

from rolecall_lab.compare import invoices
from support import containers as in_docker
from support import witness
from support.auth_server import Server, close, make_server, make_settings, opened
from support.chromium import ARGUMENTS, chromium_path
from support.fuzz.attack import WIDE
from support.servers import RedisServer
from support.side_by_side import NAMES, side_by_side
from support.stack import Stack, running_stack
from support.tally import Tally, make_tally


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """Start one Redis for all tests of this process; tests that stop Redis use `own_redis`."""
    with tempfile.TemporaryDirectory(prefix="rolecall-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture
def redis_url(shared_redis: RedisServer) -> Iterator[str]:
    """Return the URL of the shared Redis, emptied."""
    client = redis.Redis.from_url(shared_redis.url)
    client.flushall()
    yield shared_redis.url
    client.close()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """Start a Redis that the test may stop."""
    with tempfile.TemporaryDirectory(prefix="rolecall-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture(autouse=True)
def _servers_closed() -> Iterator[None]:
    """Close the connections of every authorization server that a test made."""
    yield
    while opened:
        close(opened.pop())


@pytest.fixture
def server(tmp_path: Path, redis_url: str) -> Server:
    """Return an authorization server in this process, with people, a client, and a resource."""
    return make_server(make_settings(tmp_path, redis_url))


@pytest.fixture
def tally(redis_url: str) -> Tally:
    """Return Tally in this process, with scripted responses of the other two services."""
    return make_tally(redis_url)


@pytest.fixture
def lab_tally(tally: Tally) -> Tally:
    """Return the same Tally with the choice of the validator on the page with the invoices, as in the lab."""
    invoices.show(tally.app)
    return tally


@pytest.fixture(scope="session", params=NAMES if os.environ.get("ROLECALL_TEST_SIDE_BY_SIDE") else None)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start the whole lab, without throttles, once per process; in `make test-compose`, use the containers.

    With ROLECALL_TEST_SIDE_BY_SIDE, each test runs in two labs, which exist at the same time.
    """
    if in_docker.asked_for():
        yield in_docker.stack()
        return
    if hasattr(request, "param"):
        yield request.getfixturevalue("two_labs")[request.param]
        return
    with running_stack(tmp_path_factory.mktemp("stack"), **WIDE) as running:
        yield running


@pytest.fixture(scope="session")
def two_labs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Stack]]:
    """Start two labs on one host, with two issuers in one process."""
    with side_by_side(tmp_path_factory.mktemp("labs"), **WIDE) as running:
        yield running


@pytest.fixture(scope="session")
def quiet_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start a lab in which only the catalog's flows run, for tests that read the whole recording."""
    with running_stack(tmp_path_factory.mktemp("quiet")) as running:
        yield running


@pytest.fixture(scope="session")
def containers() -> in_docker.Containers:
    """Return the containers that `make up` started, with their addresses from outside."""
    return in_docker.stack()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Start headless Chromium; without it, skip the test, or fail if ROLECALL_REQUIRE_BROWSER is set."""
    path = chromium_path()
    if path is None:
        if os.environ.get("ROLECALL_REQUIRE_BROWSER"):
            pytest.fail("Chromium is not on PATH, and ROLECALL_REQUIRE_BROWSER requires it")
        pytest.skip("Chromium is not on PATH; Debian has it in the package `chromium`")
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        witness.watch_browser(browser)
        yield browser
        browser.close()
