"""Wrong verifier (RFC 7636 section 4.6): the code is right, the proof belongs to another request.

This is how it looks to the server when somebody redeems a code that is not theirs: the hash of the verifier is not the
challenge that came with the request. It gives nothing, and the code stays good for whoever has the right verifier.
"""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step, client_basic, keep_tokens, pkce_pair
from rolecall_client.flows.authorization_code import authorization_request, authorization_response


def token_request(context: Context) -> Message:
    """Step D: the code, and a fresh verifier that fits no challenge."""
    return Message(
        "back",
        "POST",
        context.server.token_endpoint,
        headers=client_basic(context.settings),
        form={
            "grant_type": "authorization_code",
            "code": context.memory["code"],
            "redirect_uri": context.settings.redirect_uri,
            "code_verifier": pkce_pair()[0],
            "resource": context.settings.resource_identifier,
        },
    )


FLOW = Flow(
    name="wrong_verifier",
    title="Wrong verifier",
    specification="RFC 7636 section 4.6",
    steps=(
        Step("authorization_request", 2, authorization_request, authorization_response),
        Step("token_request", 3, token_request, keep_tokens),
    ),
)
