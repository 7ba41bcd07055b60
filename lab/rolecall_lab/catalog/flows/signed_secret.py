"""A secret that is never sent (OpenID Connect Core section 9): the client signs with it instead of showing it.

With `client_secret_jwt` both sides know the secret, and what goes over the wire is a JWT that only its owner can have
made: for this server, good for a minute, and once. Who reads it learns no secret. The server, though, has to be able
to read the secret back, so it keeps it sealed; with a key of the client's own (`private_key_jwt`) it would not have
to.
"""

from __future__ import annotations

from rolecall.http import HttpResponse
from rolecall_client.flow import Context, Flow, Message, Step
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_client.flows.sign_in import userinfo_response
from rolecall_lab.catalog import own_client
from rolecall_lab.catalog.flows.registration import end_request

ALGORITHM = "PS256"


def registration_request(context: Context) -> Message:
    """The server chooses the secret, and tells it once."""
    return own_client.register(
        context,
        client_name="Tally, which signs with its secret",
        token_endpoint_auth_method="client_secret_jwt",
        token_endpoint_auth_signing_alg="HS256",
        id_token_signed_response_alg=ALGORITHM,
        scope="openid email phone address",
    )


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: a sign-in like any other."""
    form = own_client.authentication_request(context, scope="openid email phone address")
    return Message("front", "GET", context.server.authorization_endpoint, form=form)


def token_request(context: Context) -> Message:
    """Step 3: a JWT with an HMAC in the place of the secret that made it."""
    return own_client.token_request(context, **own_client.assertion(context, secret=own_client.client_secret(context)))


def token_response(context: Context, answer: HttpResponse) -> None:
    """Step 4: what the server signs, it signs with its own key all the same."""
    own_client.keep_id_token(context, answer, ALGORITHM)


def userinfo_request(context: Context) -> Message:
    """Step 5: by POST, with the token in the body (RFC 6750 section 2.2)."""
    form = {"access_token": context.tokens["access_token"]}
    return Message("back", "POST", context.server.userinfo_endpoint, form=form)


FLOW = Flow(
    name="signed_secret",
    title="A secret that is never sent",
    specification="OpenID Connect Core section 9",
    steps=(
        Step("registration_request", 3, registration_request, own_client.keep_registration),
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
        Step("userinfo_request", 4, userinfo_request, userinfo_response),
        Step("end_request", 3, end_request, own_client.end_response),
    ),
)
