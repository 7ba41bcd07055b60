"""Host names under which the lab's services respond, and what pages of other sites may send to the observer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis
from flask import Flask, jsonify

from rolecall.web.routes import Route
from rolecall_lab.observer import app as observer
from rolecall_lab.recording.recorder import STREAM
from rolecall_lab.settings import LabSettings, Role
from rolecall_lab.wrap import Lab
from support.small_services import flask_app

OWN = ("localhost:8001", "LOCALHOST", "127.0.0.1:8001", "127.8.9.10", "[::1]:8001", "auth.localhost:9")
CONFIGURED = ("auth.test:8001", "tally.test", "api.test:8002", "observer.test:8003", "tally:8000", "inside:8001")
FOREIGN = (
    "", "evil.example", "evil.example:8001", "evil.test:8001", "auth.test", "auth.test:8002", "127.0.0.1.nip.io",
    "localhost.evil.example", "evil.example@localhost", "localhost@evil.example", "localhost#.evil.example",
    "localhost.", "notlocalhost", "2130706433", "127.1", "0.0.0.0", "10.0.0.1", "[::]", "[::ffff:127.0.0.1]", "[bad",
    "auth-service", "127.0.0.1/evil.example", "localhost\t.evil.example",
)  # fmt: skip
ADDRESSES = {
    "auth_url": "http://auth.test:8001",
    "client_url": "http://tally.test",
    "resource_url": "http://api.test:8002",
    "observer_url": "http://observer.test:8003",
    "client_backchannel_urls": ("http://tally:8000",),
    "backchannel_urls": ("http://inside:8001",),
}
PATHS = ("/", "/x", "/_lab", "/_lab/clock", "/healthz", "/static/rolecall/rolecall.css", "/favicon.ico", "/not/there")


@pytest.mark.parametrize("host", [*OWN, *CONFIGURED])
def test_loopback_and_configured_addresses_are_known(host: str, settings: Callable[..., LabSettings]) -> None:
    assert settings(**ADDRESSES).is_known_host(host)


@pytest.mark.parametrize("host", FOREIGN)
def test_other_names_are_unknown_even_if_they_resolve_to_loopback(
    host: str, settings: Callable[..., LabSettings]
) -> None:
    assert not settings(**ADDRESSES).is_known_host(host)


def test_the_names_of_backchannel_urls_are_read_from_the_services_settings() -> None:
    environ = {"LAB_KEY": "k", "REDIS_URL": "redis://localhost", "BACKCHANNEL_URLS": "http://auth-service:8001"}
    lab = LabSettings.from_environ(environ, role="authorization_server")
    assert lab.is_known_host("auth-service:8001")
    assert not lab.is_known_host("auth-service:8002")


@pytest.fixture
def service(
    role: Role, in_lab: Callable[..., Lab], settings: Callable[..., LabSettings]
) -> Iterator[tuple[Flask, list[str]]]:
    """A service of a role, and the methods of the requests that its view has served."""
    served: list[str] = []
    if role == "observer":
        app = observer.create_app(settings("observer"))
        yield app, served
        app.extensions["observer"].tail.stop()
        return

    def view() -> object:
        served.append("/x")
        return jsonify(ok=True)

    app = flask_app("x", Route("x", "/x", ("GET", "POST", "PUT"), view, "api", "test"))
    in_lab(app, role)
    yield app, served


@pytest.mark.parametrize("role", ["client", "authorization_server", "resource_server", "observer"])
def test_every_path_of_every_service_is_refused_under_another_name(
    role: Role, service: tuple[Flask, list[str]], store: redis.Redis, settings: Callable[..., LabSettings]
) -> None:
    app, served = service
    browser = app.test_client()
    for path in PATHS:
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
            answer = browser.open(path, method=method, headers={"Host": "evil.example:8001"})
            assert answer.status_code == 403, (method, path)
            assert f"Open it at {settings(role).own_url}" in answer.text
            assert answer.headers["Connection"] == "close", "the body was not read"
    assert not served
    assert store.xlen(STREAM) == 0
    if role != "observer":
        assert browser.get("/x").json == {"ok": True}
        assert browser.get("/_lab/clock").status_code == 200


@pytest.mark.parametrize("role", ["observer"])
@pytest.mark.parametrize(
    ("method", "path", "headers", "accepted"),
    [
        ("GET", "/", {}, True),
        ("GET", "/", {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, True),
        ("GET", "/static/observer/observer.js", {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "no-cors"}, True),
        ("GET", "/", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, True),
        ("GET", "/", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, True),
        ("GET", "/", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, False),
        ("GET", "/", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, False),
        ("GET", "/flows/x/live", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}, False),
        ("GET", "/static/observer/observer.js", {"Sec-Fetch-Site": "cross-site"}, False),
        ("HEAD", "/", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, False),
        ("POST", "/load", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, False),
        ("POST", "/load", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"}, False),
    ],
)
def test_pages_of_other_sites_can_only_link_to_the_observer_and_embed_it(
    method: str, path: str, headers: dict[str, str], accepted: bool, service: tuple[Flask, list[str]]
) -> None:
    answer = service[0].test_client().open(path, method=method, headers=headers)
    answer.close()
    assert answer.status_code == (200 if accepted else 403)
    assert "frame-ancestors 'self' http://localhost:8000" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("count", "host", "forwarded", "status"),
    [
        (0, "localhost", "evil.example", 404), (1, "localhost", "evil.example", 403),
        (1, "evil.example", "localhost", 403), (1, "localhost", "evil.example, localhost", 404),
        (2, "localhost", "evil.example, localhost", 403), (1, "localhost", "app.localhost:8000", 404),
    ],
)  # fmt: skip
def test_behind_proxies_the_host_that_the_browser_sent_is_checked_as_well(
    in_lab: Callable[..., Lab], count: int, host: str, forwarded: str, status: int
) -> None:
    """DNS rebinding through a proxy that changes the Host header."""
    app = flask_app("x", trusted_proxies=count)
    in_lab(app, "client")
    environ = {"HTTP_HOST": host, "HTTP_X_FORWARDED_HOST": forwarded}
    assert app.test_client().get("/", environ_overrides=environ).status_code == status
