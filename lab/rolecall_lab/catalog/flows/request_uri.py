"""The request by reference (RFC 9101 section 5.2): the browser carries an address, and the server fetches the request.

Through the browser go the client's name and a `request_uri`; nothing else of the request can be seen or changed
there, and the address of the sign-in page stays short. What the server fetches is signed by the client. It asks only
at addresses that the client has registered, takes its time and its size into account, and follows no redirect.
"""

from __future__ import annotations

import secrets

from rolecall.http import HttpResponse
from rolecall_client.flow import Context, Flow, Message, Step
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_lab.catalog import own_client
from rolecall_lab.catalog.flows.registration import end_request

ALGORITHM = "ES256"


def registration_request(context: Context) -> Message:
    """Where its request will be, and the key that it will be signed with."""
    context.memory["published"] = secrets.token_urlsafe(16)
    return own_client.register(
        context,
        client_name="Tally, whose request is elsewhere",
        token_endpoint_auth_method="client_secret_post",
        request_uris=[own_client.address_of("published", name=context.memory["published"])],
        request_object_signing_alg=ALGORITHM,
        jwks={"keys": [own_client.new_key(context, "mine", ALGORITHM)]},
        scope="openid profile",
    )


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: the whole request is put where the server will fetch it."""
    asked = own_client.authentication_request(context, scope="openid profile")
    signed = own_client.signed(context, {**asked, "iss": own_client.client_id(context)}, typ="oauth-authz-req+jwt")
    own_client.publish(context.memory["published"], "application/oauth-authz-req+jwt", signed)
    form = {
        "client_id": own_client.client_id(context),
        "request_uri": own_client.address_of("published", name=context.memory["published"]),
    }
    return Message("front", "GET", context.server.authorization_endpoint, form=form)


def token_request(context: Context) -> Message:
    """Step 3: the secret stands in the body, which is allowed and no better than in the header."""
    secret = own_client.client_secret(context)
    return own_client.token_request(context, client_id=own_client.client_id(context), client_secret=secret)


def token_response(context: Context, answer: HttpResponse) -> None:
    """Step 4: the ID token answers to the nonce of the request that was fetched."""
    own_client.keep_id_token(context, answer, "RS256")


FLOW = Flow(
    name="request_uri",
    title="The request by reference",
    specification="RFC 9101 section 5.2",
    steps=(
        Step("registration_request", 3, registration_request, own_client.keep_registration),
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
        Step("end_request", 3, end_request, own_client.end_response),
    ),
)
