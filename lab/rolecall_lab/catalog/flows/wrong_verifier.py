"""Redeem a code with another request's verifier (RFC 7636 section 4.6)."""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step, keep_tokens, pkce_pair
from rolecall_client.flows import authorization_code
from rolecall_client.flows.authorization_code import authorization_request, authorization_response
from rolecall_lab.catalog.entry import CODE, lab_entry
from rolecall_lab.catalog.messages import with_parameters


def token_request(context: Context) -> Message:
    """Step D: send the code with a new verifier that does not match the challenge."""
    return with_parameters(authorization_code.token_request(context), code_verifier=pkce_pair()[0])


FLOW = Flow(
    name="wrong_verifier",
    title="Wrong code_verifier",
    specification="RFC 7636 section 4.6",
    steps=(
        Step("authorization_request", 2, authorization_request, authorization_response),
        Step("token_request", 3, token_request, keep_tokens),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client redeems a valid code with a verifier that belongs to another request.",
    description="This is what the server sees when an attacker redeems a stolen code: the hash of the verifier does "
    "not match the challenge of the authorization request. The server rejects the request, and the code remains valid "
    "for the client that has the right verifier.",
    clause="RFC 7636 section 4.6",
    expected=(CODE, "400 invalid_grant"),
)
