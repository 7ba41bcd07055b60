"""Disconnect (RFC 7009): the refresh token is revoked, and with it everything that the owner gave."""

from __future__ import annotations

from rolecall.http import HttpResponse
from rolecall_client.flow import Context, Flow, Message, Refused, Step, client_basic


def revocation_request(context: Context) -> Message:
    """The refresh token where there is one: it stands for the whole authorization."""
    kind = "refresh_token" if context.tokens.get("refresh_token") else "access_token"
    return Message(
        "back",
        "POST",
        context.server.revocation_endpoint,
        headers=client_basic(context.settings),
        form={"token": context.tokens[kind], "token_type_hint": kind},
    )


def revocation_response(context: Context, answer: HttpResponse) -> None:
    """Forget the tokens once the server has."""
    if answer.status != 200:
        raise Refused("server_error", f"the revocation endpoint answered {answer.status}")
    context.tokens.clear()


FLOW = Flow(
    name="disconnect",
    title="Disconnect",
    specification="RFC 7009 section 2.1",
    steps=(Step("revocation_request", 3, revocation_request, revocation_response),),
)
