"""Unregistered scope (RFC 6749 section 3.3): asks for more than the client is registered for.

What a client may ask for at most is settled when it is registered. The server refuses the rest before it asks anybody,
so that no owner can be talked into allowing it.
"""

from __future__ import annotations

import secrets

from rolecall_client.flow import Context, Flow, Message, Step, keep_tokens, pkce_pair
from rolecall_client.flows.authorization_code import authorization_response, token_request


def authorization_request(context: Context) -> Message:
    """Steps A and B: send the browser to the authorization server, and ask for too much."""
    context.memory["state"] = secrets.token_urlsafe(32)
    context.memory["code_verifier"], challenge = pkce_pair()
    return Message(
        "front",
        "GET",
        context.server.authorization_endpoint,
        form={
            "response_type": "code",
            "client_id": context.settings.client_id,
            "redirect_uri": context.settings.redirect_uri,
            "scope": "invoices:read invoices:delete",
            "resource": context.settings.resource_identifier,
            "state": context.memory["state"],
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        },
    )


FLOW = Flow(
    name="unregistered_scope",
    title="Unregistered scope",
    specification="RFC 6749 sections 3.3 and 4.1.2.1",
    steps=(
        Step("authorization_request", 2, authorization_request, authorization_response),
        Step("token_request", 3, token_request, keep_tokens),
    ),
)
