"""Use PKCE with the challenge method `plain` (RFC 7636 section 4.2)."""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step, keep_tokens
from rolecall_client.flows import authorization_code
from rolecall_client.flows.authorization_code import authorization_response, token_request
from rolecall_lab.catalog.entry import lab_entry
from rolecall_lab.catalog.messages import with_parameters


def authorization_request(context: Context) -> Message:
    """Steps A and B: send the verifier itself as the challenge, where everyone on the way can read it."""
    request = authorization_code.authorization_request(context)
    return with_parameters(request, code_challenge=context.memory["code_verifier"], code_challenge_method="plain")


FLOW = Flow(
    name="plain_pkce",
    title="code_challenge_method=plain",
    specification="RFC 7636 sections 4.2 and 4.4.1, RFC 9700 section 2.1.1",
    steps=(
        Step("authorization_request", 2, authorization_request, authorization_response),
        Step("token_request", 3, token_request, keep_tokens),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client sends the code verifier itself as the code challenge.",
    description="The authorization request goes through the browser, so an attacker who reads it there knows the "
    "verifier, and the proof is worthless. The server supports only S256 and rejects the request (RFC 9700 "
    "section 2.1.1).",
    clause="RFC 7636 section 4.4.1",
    expected=("invalid_request",),
)
