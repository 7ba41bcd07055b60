"""Altered token (RFC 9068 section 4): one character of the signature is another one.

An access token can be read by everybody and made by the authorization server alone. The API checks the signature with
the server's public key, by itself; one character suffices for it to be wrong.
"""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step, keep_tokens
from rolecall_client.flows import ask
from rolecall_client.flows.authorization_code import authorization_request, authorization_response, token_request


def resource_request(context: Context) -> Message:
    """Steps E and F. The first character of the signature is changed; of the last one not every bit is read."""
    signed, _, signature = context.tokens["access_token"].rpartition(".")
    first = "B" if signature.startswith("A") else "A"
    context.tokens["access_token"] = f"{signed}.{first}{signature[1:]}"
    context.memory["validator"] = "jwt"
    return ask.resource_request(context)


FLOW = Flow(
    name="altered_token",
    title="Altered token",
    specification="RFC 9068 section 4, RFC 6750 section 3.1",
    steps=(
        Step("authorization_request", 2, authorization_request, authorization_response),
        Step("token_request", 3, token_request, keep_tokens),
        Step("resource_request", 4, resource_request, ask.resource_response),
    ),
)
