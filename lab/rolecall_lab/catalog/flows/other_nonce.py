"""Receive an ID token with another request's nonce (OpenID Connect Core section 3.1.3.7)."""

from __future__ import annotations

import secrets

from rolecall_client.flow import Context, Flow, Message, Step
from rolecall_client.flows import sign_in
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_client.flows.sign_in import token_request, token_response
from rolecall_lab.catalog.entry import BAD_ID_TOKEN, CODE, lab_entry
from rolecall_lab.catalog.messages import with_parameters


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: send another nonce than the stored one, as if the response belonged to another request."""
    return with_parameters(sign_in.authentication_request(context), nonce=secrets.token_urlsafe(32))


FLOW = Flow(
    name="other_nonce",
    title="Wrong nonce in the ID token",
    specification="OpenID Connect Core section 3.1.3.7",
    steps=(
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client receives a genuine ID token that was issued for another request.",
    description="This is what the client sees when an attacker injects their own code into a response for another "
    "browser: signature, issuer, and audience are right, but the `nonce` differs from the one in this browser's "
    "request. The client rejects the ID token.",
    clause="OpenID Connect Core section 3.1.3.7",
    expected=(CODE, BAD_ID_TOKEN),
    base=sign_in,
)
