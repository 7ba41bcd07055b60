"""Signed with RSA (RFC 7518 section 3.3): what is assumed where a client does not say what it wants.

Every provider has RS256 and every library reads it. The key is ten times as long as one on a curve, and so is the
signature, which travels through the browser in the request. Nothing else differs from the client that signs with a
key on a curve.
"""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step
from rolecall_lab.catalog import own_client
from rolecall_lab.catalog.flows import signed_client


def registration_request(context: Context) -> Message:
    """A new RSA key of 2048 bits, the shortest that is allowed."""
    return signed_client.with_key(context, "RS256", client_name="Tally, with an RSA key")


FLOW = Flow(
    name="signed_rsa",
    title="Signed with RSA",
    specification="RFC 7518 section 3.3",
    steps=(
        Step("registration_request", 3, registration_request, own_client.keep_registration),
        *signed_client.FLOW.steps[1:],
    ),
)
