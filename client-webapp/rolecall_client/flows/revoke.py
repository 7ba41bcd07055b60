"""Revoke the access token (RFC 7009): the refresh token stays good."""

from __future__ import annotations

from rolecall import clock
from rolecall.http import HttpResponse
from rolecall_client.flow import Context, Flow, Message, Refused, Step, client_basic


def revocation_request(context: Context) -> Message:
    """The token, with client authentication."""
    return Message(
        "back",
        "POST",
        context.server.revocation_endpoint,
        headers=client_basic(context.settings),
        form={"token": context.tokens["access_token"], "token_type_hint": "access_token"},
    )


def revocation_response(context: Context, answer: HttpResponse) -> None:
    """200 says that the token is worth nothing now, whatever it was before."""
    if answer.status != 200:
        raise Refused("server_error", f"the revocation endpoint answered {answer.status}")
    context.tokens["revoked_at"] = clock.now()


FLOW = Flow(
    name="revoke",
    title="Revoke the access token",
    specification="RFC 7009 section 2.1",
    steps=(Step("revocation_request", 3, revocation_request, revocation_response),),
)
