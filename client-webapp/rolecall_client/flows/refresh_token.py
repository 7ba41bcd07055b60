"""Refresh the tokens (RFC 6749 section 6); the response may contain a new refresh token."""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, FlowError, Message, Step, authenticated_request, keep_tokens


def token_request(context: Context) -> Message:
    """Build the token request with the refresh token."""
    if not context.tokens.get("refresh_token"):
        raise FlowError("no_refresh_token", "the connection has no refresh token")
    form = {"grant_type": "refresh_token", "refresh_token": context.tokens["refresh_token"]}
    return authenticated_request(context, context.server.token_endpoint, form)


FLOW = Flow(
    name="refresh_token",
    title="Refresh the token",
    specification="RFC 6749 section 6, RFC 9700 section 4.14",
    steps=(Step("token_request", 3, token_request, keep_tokens),),
)
