"""Exchange the user's password for a token (RFC 6749 section 4.3)."""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step, authenticated_request, keep_tokens
from rolecall_client.flows.authorization_code import resource_parameter
from rolecall_lab.catalog.entry import lab_entry


def token_request(context: Context) -> Message:
    """Send the user's name and password instead of a code. The browser never leaves the client."""
    return authenticated_request(
        context,
        context.server.token_endpoint,
        {
            "grant_type": "password",
            "username": "alice",
            "password": "as typed into Tally",
            "scope": context.settings.scope,
            **resource_parameter(context),
        },
    )


FLOW = Flow(
    name="password",
    title="Password grant",
    specification="RFC 6749 section 4.3, RFC 9700 section 2.4",
    steps=(Step("token_request", 3, token_request, keep_tokens),),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The user types the password into the client, which exchanges it for a token.",
    description="The client learns the password, users get used to typing it into other sites, and a second factor is "
    "impossible. This grant must not be used (RFC 9700 section 2.4), and the server does not support it: it rejects "
    "the request before it reads the name and the password, which are placeholders here.",
    clause="RFC 6749 section 5.2",
    expected=("400 unsupported_grant_type",),
)
