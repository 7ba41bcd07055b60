"""PKCE with the method plain (RFC 7636 section 4.2): the challenge is the verifier itself.

The request goes through the browser, so whoever reads it there knows the verifier as well, and the proof is worth
nothing. The server offers S256 alone (RFC 9700 section 2.1.1).
"""

from __future__ import annotations

import secrets

from rolecall_client.flow import Context, Flow, Message, Step, keep_tokens
from rolecall_client.flows.authorization_code import SCOPE, authorization_response, token_request


def authorization_request(context: Context) -> Message:
    """Steps A and B: send the browser to the authorization server, and the verifier with it, for all to read."""
    context.memory["state"] = secrets.token_urlsafe(32)
    context.memory["code_verifier"] = challenge = secrets.token_urlsafe(32)
    return Message(
        "front",
        "GET",
        context.server.authorization_endpoint,
        form={
            "response_type": "code",
            "client_id": context.settings.client_id,
            "redirect_uri": context.settings.redirect_uri,
            "scope": SCOPE,
            "resource": context.settings.resource_identifier,
            "state": context.memory["state"],
            "code_challenge": challenge,
            "code_challenge_method": "plain",
        },
    )


FLOW = Flow(
    name="plain_pkce",
    title="PKCE with the method plain",
    specification="RFC 7636 sections 4.2 and 4.4.1, RFC 9700 section 2.1.1",
    steps=(
        Step("authorization_request", 2, authorization_request, authorization_response),
        Step("token_request", 3, token_request, keep_tokens),
    ),
)
