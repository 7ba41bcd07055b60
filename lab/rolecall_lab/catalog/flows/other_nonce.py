"""Nonce of another request (OpenID Connect Core section 3.1.3.7): the ID token is genuine, and answers somebody else.

This is how it looks to the client when somebody slips their own code into another browser's answer: signature, issuer
and audience are right, the `nonce` is not the one that this browser's request had. The client believes none of it.
"""

from __future__ import annotations

import secrets

from rolecall_client.flow import Context, Flow, Message, Step, pkce_pair
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_client.flows.sign_in import SCOPE, token_request, token_response


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: what is sent is not what is remembered, as if the answer were to another request."""
    context.memory["state"] = secrets.token_urlsafe(32)
    context.memory["nonce"] = secrets.token_urlsafe(32)
    context.memory["code_verifier"], challenge = pkce_pair()
    return Message(
        "front",
        "GET",
        context.server.authorization_endpoint,
        form={
            "response_type": "code",
            "client_id": context.settings.client_id,
            "redirect_uri": context.settings.redirect_uri,
            "scope": SCOPE,
            "state": context.memory["state"],
            "nonce": secrets.token_urlsafe(32),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        },
    )


FLOW = Flow(
    name="other_nonce",
    title="Nonce of another request",
    specification="OpenID Connect Core section 3.1.3.7",
    steps=(
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
    ),
)
