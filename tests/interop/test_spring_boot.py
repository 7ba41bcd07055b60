"""Spring Boot: `oauth2Login` with refresh, and an API that validates tokens in each of three ways."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from support.foreign import INTEROP, Person, configuration, installed, require, running
from support.gateways import ApiUser, echo, registered, tampered
from support.servers import free_port
from support.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(1200)]

FOLDER = INTEROP / "spring"


@pytest.fixture(scope="module")
def program() -> Path:
    """The app, built by Maven with the versions that Spring Boot's parent names."""
    require("Spring Boot", "java", "mvn")
    return installed("Spring Boot", FOLDER, ["mvn", "-q", "-B", "package"], timeout=900) / "target/demo.jar"


@contextmanager
def spring(
    stack: Stack, program: Path, folder: Path, name: str, port: int, replacements: dict[str, str]
) -> Iterator[str]:
    """Run the app with the configuration file and the profile of this name; yield its URL."""
    file = folder / f"{name}.yml"
    file.write_text(configuration((FOLDER / f"{name}.yml").read_text(), stack, replacements))
    command = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-jar", str(program), f"--server.port={port}"]
    options = [f"--spring.profiles.active={name}", f"--spring.config.additional-location=file:{file}"]
    with running([*command, *options], f"http://localhost:{port}/error"):
        yield f"http://localhost:{port}"


def test_oauth2_login(lab: Stack, program: Path, tmp_path: Path) -> None:
    """OpenID Connect Core sections 3.1, 5.3, and 12, RFC 7636: Spring validates both ID tokens."""
    port = free_port()
    values = registered(lab, FOLDER / "client.json", {"localhost:8472": f"localhost:{port}"})
    with spring(lab, program, tmp_path, "client", port, values) as url:
        alice = Person(lab)
        request = alice.visit(f"{url}/", stop=lambda target: target.startswith(f"{lab.auth}/authorize"))
        assert request.location is not None
        assert parse_qs(urlsplit(request.location).query)["code_challenge_method"] == ["S256"]

        page = alice.visit(f"{url}/")
        assert page.text == "Alice Liddell, alice@wonderland.test, [readers, croquet]"

        first, second = alice.open(f"{url}/token"), alice.open(f"{url}/token")
        assert (first.status, second.status) == (200, 200)
        assert first.text != second.text


@pytest.mark.parametrize(
    ("name", "scope", "path", "other_path"),
    [("jwt", "orders:read", "/orders", "/messages"), ("at-jwt", "messages:read", "/messages", "/orders")],
)
def test_resource_server(
    lab: Stack, program: Path, tmp_path: Path, name: str, scope: str, path: str, other_path: str
) -> None:
    """RFC 9068 section 4, and tokens of the type JWT: Spring validates signature, issuer, audience, and scope."""
    with echo() as app, spring(lab, program, tmp_path, name, free_port(), {}) as url:
        user, other = ApiUser(lab, app, scope), ApiUser(lab, app, "openid invoices:read")
        assert user.call(url + path) == 200
        assert user.call(url + other_path) == 403
        assert lab.get(url + path)[0] == 401
        assert user.call(url + path, tampered(user.tokens["access_token"])) == 401
        assert other.call(url + path) == 401
        assert other.call(url + path, other.tokens["id_token"]) == 401


def test_opaque_tokens(lab: Stack, program: Path, tmp_path: Path) -> None:
    """RFC 7662 section 2: Spring asks at each request, so a revoked token is rejected immediately."""
    with echo() as app, spring(lab, program, tmp_path, "opaque", free_port(), {}) as url:
        user, other = ApiUser(lab, app, "messages:read"), ApiUser(lab, app, "openid invoices:read")
        assert user.call(f"{url}/messages") == 200
        assert user.call(f"{url}/orders") == 403
        assert lab.get(f"{url}/messages")[0] == 401
        assert other.call(f"{url}/messages") == 401
        assert other.call(f"{url}/messages", other.tokens["id_token"]) == 401
        user.revoke()
        assert user.call(f"{url}/messages") == 401
