"""Refresh the tokens (RFC 6749 section 6); the response may contain a new refresh token."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import Any

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
    except OAuthError as error:
        raise FlowError("bad_refreshed_id_token", error.description) from error
    different = _differences(claims, previous, context.settings.leeway)
    names = ", ".join(different)
    SAME_SIGN_IN.note(not different, expected="the claims of the first ID token", actual=names or "the same")
    if different:
        raise FlowError("bad_refreshed_id_token", f"It contradicts the first ID token in: {names}.")
    context.tokens |= refreshed


def _differences(claims: dict[str, Any], first: dict[str, Any], leeway: float) -> list[str]:
    """Return the names of the claims that show another sign-in (OpenID Connect Core section 12.2).

    `aud` has already been validated: it is this client, in both ID tokens.

    Args:
        first: the claims of the ID token that signed the user in; it always has a nonce.
        leeway: seconds by which the issuer's clock may be ahead of this client's clock.
    """
    auth_time = claims.get("auth_time")
    # without an `auth_time` to compare with, the sign-in is at least not later than the first ID token
    is_same_time = (
        auth_time == first["auth_time"] if "auth_time" in first else (auth_time or 0) <= first["iat"] + leeway
    )
    is_same = {
        "iss": claims["iss"] == first["iss"],
        "sub": claims["sub"] == first["sub"],
        "azp": "azp" not in claims or claims["azp"] == first.get("azp"),
        "auth_time": auth_time is None or is_same_time,
        "nonce": "nonce" not in claims or claims["nonce"] == first["nonce"],
        "iat": claims["iat"] >= first["iat"],
    }
    return [name for name, same in is_same.items() if not same]


FLOW = Flow(
    name="refresh_token",
    title="Refresh token grant",
    specification="RFC 6749 section 6, RFC 9700 section 4.14",
    steps=(Step("token_request", 3, token_request, token_response),),
)
