"""Pages of other origins: which routes they can use, and the headers of every response (RFC 9700 section 2.6)."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from redis import RedisError
from werkzeug.test import TestResponse

from rolecall.web.routes import Route
from support.auth_server import Server, another_process
from support.bare_service import gunicorn
from support.invoices_api import Api, token
from support.openid_answers import relying_parties_ask
from support.tally import Tally

PROXY_CONF = Path(__file__).parents[2] / "compose/front/proxy.conf"
ORIGIN = "https://spa.example"
CORS = {
    "auth": {"token", "revoke", "userinfo", "register", "registration", "jwks", "metadata", "openid-configuration"},
    "api": {"invoices", "invoice", "payment", "profile", "metadata", "metadata-of-path"},
    "client": set[str](),
}
EXPOSED = "WWW-Authenticate, Retry-After, X-Request-Id, DPoP-Nonce"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")


@pytest.fixture
def apps(server: Server, api: Api, tally: Tally) -> dict[str, Flask]:
    return {"auth": server.app, "api": api.app, "client": tally.app}


def path_of(route: Route) -> str:
    return re.sub("<[^>]+>", "x", route.path)


def routes(app: Flask, service: str, *, cors: bool) -> Iterator[tuple[Route, str]]:
    for route in app.extensions["rolecall_routes"]:
        if (route.name in CORS[service]) == cors:
            yield route, app.path + path_of(route)  # type: ignore[attr-defined]


def ask(app: Flask, method: str, path: str, **more: Any) -> TestResponse:
    headers = {"Origin": ORIGIN, **more.pop("headers", {})}
    return app.test_client().open(path, method=method, headers=headers, **more)


def preflight(app: Flask, path: str, origin: str = ORIGIN) -> TestResponse:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    return ask(app, "OPTIONS", path, headers={**asked, "Origin": origin})


def is_open(response: TestResponse) -> bool:
    """Return whether pages of any origin can read the response; fail if it has only some of the headers."""
    headers = response.headers
    names = [name for name, _ in headers if name.startswith("Access-Control-")]
    if not names:
        assert headers.getlist("Cross-Origin-Resource-Policy") == ["same-origin"]
        return False
    assert headers.getlist("Access-Control-Allow-Origin") == ["*"]
    assert headers.getlist("Access-Control-Expose-Headers") == [EXPOSED]
    assert headers.getlist("Cross-Origin-Resource-Policy") == ["cross-origin"]
    assert "Access-Control-Allow-Credentials" not in headers
    return True


def test_every_response_of_these_routes_is_open_to_pages(apps: dict[str, Flask]) -> None:
    """RFC 9700 section 2.6: responses to every method, and to invalid requests."""
    for service, app in apps.items():
        for route, path in routes(app, service, cors=True):
            for method in METHODS:
                assert is_open(ask(app, method, path)), (method, path)
                assert is_open(app.test_client().open(path, method=method)), "without an Origin"
                too_long = ask(app, method, path, data=b"x" * 70_000)
                assert (too_long.status_code, is_open(too_long)) == (413, True)
                bad_host = ask(app, method, path, headers={"Host": "a b"})
                assert (bad_host.status_code, is_open(bad_host)) == (400, True)
            assert route.kind == "api", "only pages use cookies"


def test_a_preflight_request_needs_no_token(apps: dict[str, Flask]) -> None:
    """Fetch standard, section 3.3.2: the wildcard does not include Authorization, so the headers are named."""
    for service, app in apps.items():
        for route, path in routes(app, service, cors=True):
            response = preflight(app, path)
            assert (response.status_code, response.data) == (204, b"")
            assert is_open(response)
            allowed = {*response.headers["Access-Control-Allow-Methods"].split(", ")}
            assert allowed - {"HEAD"} == {*route.methods}
            assert response.headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type, DPoP"
            assert int(response.headers["Access-Control-Max-Age"]) > 0


def test_no_other_response_is_open_to_pages(apps: dict[str, Flask]) -> None:
    """RFC 9700 section 2.6: neither the authorization endpoint nor pages, introspection, and unknown paths."""
    for service, app in apps.items():
        others = [path for _, path in routes(app, service, cors=False)]
        assert service != "auth" or {f"{app.path}/authorize", f"{app.path}/introspect"} < {*others}  # type: ignore[attr-defined]
        for path in (*others, "/", "/nowhere", "/token/", "//token", "/register/x/y", "/_lab", "/_lab/clock"):
            for method in METHODS:
                assert not is_open(ask(app, method, path)), (method, path)
            assert not is_open(preflight(app, path)), path


def test_success_and_failure_are_open_alike(server: Server, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    bearer = {"Authorization": f"Bearer {relying_parties_ask(server)}"}
    made = ask(server.app, "POST", "/register", json={"redirect_uris": ["https://rp.example/callback"]})
    good = {"Authorization": f"Bearer {token()}"}
    answers = [
        (ask(server.app, "GET", "/userinfo", headers=bearer), 200),
        (ask(server.app, "GET", "/userinfo"), 401),
        (ask(server.app, "POST", "/token", data={"grant_type": "password"}), 400),
        (made, 201),
        (ask(api.app, "GET", "/invoices", headers=good), 200),
        (ask(api.app, "GET", "/invoices/none", headers=good), 404),
        (ask(api.app, "GET", "/.well-known/oauth-protected-resource/other"), 404),
    ]
    for reason, status in ((RedisError("away"), 503), (RuntimeError("a bug"), 500)):

        def fail(*_arguments: object, reason: Exception = reason) -> None:
            raise reason

        monkeypatch.setattr("rolecall_auth.models.registry.Registry.client", fail)
        failed = ask(server.app, "POST", "/token", data={"grant_type": "refresh_token", "client_id": "x"})
        answers.append((failed, status))
    for response, status in answers:
        assert (response.status_code, is_open(response)) == (status, True)


def test_a_caller_who_is_too_fast_can_read_when_to_come_back(server: Server) -> None:
    """RFC 6585 section 4."""
    from rolecall.limits import limit

    slow = another_process(server, registration_limit=limit("1/hour")).app
    assert ask(slow, "POST", "/register", json={}).status_code == 400
    refused = ask(slow, "POST", "/register", json={})
    assert (refused.status_code, is_open(refused)) == (429, True)
    assert refused.headers["Retry-After"]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with gunicorn(tmp_path_factory.mktemp("service"), ISSUER="https://auth.example/s/one") as (_, port):
        yield port


@pytest.mark.parametrize(
    ("target", "is_served"),
    [("/s/one/token", True), ("http://x/s/one/%74oken?a=b", True), ("/s/one/authorize", False), ("/token", False)],
)
@pytest.mark.parametrize(
    ("rest", "status"),
    [
        ("X: " + "x" * 70_000 + "\r\n\r\n", 431),
        ("Bad Name: x\r\n\r\n", 400),
        ("Transfer-Encoding: x\r\n\r\n", 501),
    ],
)
def test_the_errors_that_gunicorn_writes_have_the_headers(
    port: int, target: str, is_served: bool, rest: str, status: int
) -> None:
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(f"POST {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{rest}".encode())
        head = b"".join(iter(lambda: connection.recv(10_000), b"")).partition(b"\r\n\r\n")[0].decode()
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert ("\r\nAccess-Control-Allow-Origin: *" in head) is is_served
    assert f"Cross-Origin-Resource-Policy: {'cross-origin' if is_served else 'same-origin'}" in head
    assert "X-Content-Type-Options: nosniff" in head


def test_the_front_knows_the_same_routes(apps: dict[str, Flask]) -> None:
    """The front's error responses have the headers too."""
    patterns = re.findall(r'^  "~(\^(?:auth|api) .*)" "\*";$', PROXY_CONF.read_text(), re.MULTILINE)
    assert len(patterns) == 5
    for service, app in apps.items():
        for cors in (True, False):
            for _, path in routes(app, service, cors=cors):
                assert any(re.search(pattern, f"{service} {path}") for pattern in patterns) is cors, path
