"""Disconnect (RFC 7009): revoke the refresh token, and with it the whole authorization."""

from __future__ import annotations

from http import HTTPStatus

from rolecall.http import HttpResponse
from rolecall_client.flow import (
    Context,
    Flow,
    Message,
    Step,
    authenticated_request,
    error_response,
    is_of_earlier_registration,
)


def revocation_request(context: Context) -> Message | None:
    """Build the revocation request for the refresh token or, if the client has none, for the access token.

    There is nothing to send without a revocation endpoint, which is optional (RFC 8414 section 2), or if the tokens
    were issued to an earlier registration of this client (RFC 7009 section 2.1).
    """
    if context.server.revocation_endpoint is None or is_of_earlier_registration(context):
        return None
    token_type = "refresh_token" if context.tokens.get("refresh_token") else "access_token"
    form = {"token": context.tokens[token_type], "token_type_hint": token_type}
    return authenticated_request(context, context.server.revocation_endpoint, form)


def revocation_response(context: Context, response: HttpResponse) -> None:
    """Delete the tokens after the authorization server has revoked them.

    They are not deleted if it cannot revoke tokens of their type (RFC 7009 section 2.2.1).
    """
    if response.status == HTTPStatus.OK:
        context.tokens.clear()
    elif (error := error_response("the revocation endpoint", response)).error != "unsupported_token_type":
        raise error


FLOW = Flow(
    name="disconnect",
    title="Refresh token revocation (disconnect)",
    specification="RFC 7009 section 2.1",
    steps=(Step("revocation_request", 3, revocation_request, revocation_response),),
)
