"""Connect and sign in together: one request with `openid` and the API's scope, whose tokens can be refreshed."""

from __future__ import annotations

from dataclasses import replace

from rolecall.http import HttpResponse
from rolecall_client.flow import Context, Flow, Message, Step
from rolecall_client.flows import sign_in
from rolecall_client.flows.authorization_code import authorization_response, resource_parameter


def authentication_request(context: Context) -> Message:
    """Build the request for both (steps 1 and 2), and for a refresh token (OpenID Connect Core section 11)."""
    message = sign_in.authentication_request(context)
    requested = f"{context.settings.sign_in_scope} offline_access {context.settings.scope}"
    context.memory["scope"] = " ".join(dict.fromkeys(requested.split()))
    form = {**(message.form or {}), "scope": context.memory["scope"], **resource_parameter(context)}
    return replace(message, form=form)


def token_request(context: Context) -> Message:
    """Build the token request (step 3), for the API that the authorization request named (RFC 8707 section 2.2)."""
    message = sign_in.token_request(context)
    return replace(message, form={**(message.form or {}), **resource_parameter(context)})


def token_response(context: Context, response: HttpResponse) -> None:
    """Handle the token response (step 4), and keep the claims with which a refreshed ID token is compared."""
    sign_in.token_response(context, response)
    context.tokens["claims"] = context.memory["claims"]


FLOW = Flow(
    name="connect_and_sign_in",
    title="OpenID Connect sign-in with API access",
    specification="OpenID Connect Core sections 3.1 and 11",
    steps=(
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
        Step("userinfo_request", 4, sign_in.userinfo_request, sign_in.userinfo_response),
    ),
)
