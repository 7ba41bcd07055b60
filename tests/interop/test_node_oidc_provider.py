"""Tally with node-oidc-provider: sign-in with the provider's defaults, and connections with resource indicators."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from support.foreign import running
from support.node_programs import SOURCES
from support.providers import TALLY, Visitor, client_keys, exported, invoices_api, tally_at
from support.servers import free_port
from support.stack import running_stack

pytestmark = [pytest.mark.npm, pytest.mark.integration]

PROVIDER: Final = "http://localhost:3000"
API: Final = "https://api.example"
ALICE: Final = {"login": "alice", "password": "wonderland"}


PRIVATE_KEY, PUBLIC_KEY = client_keys()


def signing_key() -> dict[str, Any]:
    """Return a private key without the optional members of a JWK, as most tools write it (RFC 7517 section 4)."""
    key = jwt.algorithms.RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048), as_dict=True)
    return {name: value for name, value in key.items() if name != "key_ops"}


@contextmanager
def provider(node: Path, folder: Path, name: str, tally: str, keys: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """Run a program with the provider; yield its issuer."""
    port = free_port()
    values = {PROVIDER: f"http://localhost:{port}", "listen(3000": f"listen({port}", TALLY: tally}
    text = (SOURCES / name).read_text()
    for old, new in {**values, **{key: json.dumps(value) for key, value in keys.items()}}.items():
        text = text.replace(old, new)
    (folder / "node_modules").symlink_to(node / "node_modules")
    (folder / name).write_text(text)
    with running(["node", str(folder / name)], f"http://localhost:{port}/jwks", cwd=folder):
        yield f"http://localhost:{port}"


@pytest.fixture(scope="module")
def tally_port() -> int:
    """The port in Tally's redirect URI, which the provider knows when it starts."""
    return free_port()


@pytest.fixture(scope="module")
def defaults(node: Path, tmp_path_factory: pytest.TempPathFactory, tally_port: int) -> Iterator[str]:
    """The provider with its defaults, three static clients, and one key without `alg`."""
    keys = {"SIGNING_KEY": signing_key(), "PUBLIC_KEY": PUBLIC_KEY}
    folder = tmp_path_factory.mktemp("oidc-provider")
    with provider(node, folder, "oidc_provider.mjs", f"http://localhost:{tally_port}", keys) as issuer:
        yield issuer


def settings(issuer: str) -> str:
    """Return the settings of the docs, for this issuer."""
    return (SOURCES / "oidc_provider.sh").read_text().replace(PROVIDER, issuer)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"CLIENT_ID": "tally-post", "CLIENT_AUTH_METHOD": "client_secret_post"},
        {
            "CLIENT_ID": "tally-jwt",
            "CLIENT_AUTH_METHOD": "private_key_jwt",
            "CLIENT_PRIVATE_KEY": json.dumps(PRIVATE_KEY),
        },
        {"RESPONSE_MODE": "form_post"},
    ],
    ids=["client_secret_basic", "client_secret_post", "private_key_jwt", "form_post"],
)
def test_sign_in(defaults: str, tally_port: int, redis_url: str, changes: dict[str, str]) -> None:
    """OpenID Connect Core sections 3.1, 5.3, and 9, Form Post Response Mode section 2: Tally knows who signed in."""
    with tally_at(tally_port, redis_url, settings(defaults), **changes) as tally:
        visitor = Visitor(tally, ALICE)
        page = visitor.press("/sign-in")
        assert (page.url, page.status) == (f"{tally}/me", 200), page.text
        assert "alice" in page.text
        query = parse_qs(urlsplit(next(url for url in visitor.urls if "/auth?" in url)).query)
        assert query["code_challenge_method"] == ["S256"]
        assert "resource" not in query
        assert (f"{tally}/callback" in visitor.urls) == ("RESPONSE_MODE" in changes)


def test_dynamic_registration(node: Path, tmp_path: Path, tally_port: int, redis_url: str) -> None:
    """RFC 7591 section 3.1: Tally registers itself when the settings have no client ID."""
    tally_url = f"http://localhost:{tally_port}"
    own = {"CLIENT_ID": "", "CLIENT_SECRET": ""}
    with (
        provider(node, tmp_path, "oidc_provider_registration.mjs", tally_url, {"SIGNING_KEY": signing_key()}) as issuer,
        tally_at(tally_port, redis_url, settings(issuer), **own) as tally,
    ):
        page = Visitor(tally, ALICE).press("/sign-in")
        assert (page.url, page.status) == (f"{tally}/me", 200), page.text


