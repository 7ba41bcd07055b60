"""Replayed code (RFC 6749 section 4.1.2): a code is redeemed twice, as it happens when somebody has stolen it.

The server cannot know which of the two was the thief, so it refuses the second and ends what the first was given. The
API is asked with that first token afterwards: it asks the authorization server, and learns that the token is dead.
"""

from __future__ import annotations

from rolecall.http import HttpResponse
from rolecall_client.flow import Context, Flow, Message, Step, keep_tokens
from rolecall_client.flows import ask
from rolecall_client.flows.authorization_code import authorization_request, authorization_response, token_request


def replay_response(context: Context, answer: HttpResponse) -> None:
    """The second answer is a refusal. Go on all the same, with the token of the first."""
    context.memory["replayed"] = answer.status


def resource_request(context: Context) -> Message:
    """Steps E and F. The API shall ask the authorization server: by its signature the token would still be good."""
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
