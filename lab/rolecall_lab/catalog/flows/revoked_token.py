"""Call the API with a token that was just revoked (RFC 7009 section 2.1)."""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step, keep_tokens
from rolecall_client.flows import ask
from rolecall_client.flows.authorization_code import authorization_request, authorization_response, token_request
from rolecall_client.flows.revoke import revocation_request, revocation_response
from rolecall_lab.catalog.entry import CODE, lab_entry


def resource_request(context: Context) -> Message:
    """Steps E and F with the revoked token. The API must ask the authorization server."""
    context.memory["validator"] = "introspection"
    return ask.resource_request(context)


FLOW = Flow(
    name="revoked_token",
    title="Revoked access token",
    specification="RFC 7009 section 2.1, RFC 6750 section 3.1",
    steps=(
        Step("authorization_request", 2, authorization_request, authorization_response),
        Step("token_request", 3, token_request, keep_tokens),
        Step("revocation_request", 3, revocation_request, revocation_response),
        Step("resource_request", 4, resource_request, ask.resource_response),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client calls the API with a token that it has just revoked.",
    description="The API asks the authorization server, which responds that the token is not active (RFC 7662 section "
    "2.2), and rejects the request. An API that verifies only the signature would accept the token until it expires: "
    "the page with the invoices shows both.",
    clause="RFC 6750 section 3.1",
    expected=(CODE, "200", "200", "401 invalid_token"),
)
