"""Sign with EdDSA (RFC 8037 section 3.1)."""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step
from rolecall_lab.catalog import own_client
from rolecall_lab.catalog.entry import CODE, lab_entry
from rolecall_lab.catalog.flows import signed_client


def registration_request(context: Context) -> Message:
    """Generate a key on the curve Ed25519."""
    return signed_client.register_with_key(context, "EdDSA", client_name="Tally (Ed25519 key)")


FLOW = Flow(
    name="signed_edwards",
    title="EdDSA signatures (Ed25519)",
    specification="RFC 8037 section 3.1",
    steps=(
        Step("registration_request", 3, registration_request, own_client.keep_registration),
        *signed_client.FLOW.steps[1:],
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client signs with Ed25519, which needs no random number for a signature.",
    description="An ES256 signature reveals the key if its random number is used twice. Ed25519 derives the number "
    "from the message, so signing the same message twice gives the same signature. `at_hash` is half of a SHA-512 "
    "hash, because Ed25519 uses SHA-512.",
    clause="RFC 8037 section 3.1",
    expected=("201", CODE, "200", "200", "204"),
    base=signed_client,
)
