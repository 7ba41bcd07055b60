"""Unregistered redirect_uri (RFC 9700 section 2.1): asks for the answer at an address that nobody registered.

It is the registered address and a little more, which a careless comparison would let pass. A code that is sent to an
address of somebody's choice is lost, and an error sent there makes the server a signpost to anywhere. So your browser
stays at the server, which tells you alone; come back here by yourself.
"""

from __future__ import annotations

import secrets

from rolecall_client.flow import Context, Flow, Message, Step, keep_tokens, pkce_pair
from rolecall_client.flows.authorization_code import SCOPE, authorization_response, token_request


def authorization_request(context: Context) -> Message:
    """Steps A and B: send the browser to the authorization server, and name another address for the answer."""
    context.memory["state"] = secrets.token_urlsafe(32)
    context.memory["code_verifier"], challenge = pkce_pair()
    return Message(
        "front",
        "GET",
        context.server.authorization_endpoint,
        form={
            "response_type": "code",
            "client_id": context.settings.client_id,
            "redirect_uri": context.settings.redirect_uri + "?and=more",
            "scope": SCOPE,
            "resource": context.settings.resource_identifier,
            "state": context.memory["state"],
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        },
    )


FLOW = Flow(
    name="unregistered_redirect_uri",
    title="Unregistered redirect URI",
    specification="RFC 6749 section 4.1.2.1, RFC 9700 section 2.1",
    steps=(
        Step("authorization_request", 2, authorization_request, authorization_response),
        Step("token_request", 3, token_request, keep_tokens),
    ),
)
