"""Require an authentication context that the server does not support (OpenID Connect Core section 5.5.1.1)."""

from __future__ import annotations

import json

from rolecall_client.flow import Context, Flow, Message, Step
from rolecall_client.flows import sign_in
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_lab.catalog.entry import lab_entry
from rolecall_lab.catalog.messages import with_parameters

CLAIMS = {"id_token": {"acr": {"essential": True, "values": ["phrh"]}}}
"""Phishing-resistant authentication with a hardware-protected key."""


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: require this authentication context."""
    return with_parameters(sign_in.authentication_request(context), scope="openid", claims=json.dumps(CLAIMS))


FLOW = Flow(
    name="unmet_acr",
    title="Unsupported essential acr claim",
    specification="OpenID Connect Core section 5.5.1.1",
    steps=(Step("authentication_request", 2, authentication_request, authorization_response),),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client requires a kind of sign-in that this server does not offer.",
    description="A value in `acr_values` is a preference; an essential `acr` claim is a requirement. A server that "
    "cannot meet it must not accept a weaker sign-in instead. The server rejects the request and does not ask for a "
    "password.",
    clause="OpenID Connect Core section 5.5.1.1",
    expected=("unmet_authentication_requirements",),
    base=sign_in,
)
