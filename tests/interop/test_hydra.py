"""Tally with Ory Hydra: sign-in, and a connection with refresh and revocation."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from support.foreign import INTEROP, installed, require, running
from support.providers import TALLY, Visitor, client_keys, invoices_api, tally_at
from support.servers import free_port

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(1800)]

FOLDER = INTEROP / "hydra"


@pytest.fixture(scope="module")
def program() -> Path:
    """Hydra, built with the modules that go.sum pins; `memory` as its database needs SQLite, and that a C compiler."""
    require("Ory Hydra", "go", "gcc")
    command = ["go", "build", "-tags", "sqlite", "-o", "hydra", "github.com/ory/hydra/v2"]
    return installed("Ory Hydra", FOLDER, command, timeout=1500) / "hydra"


def call(method: str, url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Send a request to Hydra's administrative API and return its response."""
    request = urllib.request.Request(
        url, json.dumps(body).encode() if body else None, {"Content-Type": "application/json"}, method=method
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
        found: dict[str, Any] = json.load(response)
        return found


@contextmanager
def login_and_consent(admin: str) -> Iterator[str]:
    """Run the app that Hydra needs for its users: everyone is Alice, and allows everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind = urlsplit(self.path).path.removeprefix("/")
            challenge = parse_qs(urlsplit(self.path).query)[f"{kind}_challenge"][0]
            request = f"{admin}/admin/oauth2/auth/requests/{kind}"
            asked = call("GET", f"{request}?{kind}_challenge={challenge}")
            decision: dict[str, Any] = {"subject": "alice", "remember": True}
            if kind == "consent":
                claims = {"name": "Alice Liddell", "email": "alice@wonderland.test"}
                session = {"id_token": claims}
                decision = {"grant_scope": asked["requested_scope"], "session": session, "remember": True}
            accepted = call("PUT", f"{request}/accept?{kind}_challenge={challenge}", decision)
            self.send_response(302)
            self.send_header("Location", accepted["redirect_to"])
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def hydra(
    program: Path, folder: Path, tally: str, registration: Mapping[str, Any] | None = None
) -> Iterator[dict[str, str]]:
    """Run Hydra, and register Tally; yield the replacements for the files of the docs."""
    public, admin = free_port(), free_port()
    with login_and_consent(f"http://localhost:{admin}") as app:
        values = {"localhost:4444": f"localhost:{public}", "http://localhost:3000": app, TALLY: tally}
        values |= {"port: 4444": f"port: {public}", "port: 4445": f"port: {admin}"}
        (folder / "hydra.yml").write_text(replaced("hydra.yml", values))
        command = [str(program), "serve", "all", "--dev", "--sqa-opt-out", "-c", str(folder / "hydra.yml")]
        with running(command, f"http://localhost:{admin}/health/ready"):
            call(
                "POST",
                f"http://localhost:{admin}/admin/clients",
                {**json.loads(replaced("client.json", values)), **(registration or {})},
            )
            yield values


def replaced(name: str, values: dict[str, str]) -> str:
    """Return a file of the docs with the addresses of the test."""
    text = (FOLDER / name).read_text()
    for old, new in values.items():
        text = text.replace(old, new)
    return text


def test_hydra(program: Path, tmp_path: Path, redis_url: str) -> None:
    """OpenID Connect Core sections 3.1 and 5.3, RFC 6749 section 6, RFC 7009: metadata without iss, opaque tokens."""
    port = free_port()
    with (
        hydra(program, tmp_path, f"http://localhost:{port}") as values,
        invoices_api() as api,
        tally_at(port, redis_url, replaced("tally.sh", values), RESOURCE_URL=api.url) as tally,
    ):
        visitor = Visitor(tally, {})
        page = visitor.press("/sign-in")
        assert (page.url, page.status) == (f"{tally}/me", 200), page.text
        assert page.text.count("alice@wonderland.test") > 1  # in the ID token, and in the userinfo response
        assert not any("iss=" in url for url in visitor.urls if url.startswith(f"{tally}/callback"))
        assert visitor.press("/sign-in", "/me", again="silent").url == f"{tally}/me"

        assert visitor.press("/connect").status == 200
        page = visitor.press("/refresh", "/invoices")
        assert (page.status, "a new access token and a new refresh token" in page.text) == (200, True)
        assert len({*api.tokens}) == 2
        assert "The access token is revoked" in visitor.press("/revoke", "/invoices").text
        assert "its tokens are revoked" in visitor.press("/disconnect", "/invoices").text


def test_private_key_jwt(program: Path, tmp_path: Path, redis_url: str) -> None:
    """OpenID Connect Core section 9: Hydra accepts only its token endpoint as the audience of assertions."""
    port = free_port()
    private, public = client_keys()
    registration = {
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "ES256",
        "jwks": {"keys": [public]},
        "client_secret": None,
    }
    with (
        hydra(program, tmp_path, f"http://localhost:{port}", registration) as values,
        tally_at(
            port,
            redis_url,
            replaced("tally.sh", values) + replaced("private_key_jwt.sh", values),
            CLIENT_PRIVATE_KEY=json.dumps(private),
        ) as tally,
    ):
        page = Visitor(tally, {}).press("/sign-in")
        assert (page.url, page.status) == (f"{tally}/me", 200), page.text
