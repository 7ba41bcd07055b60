"""Redeem an authorization code twice (RFC 6749 section 4.1.2)."""

from __future__ import annotations

from rolecall.http import HttpResponse
from rolecall_client.flow import Context, Flow, Message, Step, keep_tokens
from rolecall_client.flows import ask
from rolecall_client.flows.authorization_code import authorization_request, authorization_response, token_request
from rolecall_lab.catalog.entry import CODE, lab_entry


def replay_response(context: Context, response: HttpResponse) -> None:
    """The second response is an error. Continue with the token from the first response."""
    context.memory["replayed"] = response.status


def resource_request(context: Context) -> Message:
    """Steps E and F. The API must ask the authorization server, because the token's signature is still valid."""
    context.memory["validator"] = "introspection"
    return ask.resource_request(context)


FLOW = Flow(
    name="replayed_code",
    title="Replayed code",
    specification="RFC 6749 sections 4.1.2 and 10.5",
    steps=(
        Step("authorization_request", 2, authorization_request, authorization_response),
        Step("token_request", 3, token_request, keep_tokens),
        Step("replay_request", 3, token_request, replay_response),
        Step("resource_request", 4, resource_request, ask.resource_response),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client redeems the same code twice, as happens when a code is stolen. The server refuses the second "
    "use and revokes the tokens.",
    description="The server cannot know which of the two requests came from the attacker. It rejects the second one "
    "and revokes the tokens that it issued for the first one. The client then calls the API with that first token: the "
    "API asks the authorization server and rejects the token.",
    clause="RFC 6749 section 4.1.2",
    expected=(CODE, "200", "400 invalid_grant", "401 invalid_token"),
)
