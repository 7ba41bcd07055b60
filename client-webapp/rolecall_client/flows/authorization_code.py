"""The authorization code flow with PKCE (RFC 6749 section 4.1, RFC 7636); the steps are those of the RFC's figure."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping

from rolecall import checks
from rolecall_client.flow import Context, Flow, FlowError, Message, Step, client_basic, keep_tokens, pkce_pair

ISS = checks.define("client.iss", "RFC 9207 section 2.4", "invalid_request", "The response names another issuer.")
STATE = checks.define(
    "client.state",
    "RFC 6749 section 10.12",
    "invalid_request",
    "The response belongs to another request.",
)

SCOPE = "invoices:read"


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
            "client_id": context.settings.client_id,
            "redirect_uri": context.settings.redirect_uri,
            "scope": SCOPE,
            "resource": context.settings.resource_identifier,
            "state": context.memory["state"],
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        },
    )


def authorization_response(context: Context, response: Mapping[str, str]) -> None:
    """Handle the authorization response (step C): check its issuer and state before anything else."""
    state, issuer = response.get("state", ""), response.get("iss")
    has_state = hmac.compare_digest(state.encode(), context.memory["state"].encode())
    STATE.note(has_state, expected="the state of this request", actual="the same" if has_state else "another")
    ISS.note(issuer == context.server.issuer, expected=context.server.issuer, actual=issuer)
    if not has_state or issuer != context.server.issuer:
        raise FlowError("mixed_up", "the state or iss does not match the request")
    if "error" in response:
        raise FlowError(response["error"], "the authorization server returned an error")
    if "code" not in response:
        raise FlowError("invalid_response", "the response has no code and no error")
    context.memory["code"] = response["code"]


def token_request(context: Context) -> Message:
    """Build the token request (step D), with the code and the verifier."""
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
            "resource": context.settings.resource_identifier,
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
