"""Registration with `flask add-client` and `flask add-resource`: methods, identifiers, secrets, and scopes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
import sqlalchemy as sa

from rolecall_auth.models.client import Client
from rolecall_auth.models.resource import Resource
from support.auth_server import Server, basic
from support.commands import CLIENT, RESOURCE, run

pytestmark = pytest.mark.database


BOTH = ["client_secret_basic", "client_secret_post"]


@pytest.mark.parametrize(
    ("options", "document", "method", "methods"),
    [
        ((), {}, "client_secret_basic", None),
        (("client_secret_post",), {}, "client_secret_post", None),
        (BOTH, {}, "client_secret_basic", BOTH),
        (BOTH[::-1], {}, "client_secret_post", BOTH[::-1]),
        ((), {"token_endpoint_auth_method": "none"}, "none", None),
        ((), {"token_endpoint_auth_methods": BOTH[::-1]}, "client_secret_post", BOTH[::-1]),
        (("none",), {"token_endpoint_auth_methods": BOTH}, "none", None),
    ],
)
def test_the_authentication_methods_of_a_client(
    server: Server, tmp_path: Path, options: list[str], document: dict[str, Any], method: str, methods: list[str] | None
) -> None:
    """RFC 7591 section 2: the options take precedence over the metadata file."""
    file = tmp_path / "metadata"
    file.write_text(json.dumps(document))
    chosen = [each for option in options for each in ("--auth-method", option)]
    done = run(server, *CLIENT, *chosen, "--metadata-file", str(file))
    assert done.exit_code == 0, done.output
    with server.services.database.read() as session:
        client = session.get_one(Client, "books")
    assert (client.token_endpoint_auth_method, client.token_endpoint_auth_methods) == (method, methods)
    assert (client.secret_hash is None) == ("secret" not in done.output) == (method == "none")


@pytest.mark.parametrize("other", ["none", "private_key_jwt", "client_secret_jwt"])
def test_methods_that_cannot_be_combined(server: Server, other: str) -> None:
    """A client with a method that needs no secret would not be confidential (RFC 6749 section 2.1)."""
    done = run(server, *CLIENT, "--auth-method", "client_secret_basic", "--auth-method", other)
    assert (done.exit_code, "can be combined" in done.output or "jwks" in done.output) == (1, True), done.output


def test_claims_in_id_tokens_are_an_option(server: Server) -> None:
    """OpenID Connect Core section 5.4; an update without the option has the default again."""
    for options, expected in ((("--claims-in-id-token",), True), ((), False)):
        assert run(server, *CLIENT, *options).exit_code == 0
        with server.services.database.read() as session:
            assert session.get_one(Client, "books").claims_in_id_token is expected


UNUSABLE = ("", "ümlaut", "a\tb", "a\x7fb", "x" * 101, "a\ud800")


@pytest.mark.parametrize("name", UNUSABLE)
def test_identifiers_that_no_request_can_contain(server: Server, name: str) -> None:
    """RFC 6749 appendix A.1. RFC 7662 section 2.1 for resource servers."""
    for command in (("add-client", name, *CLIENT[2:]), ("add-resource", name, *RESOURCE[2:])):
        done = run(server, *command)
        assert done.exit_code == 1
        assert re.fullmatch(r"Error: The (client|resource) ID (must|has) [^\n]+\n", done.output), done.output
    with server.services.database.read() as session:
        assert [row.client_id for row in session.scalars(sa.select(Client))] == ["tally"]
        assert session.get(Resource, "https://mail.example") is None


@pytest.mark.parametrize("secret", ["é" * 40, "a\tb" * 20, "s" * 501])
def test_secrets_that_no_request_can_contain(server: Server, tmp_path: Path, secret: str) -> None:
    """RFC 6749 appendix A.2; the message does not contain the secret."""
    file = tmp_path / "secret"
    file.write_text(secret)
    for command in (CLIENT, RESOURCE):
        done = run(server, *command, "--secret-file", str(file))
        assert (done.exit_code, secret in done.output) == (1, False), done.output
        assert "The secret in" in done.output


@pytest.mark.parametrize("name", ["urn:app:one", 'with"quote', "a b:c%+d/e", "x" * 100, "~", " a "])
def test_unusual_identifiers_and_secrets_can_be_used(server: Server, tmp_path: Path, name: str) -> None:
    """RFC 6749 section 2.3.1: they are form-encoded for Basic."""
    file = tmp_path / "secret"
    secret = ((name.strip() + ':%+/" ') * 70)[:499] + "~"
    file.write_text(secret)
    grant = ("--grant", "client_credentials", "--scope", "invoices:read")
    for command in (("add-client", name, *CLIENT[2:], *grant), ("add-resource", name, *RESOURCE[2:])):
        done = run(server, *command, "--secret-file", str(file))
        assert done.exit_code == 0, done.output
    server.forget_scopes()
    credentials = basic(quote_plus(name), quote_plus(secret))
    token = server.post("/token", credentials, grant_type="client_credentials")
    assert token.status_code == 200, token.text
    assert server.post("/introspect", credentials, token="x").json == {"active": False}


@pytest.mark.parametrize("scope", ["a b", 'a"b', "=read", "é=read"])
def test_scopes_that_no_request_can_contain(server: Server, scope: str) -> None:
    """RFC 6749 section 3.3; RFC 8707 section 2 for the identifier."""
    for change in (
        ("--scope", scope),
        ("--identifier", "https://mail.example/<>"),
        ("--identifier", "https://mäil.example"),
    ):
        done = run(server, *RESOURCE, *change)
        assert (done.exit_code, change[0] in done.output) == (1, True), done.output