def test_sign_in_again(defaults: str, tally_port: int, redis_url: str) -> None:
    """OpenID Connect Core section 3.1.2.1: the same user without a page, after a new login, and not another user."""
    with tally_at(tally_port, redis_url, settings(defaults)) as tally:
        visitor = Visitor(tally, dict(ALICE))
        visitor.press("/sign-in")
        for again, logs_in in {"silent": False, "recent": False, "login": True}.items():
            page = visitor.press("/sign-in", "/me", again=again)
            assert (page.url, page.status) == (f"{tally}/me", 200), page.text
            assert any("/interaction/" in url for url in visitor.urls) == logs_in

        visitor.credentials["login"] = "bob"
        page = visitor.press("/sign-in", "/me", again="login")
        assert page.status == 403, page.text
        assert "alice" in visitor.open(f"{tally}/me").text


def test_the_provider_lacks_revocation(defaults: str, tally_port: int, redis_url: str) -> None:
    """RFC 6749 section 5.1, RFC 8414 section 2: a connection without a refresh token and without revocation."""
    with (
        invoices_api() as api,
        tally_at(tally_port, redis_url, settings(defaults), SCOPE="openid", RESOURCE_URL=api.url) as tally,
    ):
        visitor = Visitor(tally, ALICE)
        assert visitor.press("/connect").status == 200
        page = visitor.press("/refresh")
        assert (page.status, "Tally has no refresh token" in page.text) == (400, True)
        page = visitor.press("/revoke")
        assert (page.status, "no revocation endpoint" in page.text) == (501, True)
        assert "stay valid until they expire" in visitor.press("/disconnect").text
        assert visitor.open(f"{tally}/invoices").status == 403
        assert len(api.tokens) == 1


def test_connect(node: Path, tmp_path: Path, tally_port: int, redis_url: str) -> None:
    """RFC 8707 section 2, RFC 6749 section 6, RFC 7009: tokens for the API, new ones, and the end of the connection."""
    with (
        invoices_api() as api,
        provider(node, tmp_path, "oidc_provider_api.mjs", f"http://localhost:{tally_port}", {}) as issuer,
        tally_at(tally_port, redis_url, settings(issuer), RESOURCE_URL=api.url, RESOURCE_IDENTIFIER=API) as tally,
    ):
        visitor = Visitor(tally, ALICE)
        assert visitor.press("/connect").status == 200
        page = visitor.press("/refresh")
        assert (page.status, "a new access token and the same refresh token" in page.text) == (200, True)
        keys = jwt.PyJWKClient(f"{issuer}/jwks")
        first, second = (
            jwt.decode(token, keys.get_signing_key_from_jwt(token), ["RS256"], audience=API, issuer=issuer)
            for token in api.tokens
        )
        assert first["scope"] == second["scope"] == "invoices:read"
        assert first["jti"] != second["jti"]

        page = visitor.press("/revoke")  # which the provider cannot do, because its access tokens are JWTs
        assert (page.status, "does not revoke access tokens" in page.text) == (501, True)
        assert "its tokens are revoked" in visitor.press("/disconnect").text
        assert visitor.open(f"{tally}/invoices").status == 403


@pytest.mark.long
def test_lab(defaults: str, tmp_path: Path, tally_port: int) -> None:
    """The settings of the docs are sufficient for `make run`."""
    with running_stack(tmp_path / "lab", **exported(settings(defaults)), CLIENT_PORT=str(tally_port)) as stack:
        page = Visitor(stack.client, ALICE).press("/sign-in")
        assert (page.url, page.status) == (f"{stack.client}/me", 200), page.text


@pytest.mark.long
def test_invoices_api(node: Path, tmp_path: Path, tally_port: int) -> None:
    """RFC 9068 section 4: the Invoices API accepts the provider's access tokens, and not those for another API."""
    port = free_port()
    with provider(node, tmp_path, "oidc_provider_api.mjs", f"http://localhost:{tally_port}", {}) as issuer:
        script = settings(issuer) + (SOURCES / "oidc_provider_api.sh").read_text()
        variables = exported(script.replace(PROVIDER, issuer).replace("localhost:8002", f"localhost:{port}"))
        ports = {"CLIENT_PORT": str(tally_port), "RESOURCE_PORT": str(port)}
        for resource, status in {variables["CLIENT_WEBAPP_RESOURCE_IDENTIFIER"]: 200, API: 502}.items():
            variables["CLIENT_WEBAPP_RESOURCE_IDENTIFIER"] = resource
            with running_stack(tmp_path / str(status), **variables, **ports) as stack:
                visitor = Visitor(stack.client, ALICE)
                assert visitor.press("/connect").url == f"{stack.client}/invoices"
                page = visitor.open(f"{stack.client}/invoices?check=jwt")
                assert page.status == status, page.text
                assert ("invalid_token" in page.text) == (status == 502)
