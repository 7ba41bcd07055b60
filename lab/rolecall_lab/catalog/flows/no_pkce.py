"""Code without PKCE (RFC 9700 section 2.1.1): nothing ties the code to the one who asked for it.

Whoever sees the code on its way through the browser could slip it into a session of their own, and the server could
not tell. A challenge in the request and its verifier in the redemption prevent that, so the server asks for the
challenge at once.
"""

from __future__ import annotations

import secrets

from rolecall_client.flow import Context, Flow, Message, Step, client_basic, keep_tokens
from rolecall_client.flows.authorization_code import SCOPE, authorization_response


def authorization_request(context: Context) -> Message:
    """Steps A and B: send the browser to the authorization server, without a challenge."""
    context.memory["state"] = secrets.token_urlsafe(32)
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
        },
    )


def token_request(context: Context) -> Message:
    """Step D: the code alone."""
    return Message(
        "back",
        "POST",
        context.server.token_endpoint,
        headers=client_basic(context.settings),
        form={
            "grant_type": "authorization_code",
            "code": context.memory["code"],
            "redirect_uri": context.settings.redirect_uri,
            "resource": context.settings.resource_identifier,
        },
    )


FLOW = Flow(
    name="no_pkce",
    title="Code without PKCE",
    specification="RFC 9700 section 2.1.1, RFC 7636 section 4.4.1",
    steps=(
        Step("authorization_request", 2, authorization_request, authorization_response),
        Step("token_request", 3, token_request, keep_tokens),
    ),
)
