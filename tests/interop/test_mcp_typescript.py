"""The MCP TypeScript SDK: clients of 1.x and 2.x, and a server that introspects their tokens."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import parse_qs

import pytest
import yaml

from support.browsing import conversation
from support.foreign import INTEROP, not_tested, running
from support.node_programs import configured
from support.stack import Stack

pytestmark = [pytest.mark.npm, pytest.mark.integration]

RESOURCE = "http://localhost:8460/mcp"
"""The server's address, which cannot be another one: it is the identifier of the resource."""


@contextmanager
def server(node: Path, lab: Stack, folder: Path, replacements: dict[str, str]) -> Iterator[None]:
    """Run the MCP server of the resource `notes`."""
    [notes] = (each for each in yaml.safe_load((INTEROP / "apis.yaml").read_text()) if each["resource_id"] == "notes")
    with closing(socket.socket()) as probe:
        if probe.connect_ex(("localhost", 8460)) == 0:
            not_tested("MCP TypeScript SDK", "port 8460 is in use")
    values = {"RESOURCE_SECRET": notes["secret"], **replacements}
    program = configured(node, lab, folder, values, "mcp_server.mjs")
    with running(["node", str(program)], RESOURCE, cwd=folder):
        yield


@pytest.mark.parametrize(
    ("sdk", "scopes"),
    [
        (1, "[]"),
        (2, "['notes:read']"),
        pytest.param(1, "['notes:read']", marks=pytest.mark.long),
        pytest.param(2, "[]", marks=pytest.mark.long),
    ],
)
def test_discovery_tool_call_and_refresh(lab: Stack, node: Path, tmp_path: Path, sdk: int, scopes: str) -> None:
    """RFC 9728 section 5, RFC 8414 section 3, RFC 7591 section 3, RFC 8707 section 2, RFC 6749 section 6.

    The server may list its scopes; otherwise the client requests no scope, or only `offline_access`.
    """
    with server(node, lab, tmp_path, {"const scopes = ['notes:read']": f"const scopes = {scopes}"}):
        programs = ("mcp_client.mjs", "mcp_provider.mjs", f"mcp_sdk_{sdk}.mjs")
        client = configured(node, lab, tmp_path, {}, *programs)
        result = conversation(["node", str(client), f'{{"sdk": {sdk}}}'], tmp_path)
    assert result["requests"][:2] == ["/mcp 401", "/.well-known/oauth-protected-resource/mcp 200"]
    assert "/register 201" in result["requests"]
    query = parse_qs(result["authorization"][1:])
    assert query["resource"] == [RESOURCE]
    assert query["code_challenge_method"] == ["S256"]

    assert result["first"]["scope"] == "notes:read"
    assert result["before"] == result["after"] == "Notes of usr_alice-4fR7wQ2nT9xK"
    assert result["second"]["access_token"] not in {"expired", result["first"]["access_token"]}
    assert result["second"]["refresh_token"] != result["first"]["refresh_token"]
