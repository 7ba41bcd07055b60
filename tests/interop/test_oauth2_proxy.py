"""oauth2-proxy in front of an app: sign-in, groups, and sessions that refresh their tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from support.foreign import INTEROP, ForeignProcess, Person, configuration, installed, require, running
from support.gateways import echo, registered
from support.servers import free_port
from support.stack import Stack, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(1200)]

FOLDER = INTEROP / "oauth2-proxy"
COOKIE_SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def program() -> Path:
    """The program, built from the module that go.sum pins."""
    require("oauth2-proxy", "go")
    build = ["go", "build", "-o", "oauth2-proxy", "github.com/oauth2-proxy/oauth2-proxy/v7"]
    return installed("oauth2-proxy", FOLDER, build, timeout=900) / "oauth2-proxy"


@contextmanager
def oauth2_proxy(
    stack: Stack, program: Path, folder: Path, replacements: dict[str, str]
) -> Iterator[tuple[str, ForeignProcess]]:
    """Run oauth2-proxy with its configuration file, in front of an app; yield its URL and its process."""
    address = f"localhost:{free_port()}"
    values = registered(stack, FOLDER / "client.json", {"localhost:4180": address})
    with echo() as app:
        values |= {
            "127.0.0.1:4180": address.replace("localhost", "127.0.0.1"),
            "http://127.0.0.1:8449": app,
            "COOKIE_SECRET": COOKIE_SECRET,
            **replacements,
        }
        file = folder / "oauth2-proxy.cfg"
        file.write_text(configuration((FOLDER / "oauth2-proxy.cfg").read_text(), stack, values))
        with running([str(program), "--config", str(file)], f"http://{address}/ping") as process:
            yield f"http://{address}", process


def forwarded(person: Person, url: str) -> dict[str, str]:
    """Return the headers with which the app gets a person's request."""
    page = person.visit(url)
    assert page.status == 200, page.text
    headers: dict[str, str] = json.loads(page.text)["headers"]
    return headers


def test_sign_in_with_groups(lab: Stack, program: Path, tmp_path: Path) -> None:
    """OpenID Connect Core sections 3.1 and 5.3, RFC 7636: Alice is in the group; Bob's email is not verified."""
    with oauth2_proxy(lab, program, tmp_path, {}) as (url, process):
        alice = Person(lab)
        request = alice.visit(f"{url}/", stop=lambda target: target.startswith(f"{lab.auth}/authorize"))
        assert request.location is not None
        assert parse_qs(urlsplit(request.location).query)["code_challenge_method"] == ["S256"]

        headers = forwarded(alice, f"{url}/")
        assert headers["x-forwarded-email"] == "alice@wonderland.test"
        assert headers["x-forwarded-preferred-username"] == "alice"
        assert "readers" in headers["x-forwarded-groups"].split(",")
        assert json.loads(alice.open(f"{url}/oauth2/userinfo").text)["email"] == "alice@wonderland.test"
        assert alice.open(f"{url}/oauth2/auth").status == 202

        assert Person(lab, "bob", "builder-lab").visit(f"{url}/").status == 403
        assert "email in id_token (bob@builder.test) isn't verified" in process.output

        alice.open(f"{url}/oauth2/sign_out")
        assert alice.open(f"{url}/oauth2/auth").status == 401


def test_another_group(lab: Stack, program: Path, tmp_path: Path) -> None:
    """A person who is not in the allowed group does not reach the app."""
    with oauth2_proxy(lab, program, tmp_path, {'"readers"': '"builders"'}) as (url, _):
        assert Person(lab).visit(f"{url}/").status == 403


def test_refresh(lab: Stack, program: Path, tmp_path: Path) -> None:
    """RFC 6749 section 6, OpenID Connect Core section 11: a session older than `cookie_refresh` gets other tokens."""
    with oauth2_proxy(lab, program, tmp_path, {'"1m"': '"1s"'}) as (url, process):
        alice = Person(lab)
        first = forwarded(alice, f"{url}/")["x-forwarded-access-token"]
        wait_until(lambda: forwarded(alice, f"{url}/")["x-forwarded-access-token"] != first)
        assert "refresh token is not set" not in process.output
