"""Signed with RSA and a salt (RFC 7518 section 3.5): the newer of two ways to sign with the same kind of key.

PS256 brings chance into each signature, for which there is a proof that nobody can make one without the key; for RS256
there is only experience. Banks' profiles want this one. A key says in its `alg` for which of the two it is, so that it
is not used for the other.
"""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step
from rolecall_lab.catalog import own_client
from rolecall_lab.catalog.flows import signed_client


def registration_request(context: Context) -> Message:
    """A new RSA key; its `alg` says that it is for this way alone."""
    return signed_client.with_key(context, "PS256", client_name="Tally, with an RSA key and a salt")


FLOW = Flow(
    name="signed_pss",
    title="Signed with RSA and a salt",
    specification="RFC 7518 section 3.5",
    steps=(
        Step("registration_request", 3, registration_request, own_client.keep_registration),
        *signed_client.FLOW.steps[1:],
    ),
)
