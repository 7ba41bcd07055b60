"""How it was proved (OpenID Connect Core section 2): the client asks for a kind of sign-in, and is told if it was that.

With `acr_values` the client says which kinds of sign-in it prefers, the best first. The server does what it can, and
tells in the claim `acr` which of them it was; where it can do none of them, it tells none. A client to which it
matters looks at the claim: to have asked is no proof.
"""

from __future__ import annotations

import secrets

from rolecall.http import Answer
from rolecall_client.flow import Context, Flow, FlowError, Message, Step, pkce_pair
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_client.flows.sign_in import token_request
from rolecall_client.flows.sign_in import token_response as believed

WANTED = ("phr", "urn:rolecall:password")
"""Something that cannot be phished, else a password: here there is only the second."""


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: what would be good enough."""
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
            "acr_values": " ".join(WANTED),
        },
    )


def token_response(context: Context, answer: Answer) -> None:
    """Step 4: believed when it says that it was one of these."""
    believed(context, answer)
    if context.memory["claims"].get("acr") not in WANTED:
        raise FlowError("bad_id_token", "the sign-in was of no kind that was asked for")


FLOW = Flow(
    name="acr",
    title="How it was proved",
    specification="OpenID Connect Core section 2",
    steps=(
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
    ),
)
