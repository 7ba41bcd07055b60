"""Request an authentication context and verify it (OpenID Connect Core section 2)."""

from __future__ import annotations

from rolecall.http import HttpResponse
from rolecall_client.flow import Context, Flow, FlowError, Message, Step
from rolecall_client.flows import sign_in
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_client.flows.sign_in import token_request
from rolecall_lab.catalog.entry import CODE, lab_entry
from rolecall_lab.catalog.messages import with_parameters

WANTED = ("phr", "urn:rolecall:password")
"""Phishing-resistant authentication, or else a password. This server offers only passwords."""


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: list the acceptable authentication contexts in order of preference."""
    return with_parameters(sign_in.authentication_request(context), scope="openid", acr_values=" ".join(WANTED))


def token_response(context: Context, response: HttpResponse) -> None:
    """Step 4: accept the ID token only if its `acr` is one of them."""
    sign_in.token_response(context, response)
    if context.memory["claims"].get("acr") not in WANTED:
        raise FlowError("bad_id_token", "the acr claim is not one of the requested values")


FLOW = Flow(
    name="acr",
    title="acr_values (authentication context)",
    specification="OpenID Connect Core section 2",
    steps=(
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client requests a kind of sign-in and verifies which kind the server used.",
    description="In `acr_values` the client lists the kinds of sign-in that it accepts, in order of preference. The "
    "server reports in the `acr` claim which kind it used, and omits the claim if it supports none of them. A client "
    "that depends on the kind of sign-in must check the claim: the request alone guarantees nothing.",
    clause="OpenID Connect Core section 2",
    expected=(CODE, "200"),
    base=sign_in,
)
