"""Sign with RS256 (RFC 7518 section 3.3)."""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step
from rolecall_lab.catalog import own_client
from rolecall_lab.catalog.entry import CODE, lab_entry
from rolecall_lab.catalog.flows import signed_client


def registration_request(context: Context) -> Message:
    """Generate an RSA key of 2048 bits, the minimum length."""
    return signed_client.register_with_key(context, "RS256", client_name="Tally (RS256 key)")


FLOW = Flow(
    name="signed_rsa",
    title="RS256 signatures (RSA)",
    specification="RFC 7518 section 3.3",
    steps=(
        Step("registration_request", 3, registration_request, own_client.keep_registration),
        *signed_client.FLOW.steps[1:],
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client signs with RSA, the default algorithm of OpenID Connect.",
    description="Every provider and every library supports RS256. The key is ten times as long as one on an elliptic "
    "curve, and so is the signature, which is part of the request that the browser carries. Nothing else differs from "
    "the client that signs with a key on a curve.",
    clause="RFC 7518 section 3.3",
    expected=("201", CODE, "200", "200", "204"),
    base=signed_client,
)
