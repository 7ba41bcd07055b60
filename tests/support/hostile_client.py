"""A self-registered client with markup in its name, and a flow with markup in its parameters."""

from __future__ import annotations

import base64
import hashlib
import json
from urllib.parse import urlencode

from support.stack import Stack

SCRIPT = "<script>window.taken=1;alert(1)</script>"
IMAGE = '<img src="x" onerror="window.taken=1">'
"""Markup that also runs when it is inserted later, unlike a script element."""

ATTRIBUTE = "\"' autofocus tabindex=1 onfocus=window.taken=1 x='"
"""Ends an attribute's value, with either kind of quotes."""

CALLBACK = "http://127.0.0.1:4999/callback"


def register(stack: Stack, name: str) -> str:
    """Register a native client of this name (RFC 7591); return its client_id."""
    metadata = {
        "client_name": name,
        "redirect_uris": ["http://127.0.0.1/callback"],
        "application_type": "native",
        "token_endpoint_auth_method": "none",
        "scope": "invoices:read",
    }
    body = json.dumps(metadata).encode()
    status, registered = stack.call("POST", f"{stack.auth}/register", body, Content_Type="application/json")
    assert status == 201, registered
    assert registered["client_name"] == name
    return str(registered["client_id"])


def verifier_of(client_id: str) -> str:
    """Return a unique `code_verifier` for this client, because flows with the same challenge may be merged."""
    return hashlib.sha256(client_id.encode()).hexdigest()


def authorization_request(stack: Stack, client_id: str, state: str) -> str:
    """Return the URL to which such a client sends the browser."""
    challenge = hashlib.sha256(verifier_of(client_id).encode()).digest()
    asked = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": CALLBACK,
        "scope": "invoices:read",
        "state": state,
        "code_challenge": base64.urlsafe_b64encode(challenge).decode().rstrip("="),
        "code_challenge_method": "S256",
    }
    return f"{stack.auth}/authorize?{urlencode(asked)}"


def use(stack: Stack, client_id: str, code: str, user_agent: str) -> None:
    """Redeem the code and read the invoices, with this User-Agent."""
    form = {
        "grant_type": "authorization_code",
        "client_id": client_id,
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": verifier_of(client_id),
    }
    body = urlencode(form).encode()
    status, tokens = stack.call("POST", f"{stack.auth}/token", body, User_Agent=user_agent)
    assert status == 200, tokens
    bearer = f"Bearer {tokens['access_token']}"
    assert stack.get(f"{stack.api}/invoices", Authorization=bearer, User_Agent=user_agent)[0] == 200
