"""The authorization code flow with PKCE (RFC 6749 section 4.1, RFC 7636): read it like the figure."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping

from rolecall import checks
from rolecall_client.flow import Context, Flow, Message, Refused, Step, client_basic, keep_tokens, pkce_pair

ISS = checks.define("client.iss", "RFC 9207 section 2.4", "invalid_request", "The answer names another issuer.")
STATE = checks.define("client.state", "RFC 6749 section 10.12", "invalid_request", "The answer is to another request.")

SCOPE = "invoices:read"


def authorization_request(context: Context) -> Message:
    """Steps A and B: send the browser to the authorization server, with values that only this request has."""
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


def authorization_response(context: Context, answer: Mapping[str, str]) -> None:
    """Step C: the browser is back. Whose answer is it, and to which request? Only then look at it."""
    state, issuer = answer.get("state", ""), answer.get("iss")
    mine = hmac.compare_digest(state.encode(), context.memory["state"].encode())
    STATE.note(mine, expected="the state of this request", actual="it" if mine else "another")
    ISS.note(issuer == context.server.issuer, expected=context.server.issuer, actual=issuer)
    if not mine or issuer != context.server.issuer:
        raise Refused("mixed_up", "state or iss is not that of this request")
    if "error" in answer:
        raise Refused(answer["error"], "the authorization server refused")
    if "code" not in answer:
        raise Refused("invalid_response", "the answer holds neither code nor error")
    context.memory["code"] = answer["code"]


def token_request(context: Context) -> Message:
    """Step D: the code, and the verifier that proves it is ours."""
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
