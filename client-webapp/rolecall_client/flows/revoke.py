"""Revoke the access token (RFC 7009); the refresh token remains valid."""

from __future__ import annotations

from rolecall import clock
from rolecall.http import HttpResponse
from rolecall_client.flow import Context, Flow, FlowError, Message, Step, client_basic


def revocation_request(context: Context) -> Message:
    """Build the revocation request for the access token."""
    return Message(
        "back",
        "POST",
        context.server.revocation_endpoint,
        headers=client_basic(context.settings),
        form={"token": context.tokens["access_token"], "token_type_hint": "access_token"},
    )


def revocation_response(context: Context, response: HttpResponse) -> None:
    """Mark the access token as revoked. Status 200 means that it is invalid now, whether it was valid before or not."""
    if response.status != 200:
        raise FlowError("server_error", f"the revocation endpoint returned status {response.status}")
    context.tokens["revoked_at"] = clock.now()


FLOW = Flow(
    name="revoke",
    title="Revoke the access token",
    specification="RFC 7009 section 2.1",
    steps=(Step("revocation_request", 3, revocation_request, revocation_response),),
)
