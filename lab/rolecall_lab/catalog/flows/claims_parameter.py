"""Claims one by one (OpenID Connect Core section 5.5): the client names the claims that it wants, and where.

A scope brings all that it stands for. The parameter `claims` asks for less, and can have a claim in the ID token that
would else be told at userinfo only: here the email address. The person is asked for no more than the scopes that the
claims belong to; what the server does not know it leaves out.
"""

from __future__ import annotations

import json
import secrets
from typing import Any, Final

from rolecall_client.flow import Context, Flow, Message, Step, pkce_pair
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_client.flows.sign_in import token_request, token_response, userinfo_request, userinfo_response

CLAIMS: Final[dict[str, Any]] = {
    "id_token": {"email": None, "auth_time": {"essential": True}},
    "userinfo": {"nickname": None, "birthdate": None, "shoe_size": None},
}


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: of the profile only what is needed, as JSON."""
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
    name="claims_parameter",
    title="Claims one by one",
    specification="OpenID Connect Core section 5.5",
    steps=(
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
        Step("userinfo_request", 4, userinfo_request, userinfo_response),
    ),
)
