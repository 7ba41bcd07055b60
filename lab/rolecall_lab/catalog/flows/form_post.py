"""Answer in a form (OAuth 2.0 Form Post Response Mode section 2): the code comes in a body, and in no address.

The server answers with a page whose form sends itself to the client. A code in an address may stand in a history or a
log; in a body it does not. Such a form comes from another site and brings no cookie, so the client keeps the answer and
sends the browser to itself once more: only then it knows whose answer it is.
"""

from __future__ import annotations

import secrets

from rolecall_client.flow import Context, Flow, Message, Step, pkce_pair
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_client.flows.sign_in import SCOPE, token_request, token_response, userinfo_request, userinfo_response


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: the answer shall come by POST."""
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
            "response_mode": "form_post",
        },
    )


FLOW = Flow(
    name="form_post",
    title="Answer in a form",
    specification="OAuth 2.0 Form Post Response Mode section 2",
    steps=(
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
        Step("userinfo_request", 4, userinfo_request, userinfo_response),
    ),
)
