"""Disconnect (RFC 7009): revoke the refresh token, and with it the whole authorization."""

from __future__ import annotations

from rolecall.http import HttpResponse
from rolecall_client.flow import Context, Flow, FlowError, Message, Step, client_basic


def revocation_request(context: Context) -> Message:
    """Build the revocation request for the refresh token, or for the access token without a refresh token."""
    token_type = "refresh_token" if context.tokens.get("refresh_token") else "access_token"
    return Message(
        "back",
        "POST",
        context.server.revocation_endpoint,
        headers=client_basic(context.settings),
        form={"token": context.tokens[token_type], "token_type_hint": token_type},
    )


def revocation_response(context: Context, response: HttpResponse) -> None:
    """Delete the tokens after the authorization server has revoked them."""
    if response.status != 200:
        raise FlowError("server_error", f"the revocation endpoint returned status {response.status}")
    context.tokens.clear()


FLOW = Flow(
    name="disconnect",
    title="Disconnect",
    specification="RFC 7009 section 2.1",
    steps=(Step("revocation_request", 3, revocation_request, revocation_response),),
)
