"""Revoked token (RFC 7009 section 2.1): the API is asked with a token that its client has just given up.

The API asks the authorization server, which says that the token is not active (RFC 7662 section 2.2). Were it to check
the signature alone, it would accept the token until it expires: the page with the invoices shows both.
"""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step, keep_tokens
from rolecall_client.flows import ask
from rolecall_client.flows.authorization_code import authorization_request, authorization_response, token_request
from rolecall_client.flows.revoke import revocation_request, revocation_response


def resource_request(context: Context) -> Message:
    """Steps E and F with the revoked token. The API shall ask the authorization server."""
    context.memory["validator"] = "introspection"
    return ask.resource_request(context)


FLOW = Flow(
    name="revoked_token",
    title="Revoked token",
    specification="RFC 7009 section 2.1, RFC 6750 section 3.1",
    steps=(
        Step("authorization_request", 2, authorization_request, authorization_response),
        Step("token_request", 3, token_request, keep_tokens),
        Step("revocation_request", 3, revocation_request, revocation_response),
        Step("resource_request", 4, resource_request, ask.resource_response),
    ),
)
