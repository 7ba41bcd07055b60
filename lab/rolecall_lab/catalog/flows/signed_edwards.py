"""Signed on another curve (RFC 8037 section 3.1): Ed25519, which needs no chance to sign.

A signature with ES256 gives the key away when the random number in it is used twice. Here it is worked out from the
message, and signing the same twice gives the same. The hash in `at_hash` is SHA-512, half of it, because that is the
one in this signature.
"""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step
from rolecall_lab.catalog import own_client
from rolecall_lab.catalog.flows import signed_client


def registration_request(context: Context) -> Message:
    """A new key on the curve Ed25519."""
    return signed_client.with_key(context, "EdDSA", client_name="Tally, with an Ed25519 key")


FLOW = Flow(
    name="signed_edwards",
    title="Signed on another curve",
    specification="RFC 8037 section 3.1",
    steps=(
        Step("registration_request", 3, registration_request, own_client.keep_registration),
        *signed_client.FLOW.steps[1:],
    ),
)
