"""Tally with Keycloak: sign-in, sign-in again, and a connection with refresh and revocation."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from support.foreign import INTEROP, installed, require, running
from support.providers import TALLY, Visitor, client_keys, invoices_api, tally_at
from support.servers import free_port

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(1200)]

FOLDER = INTEROP / "keycloak"
PRIVATE_KEY, PUBLIC_KEY = client_keys()
ALICE: Final = {"username": "alice", "password": "wonderland-lab"}


@pytest.fixture(scope="module")
def program() -> Path:
    """The server, from Maven Central."""
    require("Keycloak", "java", "mvn")
    command = ["mvn", "-q", "-B", "package"]
    return next(installed("Keycloak", FOLDER, command, timeout=900).glob("target/keycloak-*/bin/kc.sh"))


def post(url: str, body: bytes, content_type: str, token: str = "") -> bytes:
    """Send a POST request to Keycloak and return the response's body."""
    headers = {"Content-Type": content_type, "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, body, headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
        content: bytes = response.read()
        return content


def create_realm(url: str, realm: dict[str, Any]) -> None:
    """Create a realm with Keycloak's administrative API."""
    form = {"grant_type": "password", "client_id": "admin-cli", "username": "admin", "password": "admin"}
    path = "/realms/master/protocol/openid-connect/token"
    token = json.loads(post(url + path, urlencode(form).encode(), "application/x-www-form-urlencoded"))
    post(f"{url}/admin/realms", json.dumps(realm).encode(), "application/json", token["access_token"])


@pytest.fixture(scope="module")
def tally_port() -> int:
    """The port in Tally's redirect URI."""
    return free_port()


@pytest.fixture(scope="module")
def keycloak(program: Path, tally_port: int) -> Iterator[str]:
    """Run Keycloak with the realm of realm.json; yield its URL."""
    port = free_port()
    command = ["sh", str(program), "start-dev", f"--http-port={port}", "--db=dev-mem", "--cache=local"]
    admin = {"KC_BOOTSTRAP_ADMIN_USERNAME": "admin", "KC_BOOTSTRAP_ADMIN_PASSWORD": "admin"}
    with running(command, f"http://localhost:{port}/realms/master", seconds=300, **admin):
        escaped = json.dumps(json.dumps({"keys": [PUBLIC_KEY]}))[1:-1]
        text = (FOLDER / "realm.json").read_text().replace(TALLY, f"http://localhost:{tally_port}")
        create_realm(f"http://localhost:{port}", json.loads(text.replace("PUBLIC_KEY", escaped)))
        yield f"http://localhost:{port}"


def settings(keycloak: str) -> str:
    """Return the settings of the docs, for the running Keycloak."""
    return (FOLDER / "tally.sh").read_text().replace("http://localhost:8080", keycloak)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"CLIENT_AUTH_METHOD": "client_secret_post"},
        {
            "CLIENT_ID": "tally-jwt",
            "CLIENT_AUTH_METHOD": "private_key_jwt",
            "CLIENT_PRIVATE_KEY": json.dumps(PRIVATE_KEY),
        },
        {"RESPONSE_MODE": "form_post"},
    ],
    ids=["client_secret_basic", "client_secret_post", "private_key_jwt", "form_post"],
)
def test_sign_in(keycloak: str, tally_port: int, redis_url: str, changes: dict[str, str]) -> None:
    """OpenID Connect Core sections 3.1 and 5.3: Tally knows who signed in, again without a page, and after a login."""
    with tally_at(tally_port, redis_url, settings(keycloak), **changes) as tally:
        visitor = Visitor(tally, ALICE)
        page = visitor.press("/sign-in")
        assert (page.url, page.status) == (f"{tally}/me", 200), page.text
        assert page.text.count("alice@wonderland.test") > 1  # in the ID token, and in the userinfo response
        for again, logs_in in {"silent": False, "recent": False, "login": True}.items():
            page = visitor.press("/sign-in", "/me", again=again)
            assert (page.url, page.status) == (f"{tally}/me", 200), page.text
            assert any("/login-actions/authenticate" in url for url in visitor.urls) == logs_in


def test_connect(keycloak: str, tally_port: int, redis_url: str) -> None:
    """RFC 6749 section 6, RFC 7009: tokens for the API, new ones, and the end of the connection."""
    with (
        invoices_api() as api,
        tally_at(tally_port, redis_url, settings(keycloak), RESOURCE_URL=api.url) as tally,
    ):
        visitor = Visitor(tally, ALICE)
        assert visitor.press("/connect").status == 200
        page = visitor.press("/refresh")
        assert (page.status, "a new access token and a new refresh token" in page.text) == (200, True)
        assert len({*api.tokens}) == 2
        assert "The access token is revoked" in visitor.press("/revoke").text
        assert "its tokens are revoked" in visitor.press("/disconnect").text
