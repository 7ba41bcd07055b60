"""Request a scope that the client is not registered for (RFC 6749 section 3.3)."""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step, keep_tokens
from rolecall_client.flows import authorization_code
from rolecall_client.flows.authorization_code import authorization_response, token_request
from rolecall_lab.catalog.entry import lab_entry
from rolecall_lab.catalog.messages import with_parameters


def authorization_request(context: Context) -> Message:
    """Steps A and B: send the browser to the authorization server with a scope that the client may not request."""
    return with_parameters(authorization_code.authorization_request(context), scope="invoices:read invoices:delete")


FLOW = Flow(
    name="unregistered_scope",
    title="Unregistered scope",
    specification="RFC 6749 sections 3.3 and 4.1.2.1",
    steps=(
        Step("authorization_request", 2, authorization_request, authorization_response),
        Step("token_request", 3, token_request, keep_tokens),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client requests a scope that it is not registered for.",
    description="The registration limits what a client may request. The server rejects the request before it shows a "
    "page, so no user can be talked into consenting.",
    clause="RFC 6749 section 4.1.2.1",
    expected=("invalid_scope",),
)
