"""go-oidc with golang.org/x/oauth2: sign-in with PKCE and nonce, userinfo, and refresh."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from support.foreign import INTEROP, Person, installed, require, running
from support.gateways import registered
from support.servers import free_port
from support.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(600)]

FOLDER = INTEROP / "go-oidc"


@pytest.fixture(scope="module")
def program() -> Path:
    """The app of main.go, built with the modules that go.sum pins."""
    require("go-oidc", "go")
    return installed("go-oidc", FOLDER, ["go", "build", "-o", "app"]) / "app"


@contextmanager
def app(stack: Stack, program: Path, **replacements: str) -> Iterator[str]:
    """Run the app; yield its URL."""
    url = f"http://localhost:{free_port()}"
    values = registered(stack, FOLDER / "client.json", {"http://localhost:8454": url})
    environ = {
        "ISSUER": stack.auth,
        "CLIENT_ID": values["CLIENT_ID"],
        "CLIENT_SECRET": values["CLIENT_SECRET"],
        "REDIRECT_URI": f"{url}/callback",
        "LISTEN": url.removeprefix("http://").replace("localhost", "127.0.0.1"),
        **replacements,
    }
    with running([str(program)], f"{url}/callback", **environ):
        yield url


def test_sign_in_and_refresh(lab: Stack, program: Path) -> None:
    """OpenID Connect Core sections 3.1.3.7, 3.1.3.8, 5.3, and 12.2, RFC 7636: the app validates everything."""
    with app(lab, program) as url:
        alice = Person(lab)
        request = alice.open(f"{url}/login").location
        assert request is not None
        assert parse_qs(urlsplit(request).query)["code_challenge_method"] == ["S256"]
        page = alice.visit(f"{url}/login")
        assert page.status == 200, page.text
        assert json.loads(page.text) == {
            "subject": "usr_alice-4fR7wQ2nT9xK",
            "name": "Alice Liddell",
            "email": "alice@wonderland.test",
            "email_verified": True,
            "other_access_token": True,
            "other_refresh_token": True,
        }


def test_wrong_nonce(lab: Stack, program: Path) -> None:
    """OpenID Connect Core section 3.1.3.7 step 11: the ID token must have the nonce of its request."""
    with app(lab, program) as url:
        alice = Person(lab)
        page = alice.visit(f"{url}/login", stop=lambda target: target.startswith(f"{url}/callback"))
        assert page.location is not None
        next(cookie for cookie in alice.cookies if cookie.name == "nonce").value = "another"
        assert alice.open(page.location).text == "wrong nonce\n"


def test_wrong_secret(lab: Stack, program: Path) -> None:
    """RFC 6749 section 5.2: `invalid_client` reaches the app as an error of the exchange."""
    with app(lab, program, CLIENT_SECRET="wrong") as url:
        assert '"invalid_client"' in Person(lab).visit(f"{url}/login").text
