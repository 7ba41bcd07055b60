"""The origins whose pages can register clients (REGISTRATION_ORIGINS)."""

from __future__ import annotations

from typing import Any

import pytest

from rolecall.web.cors import Origins
from rolecall_auth.models.client import Client
from rolecall_lab import wsgi
from support.auth_server import ISSUER, Server, another_process
from support.registration import MINIMAL, Web, registered, with_web

OWN_ORIGIN = "/".join(ISSUER.split("/")[:3])
LISTED = Origins("https://spa.example, http://one.test:3000 localhost 127.0.0.1 [::1] *.localhost *.test")


@pytest.mark.parametrize(
    ("origin", "is_listed"),
    [
        ("https://spa.example", True), ("http://one.test:3000", True), ("https://localhost", True),
        ("http://localhost:8455", True), ("http://127.0.0.1:1", True), ("http://[::1]:1", True),
        ("http://app.localhost:8000", True), ("https://a.b.test", True),
        ("http://spa.example", False), ("https://spa.example:444", False), ("https://spa.example.evil", False),
        ("https://evil.spa.example", False), ("https://test", False), ("https://eviltest", False),
        ("https://localhost.evil.example", False), ("https://notlocalhost", False),
        ("https://x.test.evil.example", False),
        ("https://evil.example#.test", False), ("https://evil.example/.test", False),
        ("https://evil.example@a.test", False),
        ("https://evil.example, http://localhost", False), ("http://127.0.0.2", False), ("null", False), ("", False),
        ("file://", False), ("chrome-extension://localhost", False), ("https://localhost.", False),
    ],
)  # fmt: skip
def test_origins_and_hosts_are_compared_as_a_whole(origin: str, is_listed: bool) -> None:
    """RFC 6454 section 6.2."""
    assert (origin in LISTED) is is_listed
    assert origin in Origins("*")


@pytest.mark.parametrize(
    "text", ["spa.example/path", "https://spa.example/", "ftp://x", "*.*.test", "https://*", "**", "a b/c"]
)
def test_other_values_of_the_setting_are_errors(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        Origins(text)


def ask(server: Server, method: str, path: str, origin: str | None, token: str = "", **more: Any) -> Any:
    headers = {} if origin is None else {"Origin": origin}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return server.app.test_client().open(path, method=method, headers=headers, **more)


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_a_page_of_another_origin_changes_nothing_and_reads_nothing(server: Server, origin: str) -> None:
    """RFC 9700 section 2.6: no client, and no request to the addresses in its metadata."""
    web = with_web(server, Web())
    client = registered(server)
    picky = another_process(server, registration_origins=LISTED)
    with_web(picky, web)
    path, token = f"/register/{client['client_id']}", client["registration_access_token"]
    document = MINIMAL | {"logo_uri": "https://10.0.0.1/logo.png", "jwks_uri": "https://10.0.0.1/jwks"}
    answers = [
        ask(picky, "POST", "/register", origin, json=document),
        ask(picky, "POST", "/register", origin, data="x" * 70_000),
        ask(picky, "GET", path, origin, token),
        ask(picky, "PUT", path, origin, token, json={**document, "client_id": client["client_id"]}),
        ask(picky, "DELETE", path, origin, token),
    ]
    assert [answer.status_code for answer in answers] == [403, 413, 403, 403, 403]
    asked = {"Access-Control-Request-Method": "POST", "Origin": origin}
    answers.append(picky.app.test_client().options("/register", headers=asked))
    for answer in answers:
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert not web.asked
    with picky.services.database.read() as session:
        assert session.query(Client).count() == 2
        assert session.get_one(Client, client["client_id"]).logo_uri is None
    assert ask(picky, "GET", path, None, token).status_code == 200


@pytest.mark.parametrize("origin", [None, "http://localhost:3000", "https://spa.example", OWN_ORIGIN])
def test_programs_listed_origins_and_the_server_itself_are_served(server: Server, origin: str | None) -> None:
    picky = another_process(server, registration_origins=LISTED)
    made = ask(picky, "POST", "/register", origin, json=MINIMAL)
    assert made.status_code == 201
    token = made.json["registration_access_token"]
    assert ask(picky, "GET", f"/register/{made.json['client_id']}", origin, token).status_code == 200
    if origin in {"http://localhost:3000", "https://spa.example"}:
        assert made.headers["Access-Control-Allow-Origin"] == "*"
        assert "Origin" in made.headers["Vary"]


def test_the_lab_serves_local_origins_only() -> None:
    local = Origins(wsgi.LOCAL_ORIGINS)
    for origin in ("http://localhost:8455", "http://app.localhost:8000", "http://127.0.0.1:1", "http://a.test"):
        assert origin in local
    assert "https://evil.example" not in local
