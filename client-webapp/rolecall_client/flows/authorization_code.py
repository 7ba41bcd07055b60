"""The authorization code flow with PKCE (RFC 6749 section 4.1, RFC 7636); the steps are those of the RFC's figure."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping

from rolecall import checks
from rolecall_client.flow import Context, Flow, FlowError, Message, Step, authenticated_request, keep_tokens, pkce_pair

ISS = checks.define("client.iss", "RFC 9207 section 2.4", "invalid_request", "The response names another issuer.")
STATE = checks.define(
    "client.state",
    "RFC 6749 section 10.12",
    "invalid_request",
    "The response belongs to another request.",
)


def authorization_request(context: Context) -> Message:
    """Build the authorization request (steps A and B), with a new state and verifier."""
    context.memory["state"] = secrets.token_urlsafe(32)
    context.memory["code_verifier"], challenge = pkce_pair()
    return Message(
        "front",
        "GET",
        context.server.authorization_endpoint,
        form={
            "response_type": "code",
            "client_id": context.client_id,
            "redirect_uri": context.settings.redirect_uri,
            "scope": context.settings.scope,
            **resource_parameter(context),
            "state": context.memory["state"],
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **response_mode(context),
        },
    )


def resource_parameter(context: Context) -> dict[str, str]:
    """Return the parameter that names the API (RFC 8707 section 2), if the settings name it."""
    identifier = context.settings.resource_identifier
    return {"resource": identifier} if identifier else {}


def response_mode(context: Context) -> dict[str, str]:
    """Return the parameter `response_mode`, if the settings have one (Multiple Response Types section 2.1)."""
    mode = context.settings.response_mode
    return {"response_mode": mode} if mode else {}


def authorization_response(context: Context, response: Mapping[str, str]) -> None:
    """Handle the authorization response (step C): check its state and issuer before anything else.

    A wrong `iss` is always rejected; a missing one if the metadata announce it (RFC 9207 section 2.4).
    """
    has_state = hmac.compare_digest(response.get("state", "").encode(), context.memory["state"].encode())
    STATE.note(has_state, expected="the state of this request", actual="the same" if has_state else "another")
    issuer, is_required = response.get("iss"), context.server.announces_iss
    has_issuer = issuer == context.server.issuer or (issuer is None and not is_required)
    expected = context.server.issuer if is_required or issuer is not None else "none; the metadata does not announce it"
    ISS.note(has_issuer, expected=expected, actual=issuer or "none")
    if not has_state or (issuer is not None and not has_issuer):
        raise FlowError("mixed_up", "the state or iss does not match the request")
    if not has_issuer:
        raise FlowError("missing_iss", "the response has no iss, although the metadata announce it")
    if "error" in response:
        raise FlowError(response["error"], context.memory.get("scope", context.settings.scope))
    if not response.get("code"):
        raise FlowError("invalid_response", "the response has no code and no error")
    context.memory["code"] = response["code"]


def token_request(context: Context) -> Message:
    """Build the token request (step D), with the code and the verifier."""
    return authenticated_request(
        context,
        context.server.token_endpoint,
        {
            "grant_type": "authorization_code",
            "code": context.memory["code"],
            "redirect_uri": context.settings.redirect_uri,
            "code_verifier": context.memory["code_verifier"],
            **resource_parameter(context),
        },
    )


FLOW = Flow(
    name="authorization_code",
    title="Authorization code with PKCE",
    specification="RFC 6749 section 4.1, RFC 7636, RFC 9207",
    steps=(
        Step("authorization_request", 2, authorization_request, authorization_response),
        Step("token_request", 3, token_request, keep_tokens),
    ),
)
