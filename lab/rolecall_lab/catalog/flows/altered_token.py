"""Change one character of an access token's signature (RFC 9068 section 4)."""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step, keep_tokens
from rolecall_client.flows import ask
from rolecall_client.flows.authorization_code import authorization_request, authorization_response, token_request
from rolecall_lab.catalog.entry import CODE, lab_entry


def resource_request(context: Context) -> Message:
    """Steps E and F. Change the signature's first character; not every bit of the last one is significant."""
    signed, _, signature = context.tokens["access_token"].rpartition(".")
    first = "B" if signature.startswith("A") else "A"
    context.tokens["access_token"] = f"{signed}.{first}{signature[1:]}"
    context.memory["validator"] = "jwt"
    return ask.resource_request(context)


FLOW = Flow(
    name="altered_token",
    title="Altered access token",
    specification="RFC 9068 section 4, RFC 6750 section 3.1",
    steps=(
        Step("authorization_request", 2, authorization_request, authorization_response),
        Step("token_request", 3, token_request, keep_tokens),
        Step("resource_request", 4, resource_request, ask.resource_response),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client changes one character of the token's signature.",
    description="Anyone who has an access token can read it, but only the authorization server can create one. The API "
    "verifies the signature with the server's public key, without calling the server, and rejects the token: one "
    "changed character is enough.",
    clause="RFC 6750 section 3.1",
    expected=(CODE, "200", "401 invalid_token"),
)
