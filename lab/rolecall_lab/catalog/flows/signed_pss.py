"""Sign with PS256 (RFC 7518 section 3.5)."""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step
from rolecall_lab.catalog import own_client
from rolecall_lab.catalog.entry import CODE, lab_entry
from rolecall_lab.catalog.flows import signed_client


def registration_request(context: Context) -> Message:
    """Generate an RSA key whose `alg` permits only PS256."""
    return signed_client.register_with_key(context, "PS256", client_name="Tally (PS256 key)")


FLOW = Flow(
    name="signed_pss",
    title="PS256 signatures (RSA-PSS)",
    specification="RFC 7518 section 3.5",
    steps=(
        Step("registration_request", 3, registration_request, own_client.keep_registration),
        *signed_client.FLOW.steps[1:],
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client signs with RSA-PSS, the newer of two signature schemes for RSA keys.",
    description="PS256 adds a random salt to each signature, and there is a security proof for it; RS256 has only "
    "a long record of use. Profiles for banks require PS256. The `alg` of a key names the scheme that it is for, so it "
    "cannot be used with the other scheme.",
    clause="RFC 7518 section 3.5",
    expected=("201", CODE, "200", "200", "204"),
    base=signed_client,
)
