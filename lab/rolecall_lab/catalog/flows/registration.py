"""Register a client, read, update, and delete its registration (RFC 7591 section 3, RFC 7592 section 2)."""

from __future__ import annotations

from rolecall.http import HttpResponse
from rolecall_client.flow import Context, Flow, FlowError, Message, Step
from rolecall_lab.catalog.entry import lab_entry
from rolecall_lab.catalog.own_client import (
    deletion_request,
    deletion_response,
    endpoint,
    management_request,
    require_status,
)

NEW_NAME = "Tally (renamed)"


def registration_request(context: Context) -> Message:
    """Send the client's metadata; the server fills in defaults for the rest."""
    metadata = {
        "client_name": "Tally (self-registered)",
        "redirect_uris": [context.settings.redirect_uri],
        "token_endpoint_auth_method": "client_secret_basic",
        "grant_types": ["authorization_code"],
        "scope": "openid profile",
        # defaults for authentication requests that do not contain these parameters
        "default_max_age": 3600,
        "default_acr_values": ["urn:rolecall:password"],
        "require_auth_time": True,
        "initiate_login_uri": f"{context.settings.public_url}/flows/sign_in",
    }
    return Message("back", "POST", endpoint(context, "registration_endpoint"), json=metadata)


def registration_response(context: Context, response: HttpResponse) -> None:
    """Store the client ID and the registration token. This flow does not need the secret."""
    body = require_status(response, 201)
    context.memory["registered"] = {name: body[name] for name in ("client_id", "registration_access_token")}


def read_request(context: Context) -> Message:
    """Read the registration (RFC 7592 section 2.1)."""
    return management_request(context, "GET")


def read_response(context: Context, response: HttpResponse) -> None:
    """The response contains all metadata, but not the secret, which the server shows only once."""
    body = require_status(response, 200)
    if "client_secret" in body:
        raise FlowError("server_error", "the server returned the client secret a second time")
    context.memory["metadata"] = {
        name: body[name] for name in ("client_id", "redirect_uris", "token_endpoint_auth_method", "scope")
    }


def update_request(context: Context) -> Message:
    """Replace all metadata; omitted members are reset (RFC 7592 section 2.2)."""
    return management_request(context, "PUT", {**context.memory["metadata"], "client_name": NEW_NAME})


def update_response(_context: Context, response: HttpResponse) -> None:
    """The response contains the new metadata."""
    if require_status(response, 200)["client_name"] != NEW_NAME:
        raise FlowError("server_error", "the server did not store the new client name")


FLOW = Flow(
    name="registration",
    title="Dynamic client registration",
    specification="RFC 7591 section 3, RFC 7592 section 2",
    steps=(
        Step("registration_request", 3, registration_request, registration_response),
        Step("read_request", 3, read_request, read_response),
        Step("update_request", 3, update_request, update_response),
        Step("deletion_request", 3, deletion_request, deletion_response),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="A client registers itself, reads its registration, updates it, and deletes it.",
    description="No user is involved. The server issues a client ID, a secret, and a token that gives access to this "
    "registration only. In production the server requires an initial access token first; in the lab any client may "
    "register. Deleting the registration revokes all of the client's tokens.",
    clause="RFC 7591 section 3",
    expected=("201", "200", "200", "204"),
)
