"""Refresh (RFC 6749 section 6): a new access token, and a new refresh token in the place of the old one."""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Refused, Step, client_basic, keep_tokens


def token_request(context: Context) -> Message:
    """The refresh token, with client authentication."""
    if not context.tokens.get("refresh_token"):
        raise Refused("invalid_grant", "there is no refresh token")
    return Message(
        "back",
        "POST",
        context.server.token_endpoint,
        headers=client_basic(context.settings),
        form={"grant_type": "refresh_token", "refresh_token": context.tokens["refresh_token"]},
    )


FLOW = Flow(
    name="refresh_token",
    title="Refresh the token",
    specification="RFC 6749 section 6, RFC 9700 section 4.14",
    steps=(Step("token_request", 3, token_request, keep_tokens),),
)
