"""Refresh with a scope that the user has not granted (RFC 6749 section 6)."""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step, keep_tokens
from rolecall_client.flows import refresh_token
from rolecall_client.flows.authorization_code import authorization_request, authorization_response, token_request
from rolecall_lab.catalog.entry import CODE, lab_entry
from rolecall_lab.catalog.messages import with_parameters


def refresh_request(context: Context) -> Message:
    """Send the refresh token with one scope more than was granted."""
    return with_parameters(refresh_token.token_request(context), scope="invoices:read invoices:pay")


FLOW = Flow(
    name="more_scope",
    title="Refresh token grant with a broader scope",
    specification="RFC 6749 section 6",
    steps=(
        Step("authorization_request", 2, authorization_request, authorization_response),
        Step("token_request", 3, token_request, keep_tokens),
        Step("refresh_request", 3, refresh_request, keep_tokens),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client requests a scope that the user has not consented to.",
    description="Tally is registered for `invoices:pay`, but the user has granted only `invoices:read`. A refresh "
    "token represents what was granted: a client may request a narrower scope with it, never a broader one. The server "
    "rejects the request.",
    clause="RFC 6749 section 5.2",
    expected=(CODE, "200", "400 invalid_scope"),
)
