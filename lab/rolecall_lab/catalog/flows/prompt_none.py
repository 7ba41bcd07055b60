"""Silent, and signed in this instant (OpenID Connect Core section 3.1.2.6): no page may be shown where one is needed.

With `prompt=none` a client asks whether somebody is signed in, and wants no page. `max_age=0` wants a sign-in that
happens now. Both at once cannot be had, so the answer is `login_required`, as it is for everybody who is not signed in.
"""

from __future__ import annotations

import secrets

from rolecall_client.flow import Context, Flow, Message, Step, pkce_pair
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_client.flows.sign_in import SCOPE, token_request, token_response, userinfo_request, userinfo_response


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: no page, and a sign-in of this very second."""
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
            "nonce": context.memory["nonce"],
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "prompt": "none",
            "max_age": "0",
        },
    )


FLOW = Flow(
    name="prompt_none",
    title="Silent, and signed in this instant",
    specification="OpenID Connect Core section 3.1.2.6",
    steps=(
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
        Step("userinfo_request", 4, userinfo_request, userinfo_response),
    ),
)
