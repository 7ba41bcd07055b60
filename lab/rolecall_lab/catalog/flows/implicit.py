"""Request an access token in the authorization response (RFC 6749 section 4.2)."""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step
from rolecall_client.flows import authorization_code
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_lab.catalog.entry import lab_entry
from rolecall_lab.catalog.messages import with_parameters


def authorization_request(context: Context) -> Message:
    """Steps A and B: request a token. Without a code to redeem, a code challenge has no purpose."""
    return with_parameters(
        authorization_code.authorization_request(context),
        response_type="token",
        code_challenge=None,
        code_challenge_method=None,
    )


FLOW = Flow(
    name="implicit",
    title="response_type=token (implicit flow)",
    specification="RFC 6749 section 4.2, RFC 9700 section 2.1.2",
    steps=(Step("authorization_request", 2, authorization_request, authorization_response),),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client requests an access token directly, which the browser would carry in a URL.",
    description="Browsers store URLs, servers log them, and scripts read them, and nothing ties such a token to the "
    "client that requested it. The server supports only the response type `code` and rejects a request for `token` "
    "(RFC 9700 section 2.1.2).",
    clause="RFC 6749 section 4.2.2.1",
    expected=("unsupported_response_type",),
)
