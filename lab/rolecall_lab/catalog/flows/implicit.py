"""Implicit (RFC 6749 section 4.2): asks for the token itself, which the browser would carry in its address.

Addresses are remembered, logged and read by scripts, and nothing says that such a token was meant for this client. The
server has no response type but `code`, and says so to whoever asks for `token` (RFC 9700 section 2.1.2).
"""

from __future__ import annotations

import secrets

from rolecall_client.flow import Context, Flow, Message, Step
from rolecall_client.flows.authorization_code import SCOPE, authorization_response


def authorization_request(context: Context) -> Message:
    """Steps A and B: ask for a token. No secret of the client's takes part, so there is nothing to prove later."""
    context.memory["state"] = secrets.token_urlsafe(32)
    return Message(
        "front",
        "GET",
        context.server.authorization_endpoint,
        form={
            "response_type": "token",
            "client_id": context.settings.client_id,
            "redirect_uri": context.settings.redirect_uri,
            "scope": SCOPE,
            "resource": context.settings.resource_identifier,
            "state": context.memory["state"],
        },
    )


FLOW = Flow(
    name="implicit",
    title="Implicit",
    specification="RFC 6749 section 4.2, RFC 9700 section 2.1.2",
    steps=(Step("authorization_request", 2, authorization_request, authorization_response),),
)
