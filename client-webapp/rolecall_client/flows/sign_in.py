"""Sign in with OpenID Connect (Core section 3.1): the code flow with an ID token; the steps are those of its figure."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from rolecall import checks, clock
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
    error_response,
    json_object,
    keep_tokens,
    pkce_pair,
)
from rolecall_client.flows.authorization_code import authorization_response, response_mode

SUBJECT = checks.define(
    "client.userinfo_sub",
    "OpenID Connect Core section 5.3.2",
    "invalid_token",
    "Userinfo describes another user.",
)

PERSON = checks.define(
    "client.same_person",
    "OpenID Connect Core section 3.1.2.1",
    "invalid_token",
    "The ID token is about another user than the signed-in user.",
)

AGAIN: Final[Mapping[str, Mapping[str, str]]] = {
    "": {},
    "login": {"prompt": "login", "max_age": "0"},
    "recent": {"max_age": "60"},
    "silent": {"prompt": "none"},
    "choose": {"prompt": "select_account"},
}
"""Parameters for a repeated sign-in, by kind: no requirement, a new password check, a sign-in at most a minute old, no
page, or a choice of account."""

SAME_USER: Final = frozenset({"login", "recent", "silent"})
"""Repeated sign-ins that another user may not complete; their requests contain an `id_token_hint`."""


def authentication_request(context: Context) -> Message:
    """Build the authentication request (steps 1 and 2), with a new state, nonce, and verifier."""
    parameters = {**AGAIN[context.memory.get("again", "")], **response_mode(context)}
    if hint := context.memory.get("id_token_hint"):
        parameters["id_token_hint"] = hint
    context.memory["scope"] = context.settings.sign_in_scope
    context.memory["state"] = secrets.token_urlsafe(32)
    context.memory["nonce"] = secrets.token_urlsafe(32)
    context.memory["code_verifier"], challenge = pkce_pair()
    if "max_age" in parameters:
        # the server compares max_age with its time when it handles the request, which is later than now
        context.memory["signed_in_since"] = clock.now() - int(parameters["max_age"])
    return Message(
        "front",
        "GET",
        context.server.authorization_endpoint,
        form={
            "response_type": "code",
            "client_id": context.client_id,
            "redirect_uri": context.settings.redirect_uri,
            "scope": context.memory["scope"],
            "state": context.memory["state"],
            "nonce": context.memory["nonce"],
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **parameters,
        },
    )


def token_request(context: Context) -> Message:
    """Build the token request (step 3), with the code and the verifier."""
    return authenticated_request(
        context,
        context.server.token_endpoint,
        {
            "grant_type": "authorization_code",
            "code": context.memory["code"],
            "redirect_uri": context.settings.redirect_uri,
            "code_verifier": context.memory["code_verifier"],
        },
    )


def token_response(context: Context, response: HttpResponse) -> None:
    """Handle the token response (step 4): an access token, and an ID token that must pass every check."""
    keep_tokens(context, response)
    expected = expected_claims(
        context,
        context.tokens["access_token"],
        nonce=context.memory["nonce"],
        signed_in_since=context.memory.get("signed_in_since"),
    )
    token = json_object(response).get("id_token")
    try:
        context.memory["claims"] = id_token.validate(token, context.key, expected)
    except OAuthError as error:
        raise FlowError("bad_id_token", error.description) from error
    context.memory["id_token"] = token
    if (subject := context.memory.get("subject")) is not None:
        is_same = context.memory["claims"]["sub"] == subject
        PERSON.note(is_same, expected="the user who is signed in", actual="the same" if is_same else "another")
        if not is_same:
            raise FlowError("another_person", "the ID token is about another user than the signed-in user")


def expected_claims(
    context: Context, access_token: str, *, nonce: str | None = None, signed_in_since: float | None = None
) -> id_token.ExpectedClaims:
    """Return what an ID token of this client must match.

    Args:
        access_token: the access token from the same response.
        nonce: that of the request; None after a refresh.
        signed_in_since: the earliest accepted `auth_time`, in seconds since the epoch; None for any.
    """
    return id_token.ExpectedClaims(
        issuer=context.server.issuer,
        client_id=context.client_id,
        algorithm=context.settings.id_token_signed_response_alg,
        nonce=nonce,
        access_token=access_token,
        signed_in_since=signed_in_since,
        leeway=context.settings.leeway,
    )


def userinfo_request(context: Context) -> Message | None:
    """Build the userinfo request (step 5), with the access token in the header.

    Without a userinfo endpoint, which is optional (OpenID Connect Discovery section 3), there is nothing to send.
    """
    if context.server.userinfo_endpoint is None:
        return None
    headers = {"Authorization": f"Bearer {context.tokens['access_token']}"}
    return Message("back", "GET", context.server.userinfo_endpoint, headers=headers)


def userinfo_response(context: Context, response: HttpResponse) -> None:
    """Handle the userinfo response (step 6), which must be about the user in the ID token."""
    if response.status != HTTPStatus.OK:
        raise error_response("the userinfo endpoint", response)
    userinfo = json_object(response)
    if not isinstance(userinfo.get("sub"), str):
        raise FlowError("invalid_userinfo", "The response is not a JSON object with a sub.")
    is_same = userinfo["sub"] == context.memory["claims"]["sub"]
    SUBJECT.note(is_same, expected="the sub of the ID token", actual="the same" if is_same else "another")
    if not is_same:
        raise FlowError("another_subject", "the sub of userinfo differs from that of the ID token")
    context.memory["userinfo"] = userinfo


FLOW = Flow(
    name="sign_in",
    title="OpenID Connect sign-in",
    specification="OpenID Connect Core section 3.1",
    steps=(
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
        Step("userinfo_request", 4, userinfo_request, userinfo_response),
    ),
)
