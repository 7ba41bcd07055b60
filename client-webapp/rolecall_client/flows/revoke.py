"""Revoke the access token (RFC 7009); the refresh token remains valid."""

from __future__ import annotations

from http import HTTPStatus

from rolecall import clock
from rolecall.http import HttpResponse
from rolecall_client.flow import (
    Context,
    Flow,
    FlowError,
    Message,
    Step,
    authenticated_request,
    error_response,
    is_of_earlier_registration,
)


def revocation_request(context: Context) -> Message:
    """Build the revocation request for the access token."""
    if context.server.revocation_endpoint is None:
        raise FlowError("no_revocation", "the authorization server has no revocation endpoint")
    if is_of_earlier_registration(context):
        raise FlowError("earlier_registration", "the tokens belong to an earlier registration of the client")
    form = {"token": context.tokens["access_token"], "token_type_hint": "access_token"}
    return authenticated_request(context, context.server.revocation_endpoint, form)


def revocation_response(context: Context, response: HttpResponse) -> None:
    """Mark the access token as revoked. Status 200 means that it is invalid now, whether it was valid before or not."""
    if response.status != HTTPStatus.OK:
        raise error_response("the revocation endpoint", response)
    context.tokens["revoked_at"] = clock.now()


FLOW = Flow(
    name="revoke",
    title="Token revocation",
    specification="RFC 7009 section 2.1",
    steps=(Step("revocation_request", 3, revocation_request, revocation_response),),
)
