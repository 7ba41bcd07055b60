"""More than there is (OpenID Connect Core section 5.5.1.1): the client wants a sign-in that cannot be had here.

Asked for by `acr_values`, a kind of sign-in is a wish. As an essential claim it is a condition: a server that cannot
meet it may not let the person in by something weaker, so it answers with an error, and asks nobody for a password.
"""

from __future__ import annotations

import json
import secrets

from rolecall_client.flow import Context, Flow, Message, Step, pkce_pair
from rolecall_client.flows.authorization_code import authorization_response

CLAIMS = {"id_token": {"acr": {"essential": True, "values": ["phrh"]}}}
"""A key in hardware that cannot be phished."""


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: this, or nothing."""
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
            "scope": "openid",
            "state": context.memory["state"],
            "nonce": context.memory["nonce"],
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "claims": json.dumps(CLAIMS),
        },
    )


FLOW = Flow(
    name="unmet_acr",
    title="More than there is",
    specification="OpenID Connect Core section 5.5.1.1",
    steps=(Step("authentication_request", 2, authentication_request, authorization_response),),
)
