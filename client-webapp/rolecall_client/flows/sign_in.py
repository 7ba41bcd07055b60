"""Sign in (OpenID Connect Core section 3.1): the code flow, and its answer says who it was. Read it like the figure."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final

from rolecall import checks, clock
from rolecall.errors import OAuthError
from rolecall.http import HttpResponse
from rolecall_client import id_token
from rolecall_client.flow import (
    Context,
    Flow,
    Message,
    Refused,
    Step,
    client_basic,
    json_object,
    keep_tokens,
    pkce_pair,
)
from rolecall_client.flows.authorization_code import authorization_response

SUBJECT = checks.define(
    "client.userinfo_sub", "OpenID Connect Core section 5.3.2", "invalid_token", "Userinfo is about somebody else."
)

SCOPE: Final = "openid profile email"

AGAIN: Final[Mapping[str, Mapping[str, str]]] = {
    "": {},
    "login": {"prompt": "login", "max_age": "0"},
    "recent": {"max_age": "60"},
    "silent": {"prompt": "none"},
    "choose": {"prompt": "select_account"},
}
"""How a sign-in can be asked for: as it comes, proven anew, not older than a minute, without a page, with a choice."""


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: send the browser to the OpenID Provider, with values that only this request has."""
    again = AGAIN[context.memory.get("again", "")]
    context.memory["state"] = secrets.token_urlsafe(32)
    context.memory["nonce"] = secrets.token_urlsafe(32)
    context.memory["code_verifier"], challenge = pkce_pair()
    if "max_age" in again:
        # the server judges it when the browser is there, which is later than now
        context.memory["signed_in_since"] = clock.now() - int(again["max_age"])
    return Message(
        "front",
        "GET",
        context.server.authorization_endpoint,
        form={
            "response_type": "code",
            "client_id": context.settings.client_id,
            "redirect_uri": context.settings.redirect_uri,
            "scope": SCOPE,
            "state": context.memory["state"],
            "nonce": context.memory["nonce"],
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **again,
        },
    )


def token_request(context: Context) -> Message:
    """Step 3: the code, and the verifier that proves it is ours."""
    return Message(
        "back",
        "POST",
        context.server.token_endpoint,
        headers=client_basic(context.settings),
        form={
            "grant_type": "authorization_code",
            "code": context.memory["code"],
            "redirect_uri": context.settings.redirect_uri,
            "code_verifier": context.memory["code_verifier"],
        },
    )


def token_response(context: Context, answer: HttpResponse) -> None:
    """Step 4: an access token, and an ID token, which is believed when every rule holds."""
    keep_tokens(context, answer)
    wanted = id_token.Wanted(
        issuer=context.server.issuer,
        client_id=context.settings.client_id,
        algorithm=context.settings.id_token_signed_response_alg,
        nonce=context.memory["nonce"],
        access_token=context.tokens["access_token"],
        signed_in_since=context.memory.get("signed_in_since"),
    )
    try:
        context.memory["claims"] = id_token.validate(json_object(answer).get("id_token"), context.key, wanted)
    except OAuthError as error:
        raise Refused("bad_id_token", error.description) from error


def userinfo_request(context: Context) -> Message:
    """Step 5: ask what there is to know of the person, with the access token in the header."""
    headers = {"Authorization": f"Bearer {context.tokens['access_token']}"}
    return Message("back", "GET", context.server.userinfo_endpoint, headers=headers)


def userinfo_response(context: Context, answer: HttpResponse) -> None:
    """Step 6: what is known, and only of the person whom the ID token names."""
    userinfo = json_object(answer)
    if answer.status != 200:
        raise Refused(str(userinfo.get("error", "server_error")), f"userinfo answered {answer.status}")
    same = userinfo.get("sub") == context.memory["claims"]["sub"]
    SUBJECT.note(same, expected="the sub of the ID token", actual="it" if same else "another")
    if not same:
        raise Refused("another_subject", "userinfo has another sub than the ID token")
    context.memory["userinfo"] = userinfo


FLOW = Flow(
    name="sign_in",
    title="Sign in",
    specification="OpenID Connect Core section 3.1",
    steps=(
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
        Step("userinfo_request", 4, userinfo_request, userinfo_response),
    ),
)
