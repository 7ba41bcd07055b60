"""Password (RFC 6749 section 4.3): the owner types the password into the client, which hands it on for a token.

The client then knows the password, and the owner has learnt to type it anywhere; a second factor has no place. It must
not be used (RFC 9700 section 2.4), and the server has no such grant. It refuses before it looks at the name and the
password, which are made up here.
"""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step, client_basic, keep_tokens
from rolecall_client.flows.authorization_code import SCOPE


def token_request(context: Context) -> Message:
    """The owner's name and password in the place of a code. The browser never leaves the client."""
    return Message(
        "back",
        "POST",
        context.server.token_endpoint,
        headers=client_basic(context.settings),
        form={
            "grant_type": "password",
            "username": "alice",
            "password": "as typed into Tally",
            "scope": SCOPE,
            "resource": context.settings.resource_identifier,
        },
    )


FLOW = Flow(
    name="password",
    title="Password",
    specification="RFC 6749 section 4.3, RFC 9700 section 2.4",
    steps=(Step("token_request", 3, token_request, keep_tokens),),
)
