"""The host names under which the lab's services respond, and the observer's protection against other sites' pages."""

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
    """The service with this role, and the methods of the requests that its view has served."""
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


HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
NAVIGATION = HTML | {"Sec-Fetch-Mode": "navigate"}
JSON = {"Accept": "application/json"}
PORTS = {"client": 8000, "authorization_server": 8001, "resource_server": 8002, "observer": 8003}


@pytest.fixture
def pages(role: Role, in_lab: Callable[..., Lab], settings: Callable[..., LabSettings]) -> Iterator[Flask]:
    """The service with this role, with a page and an endpoint for programs."""
    if role == "observer":
        app = observer.create_app(settings("observer", observer_url="http://localhost:8003"))
        yield app
        app.extensions["observer"].tail.stop()
        return
    app = flask_app(
        "x",
        Route("page", "/page", ("GET", "POST"), lambda: "a page", "page", "test", csrf=False),
        *(
            Route(path[1:], path, ("GET",), lambda: jsonify(ok=True), "api", "test")
            for path in ("/api", "/healthz", "/readyz")
        ),
    )
    in_lab(app, role)
    yield app


@pytest.mark.parametrize("role", PORTS)
@pytest.mark.parametrize("name", ["127.0.0.1", "127.8.9.10", "[::1]", "app.localhost"])
def test_a_browser_at_another_name_is_redirected_to_the_public_address(role: Role, name: str, pages: Flask) -> None:
    """Otherwise its cookies would belong to the other name, and the flow would end at the public name without them."""
    browser, port = pages.test_client(), PORTS[role]
    for headers in (HTML, NAVIGATION):
        answer = browser.get("/page?a=%26b&c=d", headers=headers | {"Host": f"{name}:{port}"})
        assert answer.status_code == 302
        assert answer.headers["Location"] == f"http://localhost:{port}/page?a=%26b&c=d"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    answer = browser.get("/a//evil.example/%0d%0aX", headers=HTML | {"Host": f"{name}:{port}"})
    assert answer.headers["Location"] == f"http://localhost:{port}/a//evil.example/%0D%0AX"


@pytest.mark.parametrize("role", PORTS)
def test_a_program_and_the_public_address_are_served(role: Role, pages: Flask) -> None:
    browser, port = pages.test_client(), PORTS[role]
    cases = [
        ("GET", "/page", HTML, f"localhost:{port}"),
        ("GET", "/page", HTML, f"LOCALHOST:{port}"),
        ("GET", "/page", HTML, "127.0.0.1:9"),
        ("GET", "/page", HTML, "127.0.0.1:99999"),
        ("GET", "/page", HTML, "127.0.0.1"),
        ("GET", "/page", JSON, f"127.0.0.1:{port}"),
        ("GET", "/page", {}, f"127.0.0.1:{port}"),
        ("GET", "/page", {"Accept": "*/*"}, f"127.0.0.1:{port}"),
        ("GET", "/page", HTML | {"Authorization": "Bearer x"}, f"127.0.0.1:{port}"),
        ("POST", "/page", HTML, f"127.0.0.1:{port}"),
        ("GET", "/healthz", NAVIGATION, f"127.0.0.1:{port}"),
        ("GET", "/readyz", NAVIGATION, f"127.0.0.1:{port}"),
        ("GET", "/_lab/view", NAVIGATION, f"127.0.0.1:{port}"),
        ("GET", "/_lab", NAVIGATION, f"127.0.0.1:{port}"),
    ]
    for method, path, headers, host in cases:
        answer = browser.open(path, method=method, headers=headers | {"Host": host})
        assert answer.status_code != 302, (path, headers, host)


@pytest.mark.parametrize("role", ["authorization_server"])
def test_an_endpoint_for_programs_redirects_only_navigations(role: Role, pages: Flask) -> None:
    """HttpURLConnection of Java sends this Accept header."""
    browser = pages.test_client()
    java = {"Accept": "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", "Host": "127.0.0.1:8001"}
    assert browser.get("/api", headers=java).json == {"ok": True}
    assert browser.get("/api", headers=java | NAVIGATION).status_code == 302


@pytest.mark.parametrize("role", ["client"])
def test_a_redirect_is_not_recorded(role: Role, pages: Flask, store: redis.Redis) -> None:
    pages.test_client().get("/page", headers=HTML | {"Host": "127.0.0.1:8000"})
    pages.extensions["rolecall_lab"].stop()
    assert store.xlen(STREAM) == 0


def test_with_three_host_names_each_service_has_its_own(in_lab: Callable[..., Lab]) -> None:
    """HOSTS=localhost-names."""
    app = flask_app("x")
    in_lab(app, "authorization_server", auth_url="http://auth.localhost:8001", client_url="http://app.localhost:8000")
    for host in ("localhost:8001", "127.0.0.1:8001", "app.localhost:8001"):
        answer = app.test_client().get("/sign-in", headers=HTML | {"Host": host})
        assert answer.headers["Location"] == "http://auth.localhost:8001/sign-in"
