"""Leave PKCE out of the authorization code flow (RFC 9700 section 2.1.1)."""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step, keep_tokens
from rolecall_client.flows import authorization_code
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_lab.catalog.entry import lab_entry
from rolecall_lab.catalog.messages import with_parameters


def authorization_request(context: Context) -> Message:
    """Steps A and B: send the browser to the authorization server without a code challenge."""
    return with_parameters(
        authorization_code.authorization_request(context), code_challenge=None, code_challenge_method=None
    )


def token_request(context: Context) -> Message:
    """Step D: send the code without a verifier."""
    return with_parameters(authorization_code.token_request(context), code_verifier=None)


FLOW = Flow(
    name="no_pkce",
    title="Missing code_challenge (no PKCE)",
    specification="RFC 9700 section 2.1.1, RFC 7636 section 4.4.1",
    steps=(
        Step("authorization_request", 2, authorization_request, authorization_response),
        Step("token_request", 3, token_request, keep_tokens),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client sends no code challenge, so nothing ties the code to the browser session that requested it.",
    description="An attacker who sees the code could inject it into another session, and the server could not "
    "detect that. A challenge in the authorization request and its verifier in the token request prevent this. The "
    "server rejects such a request from every client except confidential ones of the profile `openid`.",
    clause="RFC 7636 section 4.4.1",
    expected=("invalid_request",),
)
