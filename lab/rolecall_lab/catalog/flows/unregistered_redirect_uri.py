"""Request a response at a redirect URI that is not registered (RFC 9700 section 2.1)."""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step, keep_tokens
from rolecall_client.flows import authorization_code
from rolecall_client.flows.authorization_code import authorization_response, token_request
from rolecall_lab.catalog.entry import NO_RESPONSE, lab_entry
from rolecall_lab.catalog.messages import with_parameters


def authorization_request(context: Context) -> Message:
    """Steps A and B: send a redirect URI that extends the registered one with a query."""
    return with_parameters(
        authorization_code.authorization_request(context), redirect_uri=f"{context.settings.redirect_uri}?and=more"
    )


FLOW = Flow(
    name="unregistered_redirect_uri",
    title="Unregistered redirect_uri",
    specification="RFC 6749 section 4.1.2.1, RFC 9700 section 2.1",
    steps=(
        Step("authorization_request", 2, authorization_request, authorization_response),
        Step("token_request", 3, token_request, keep_tokens),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client requests the response at a redirect URI that is not registered.",
    description="The URI is the registered one with a query appended, which a prefix comparison would accept. A code "
    "that is sent to an attacker's URI is stolen, and an error that is sent there makes the server an open redirector. "
    "The server rejects the request with an error page and does not redirect your browser, so you must return here "
    "yourself.",
    clause="RFC 6749 section 4.1.2.1",
    expected=(NO_RESPONSE,),
)
