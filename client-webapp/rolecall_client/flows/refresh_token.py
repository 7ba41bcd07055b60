"""Refresh the tokens (RFC 6749 section 6); the response may contain a new refresh token."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

from rolecall import checks
from rolecall.errors import OAuthError
from rolecall.http import HttpResponse
from rolecall_client import id_token
from rolecall_client.flow import (
    Context,
    Flow,
    FlowError,
    Message,
    Step,
    authenticated_request,
    is_of_earlier_registration,
    json_object,
    keep_tokens,
)
from rolecall_client.flows import sign_in

SAME_SIGN_IN = checks.define(
    "client.refreshed_id_token",
    "OpenID Connect Core section 12.2",
    "invalid_token",
    "The refreshed ID token differs from the first one in a claim that must stay the same.",
)


def token_request(context: Context) -> Message:
    """Build the token request with the refresh token."""
    if not context.tokens.get("refresh_token"):
        raise FlowError("no_refresh_token", "the connection has no refresh token")
    if is_of_earlier_registration(context):
        raise FlowError("earlier_registration", "the tokens belong to an earlier registration of the client")
    form = {"grant_type": "refresh_token", "refresh_token": context.tokens["refresh_token"]}
    return authenticated_request(context, context.server.token_endpoint, form)


def token_response(context: Context, response: HttpResponse) -> None:
    """Store the new tokens; a new ID token must be about the same sign-in (OpenID Connect Core section 12.2)."""
    previous: dict[str, Any] = context.tokens.get("claims") or {}  # empty for a connection without a sign-in
    token = json_object(response).get("id_token")
    if response.status != HTTPStatus.OK or token is None or not previous:
        keep_tokens(context, response)
        return
    refreshed = dict(context.tokens)
    keep_tokens(replace(context, tokens=refreshed), response)
    expected = sign_in.expected_claims(context, refreshed["access_token"])
    try:
        claims = id_token.validate(token, context.key, expected)
        different = [name for name in _SAME if claims.get(name, previous.get(name)) != previous.get(name)]
        SAME_SIGN_IN(not different, expected="those of the first ID token", actual=", ".join(different) or "the same")
    except OAuthError as error:
        raise FlowError("bad_refreshed_id_token", error.description) from error
    context.tokens |= refreshed


_SAME: Final = ("iss", "sub", "aud", "azp", "auth_time", "nonce")
"""The claims that a refreshed ID token must repeat, if it contains them; the first two and `aud` are required."""

FLOW = Flow(
    name="refresh_token",
    title="Refresh token grant",
    specification="RFC 6749 section 6, RFC 9700 section 4.14",
    steps=(Step("token_request", 3, token_request, token_response),),
)
