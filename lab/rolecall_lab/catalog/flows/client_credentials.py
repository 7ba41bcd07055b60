"""Get a token without a user, and call an API that needs one (RFC 6749 section 4.4)."""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step, keep_tokens
from rolecall_client.flows import ask
from rolecall_client.flows.authorization_code import resource_parameter
from rolecall_lab.catalog import own_client
from rolecall_lab.catalog.entry import lab_entry


def registration_request(context: Context) -> Message:
    """Register a client that never redirects a browser, so it needs no redirect URI."""
    return own_client.register(
        context,
        client_name="Reports",
        token_endpoint_auth_method="client_secret_post",
        grant_types=["client_credentials"],
        response_types=[],
        redirect_uris=[],
        scope="invoices:read",
    )


def token_request(context: Context) -> Message:
    """Send nothing but the client's own credentials, the scope, and the API that the token is for."""
    form = {
        "grant_type": "client_credentials",
        "client_id": own_client.client_id(context),
        "client_secret": own_client.client_secret(context),
        "scope": "invoices:read",
        **resource_parameter(context),
    }
    return Message("back", "POST", context.server.token_endpoint, form=form)


FLOW = Flow(
    name="client_credentials",
    title="Client credentials grant",
    specification="RFC 6749 section 4.4, RFC 9068 section 2.2",
    steps=(
        Step("registration_request", 3, registration_request, own_client.keep_registration),
        Step("token_request", 3, token_request, keep_tokens),
        Step("resource_request", 4, ask.resource_request, ask.resource_response),
        Step("deletion_request", 3, own_client.deletion_request, own_client.deletion_response),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="A client gets a token without a user, and the API rejects it because invoices belong to users.",
    description="No browser and no user are involved: the client authenticates and gets an access token, without a "
    "refresh token, because it can repeat the request at any time. The `sub` of the token is a random identifier of "
    "the client, which is never a user's (RFC 9068 section 2.2). An API that only compares scopes could take the "
    "client for a user. The Invoices API requires a token that a user has allowed (RFC 9700 section 4.15).",
    clause="RFC 9700 section 4.15",
    expected=("201", "200", "403 insufficient_scope", "204"),
)
