"""Tally at the lab's authorization server, where it is not registered: its settings for other providers."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from cryptography.fernet import Fernet

from rolecall_client import create_app
from rolecall_lab.walker import Walker
from support.providers import Visitor, client_keys, tally_at, tally_settings
from support.servers import free_port
from support.stack import Stack, wait_until

pytestmark = pytest.mark.integration

ALICE: Final = {"username": "alice", "password": "wonderland-lab", "decision": "allow"}


def settings(stack: Stack) -> dict[str, str]:
    """Return Tally's settings for the authorization server and the API of this lab, without a client ID."""
    return {
        "ISSUER": stack.auth,
        "RESOURCE_URL": stack.api,
        "RESOURCE_IDENTIFIER": stack.api,
        "DATA_KEY": Fernet.generate_key().decode(),
    }


@pytest.mark.parametrize("mode", ["query", "form_post"])
def test_it_registers_connects_signs_in_and_refreshes(stack: Stack, redis_url: str, mode: str) -> None:
    """RFC 7591 section 3.1, OpenID Connect Core sections 3.1 and 12, Form Post Response Mode section 2."""
    with tally_at(free_port(), redis_url, "", **settings(stack), RESPONSE_MODE=mode) as tally:
        visitor = Visitor(tally, ALICE)
        page = visitor.press("/connect-and-sign-in")
        assert (page.url, page.status) == (f"{tally}/invoices", 200), page.text
        assert (f"{tally}/callback" in visitor.urls) == (mode == "form_post")
        assert visitor.open(f"{tally}/me").status == 200
        page = visitor.press("/refresh", "/invoices")
        assert (page.url, page.status) == (f"{tally}/invoices", 200), page.text
        assert "a new access token and a new refresh token" in page.text
        assert visitor.press("/disconnect", "/invoices").url == f"{tally}/"


def test_the_registration_is_shown_deleted_and_made_again(stack: Stack, redis_url: str) -> None:
    """RFC 7592 sections 2.1 and 2.3, with a public key instead of a secret (RFC 7523 section 3)."""
    port, own = free_port(), settings(stack)
    private, _ = client_keys()
    own |= {"CLIENT_AUTH_METHOD": "private_key_jwt", "CLIENT_PRIVATE_KEY": json.dumps(private)}
    commands = create_app(tally_settings(port, redis_url, "", **own)).test_cli_runner()

    def registered() -> dict[str, Any]:
        """Sign in with a Tally that has just started, and return its registration."""
        with tally_at(port, redis_url, "", **own) as tally:
            assert Visitor(tally, ALICE).press("/sign-in").url == f"{tally}/me"
        document: dict[str, Any] = json.loads(commands.invoke(args=["registration"]).output)
        return document

    first = registered()
    assert first["registration_access_token"] == "(secret)"
    assert "d" not in first["jwks"]["keys"][0]
    assert registered()["client_id"] == first["client_id"], "the registration outlives a restart"
    assert "here and at the authorization server" in commands.invoke(args=["unregister"]).output
    request = f"{stack.auth}/authorize?client_id={first['client_id']}&response_type=code"
    # another worker of the authorization server may use the registration for a few more seconds
    wait_until(lambda: "The client_id is missing or unknown" in Walker().open(request).text)
    assert registered()["client_id"] != first["client_id"]
