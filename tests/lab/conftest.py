"""Settings of the lab, applications wrapped in it, and the three small services running."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from flask import Flask
from werkzeug.serving import make_server

from rolecall_lab.control import clock
from rolecall_lab.launcher import processes
from rolecall_lab.observer import app as observer
from rolecall_lab.observer.live import Live
from rolecall_lab.settings import LabSettings, Role
from rolecall_lab.wrap import Lab, wrap
from support.small_services import KEY, SmallServices, flask_app


@pytest.fixture(autouse=True)
def _threads_end_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_POLL", 0.02)


@pytest.fixture
def watch() -> Iterator[processes.Watch]:
    """The object with which the launcher waits; signal handlers are restored after the test."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
    before = {number: signal.getsignal(number) for number in numbers}
    yield processes.Watch()
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def store(own_redis: Any) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(own_redis.url)
    yield client
    client.close()


@pytest.fixture
def settings(own_redis: Any) -> Callable[..., LabSettings]:
    def make(role: Role = "authorization_server", **more: Any) -> LabSettings:
        return LabSettings(role=role, lab=True, lab_key=KEY, lab_redis_url=own_redis.url, **more)

    return make


@pytest.fixture
def app(settings: Callable[..., LabSettings]) -> Iterator[Flask]:
    """The observer."""
    made = observer.create_app(settings("observer"))
    yield made
    made.extensions["observer"].tail.stop()


@pytest.fixture
def live(app: Flask) -> Live:
    """The observer's state, with all flows."""
    found: Live = app.extensions["observer"]
    return found


@pytest.fixture
def in_lab(settings: Callable[..., LabSettings]) -> Iterator[Callable[..., Lab]]:
    """Return a function that wraps an application in the lab; the lab's threads end with the test."""
    wrapped: list[Lab] = []

    def make(app: Flask, role: Role = "authorization_server", **more: Any) -> Lab:
        wrapped.append(wrap(app, settings(role, **more)))
        return wrapped[-1]

    yield make
    for lab in wrapped:
        lab.stop()


@pytest.fixture
def small_services(in_lab: Callable[..., Lab]) -> Iterator[SmallServices]:
    stack = SmallServices()
    names = {"client": "client_url", "authorization_server": "auth_url", "resource_server": "resource_url"}
    for role in names:
        with socket.create_server(("127.0.0.1", 0)) as free:
            stack.urls[role] = f"http://127.0.0.1:{free.getsockname()[1]}"
    addresses = {setting: stack.urls[role] for role, setting in names.items()}
    servers = []
    for role, routes in stack.routes().items():
        app = flask_app("auth" if role == "authorization_server" else role, *routes)
        stack.labs[role] = in_lab(app, role, **addresses)
        servers.append(make_server("127.0.0.1", int(stack.urls[role].rpartition(":")[2]), app, threaded=True))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield stack
    for each in servers:
        each.shutdown()
        each.server_close()
