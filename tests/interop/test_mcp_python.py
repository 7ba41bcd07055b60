"""The MCP Python SDK: its client, and a server that introspects tokens."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from support.browsing import conversation
from support.foreign import INTEROP, not_tested, running
from support.gateways import ApiUser, echo, tampered
from support.python_programs import ENVIRON, configured, interpreter
from support.stack import Stack

# the tests share the address of the resource, which the seeds name
pytestmark = [
    pytest.mark.integration,
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("port 8460"),
]

RESOURCE = "http://localhost:8460/mcp"


@contextmanager
def server(lab: Stack, folder: Path, **replacements: str) -> Iterator[None]:
    """Run the MCP server of the resource `notes`."""
    [notes] = (each for each in yaml.safe_load((INTEROP / "apis.yaml").read_text()) if each["resource_id"] == "notes")
    with closing(socket.socket()) as probe:
        if probe.connect_ex(("localhost", 8460)) == 0:
            not_tested("MCP Python SDK", "port 8460 is in use")
    configured(lab, folder, "mcp-python", {"RESOURCE_SECRET": notes["secret"], **replacements})
    with running([str(interpreter()), "server.py"], RESOURCE, cwd=folder, **ENVIRON):
        yield


@pytest.mark.parametrize("lists_scopes", [True, False])
def test_discovery_tool_call_and_refresh(
    lab: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists_scopes: bool
) -> None:
    """RFC 9728 section 5, RFC 8414 section 3, RFC 7591 section 3, RFC 8707 section 2, RFC 6749 section 6.

    The client requests the server's scopes, or without them all scopes of the authorization server; and it adds
    `offline_access`.
    """
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    replacements = {} if lists_scopes else {'["notes:read"]': "None"}
    with server(lab, tmp_path, **replacements):
        result = conversation([str(interpreter()), "client.py"], tmp_path)
    assert result["requests"][:2] == ["POST /mcp 401", "GET /.well-known/oauth-protected-resource/mcp 200"]
    assert "POST /register 201" in result["requests"]
    [authorization] = (request for request in result["requests"] if "response_type=" in request)
    query = parse_qs(urlsplit(authorization).query)
    assert query["resource"] == [RESOURCE]
    assert query["code_challenge_method"] == ["S256"]
    assert "offline_access" in query["scope"][0].split()

    first, second = result["tokens"]
    assert "notes:read" in first["scope"].split()
    assert "invoices:read" not in first["scope"].split()
    assert lists_scopes == (first["scope"] == "notes:read")
    assert result["texts"] == ["Notes of usr_alice-4fR7wQ2nT9xK"] * 2
    assert second["access_token"] != first["access_token"]
    assert second["refresh_token"] != first["refresh_token"]


def test_the_server_rejects_other_tokens(lab: Stack, tmp_path: Path) -> None:
    """RFC 6750 section 3.1 and RFC 7662 section 2.2: no token, tampered, for another API, revoked."""
    with server(lab, tmp_path), echo() as app:
        user = ApiUser(lab, app, "notes:read")
        accepted = user.call(RESOURCE)
        assert accepted not in {401, 403}
        assert lab.get(RESOURCE)[0] == 401
        assert user.call(RESOURCE, tampered(user.tokens["access_token"])) == 401
        assert ApiUser(lab, app, "invoices:read").call(RESOURCE) == 401
        user.revoke()
        assert user.call(RESOURCE) == 401
