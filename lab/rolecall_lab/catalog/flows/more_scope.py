"""Refresh with more scope (RFC 6749 section 6): asks for a right that the owner was never asked about.

Tally is registered for `invoices:pay`, but the owner has allowed `invoices:read` alone. A refresh token stands for
what was allowed: with it one may ask for less, never for more.
"""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step, client_basic, keep_tokens
from rolecall_client.flows.authorization_code import authorization_request, authorization_response, token_request


def refresh_request(context: Context) -> Message:
    """The refresh token, and one scope more than it stands for."""
    return Message(
        "back",
        "POST",
        context.server.token_endpoint,
        headers=client_basic(context.settings),
        form={
            "grant_type": "refresh_token",
            "refresh_token": context.tokens["refresh_token"],
            "scope": "invoices:read invoices:pay",
        },
    )


FLOW = Flow(
    name="more_scope",
    title="Refresh with more scope",
    specification="RFC 6749 section 6",
    steps=(
        Step("authorization_request", 2, authorization_request, authorization_response),
        Step("token_request", 3, token_request, keep_tokens),
        Step("refresh_request", 3, refresh_request, keep_tokens),
    ),
)
