"""Registration (RFC 7591 section 3): a client registers itself, reads what is registered, changes it, and ends it.

No person is needed and nobody is asked: what comes of it is a name at the server, a secret, and a token that opens this
one registration and nothing else. In production the server wants an initial access token first; in the lab anybody may
register. What was registered ends with everything that came of it.
"""

from __future__ import annotations

from rolecall.http import Answer
from rolecall_client.flow import Context, Flow, FlowError, Message, Step
from rolecall_lab.catalog.own_client import expect, managed, registration_endpoint


def registration_request(context: Context) -> Message:
    """What the client says of itself; the server fills in the rest."""
    asked = {
        "client_name": "Tally's little sister",
        "redirect_uris": [context.settings.redirect_uri],
        "token_endpoint_auth_method": "client_secret_basic",
        "grant_types": ["authorization_code"],
        "scope": "openid profile",
        # what counts for each of its requests that does not say otherwise
        "default_max_age": 3600,
        "default_acr_values": ["urn:rolecall:password"],
        "require_auth_time": True,
        "initiate_login_uri": f"{context.settings.public_url}/flows/sign_in",
    }
    return Message("back", "POST", registration_endpoint(context), json=asked)


def registration_response(context: Context, answer: Answer) -> None:
    """Keep the name, and the token that opens the registration; the secret is not needed here."""
    body = expect(answer, 201)
    context.memory["registered"] = {name: body[name] for name in ("client_id", "registration_access_token")}


def read_request(context: Context) -> Message:
    """What is registered (RFC 7592 section 2.1)."""
    return managed(context, "GET")


def read_response(context: Context, answer: Answer) -> None:
    """All of it, and no secret."""
    body = expect(answer, 200)
    if "client_secret" in body:
        raise FlowError("server_error", "a secret is told twice")
    context.memory["metadata"] = {
        name: body[name] for name in ("client_id", "redirect_uris", "token_endpoint_auth_method", "scope")
    }


def replace_request(context: Context) -> Message:
    """The whole anew; what is left out is reset (RFC 7592 section 2.2)."""
    return managed(context, "PUT", {**context.memory["metadata"], "client_name": "Tally's little brother"})


def replace_response(_context: Context, answer: Answer) -> None:
    """As it is now."""
    if expect(answer, 200)["client_name"] != "Tally's little brother":
        raise FlowError("server_error", "the new name is not the one that was sent")


def end_request(context: Context) -> Message:
    """It is not needed any more (RFC 7592 section 2.3)."""
    return managed(context, "DELETE")


def end_response(_context: Context, answer: Answer) -> None:
    """204: it is gone, and so is all that came of it."""
    expect(answer, 204)


FLOW = Flow(
    name="registration",
    title="Registration",
    specification="RFC 7591 section 3, RFC 7592 section 2",
    steps=(
        Step("registration_request", 3, registration_request, registration_response),
        Step("read_request", 3, read_request, read_response),
        Step("replace_request", 3, replace_request, replace_response),
        Step("end_request", 3, end_request, end_response),
    ),
)
