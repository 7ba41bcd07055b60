"""Send an authorization request by reference (RFC 9101 section 5.2)."""

from __future__ import annotations

import secrets

from rolecall.http import HttpResponse
from rolecall_client.flow import Context, Flow, Message, Step
from rolecall_client.flows import sign_in
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_lab.catalog import own_client
from rolecall_lab.catalog.entry import CODE, lab_entry
from rolecall_lab.catalog.messages import with_parameters

ALGORITHM = "ES256"
SCOPE = "openid profile"


def registration_request(context: Context) -> Message:
    """Register the URL of the request and the key that signs it."""
    context.memory["published"] = secrets.token_urlsafe(16)
    return own_client.register(
        context,
        client_name="Tally (request by reference)",
        token_endpoint_auth_method="client_secret_post",
        request_uris=[own_client.backchannel_url("published", name=context.memory["published"])],
        request_object_signing_alg=ALGORITHM,
        jwks={"keys": [own_client.new_key(context, "signing", ALGORITHM)]},
        scope=SCOPE,
    )


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: publish the request, and send only its URL through the browser."""
    request = with_parameters(
        sign_in.authentication_request(context), client_id=own_client.client_id(context), scope=SCOPE
    )
    signed = own_client.request_object(context, request)
    own_client.publish(context.memory["published"], "application/oauth-authz-req+jwt", signed)
    form = {
        "client_id": own_client.client_id(context),
        "request_uri": own_client.backchannel_url("published", name=context.memory["published"]),
    }
    return Message("front", "GET", context.server.authorization_endpoint, form=form)


def token_request(context: Context) -> Message:
    """Step 3: send the secret in the body, which is allowed and no safer than the header."""
    secret = own_client.client_secret(context)
    return own_client.token_request(context, client_id=own_client.client_id(context), client_secret=secret)


def token_response(context: Context, response: HttpResponse) -> None:
    """Step 4: the ID token contains the nonce of the request that the server fetched."""
    own_client.keep_id_token(context, response, "RS256")


FLOW = Flow(
    name="request_uri",
    title="request_uri (request by reference)",
    specification="RFC 9101 section 5.2",
    steps=(
        Step("registration_request", 3, registration_request, own_client.keep_registration),
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
        Step("deletion_request", 3, own_client.deletion_request, own_client.deletion_response),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The browser carries a URL, and the server fetches the signed authorization request from it.",
    description="Only the client ID and a `request_uri` go through the browser. The rest of the request cannot be read "
    "or changed there, and the URL stays short. The client signs the document that the server fetches. The server "
    "fetches only from URLs that the client has registered, limits time and size, and follows no redirects.",
    clause="RFC 9101 section 5.2",
    expected=("201", CODE, "200", "204"),
    base=sign_in,
)
