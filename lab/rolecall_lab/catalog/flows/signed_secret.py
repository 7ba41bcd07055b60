"""Authenticate with a secret that is never sent (OpenID Connect Core section 9)."""

from __future__ import annotations

from rolecall.http import HttpResponse
from rolecall_client.flow import Context, Flow, Message, Step
from rolecall_client.flows import sign_in
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_client.flows.sign_in import userinfo_response
from rolecall_lab.catalog import own_client
from rolecall_lab.catalog.entry import CODE, lab_entry
from rolecall_lab.catalog.messages import with_parameters

ALGORITHM = "PS256"
SCOPE = "openid email phone address groups"


def registration_request(context: Context) -> Message:
    """Register a client whose secret the server generates and returns once."""
    return own_client.register(
        context,
        client_name="Tally (signs with its secret)",
        token_endpoint_auth_method="client_secret_jwt",
        token_endpoint_auth_signing_alg="HS256",
        id_token_signed_response_alg=ALGORITHM,
        scope=SCOPE,
    )


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: request a sign-in, as any client does."""
    return with_parameters(
        sign_in.authentication_request(context), client_id=own_client.client_id(context), scope=SCOPE
    )


def token_request(context: Context) -> Message:
    """Step 3: send a JWT whose HMAC was computed with the secret."""
    return own_client.token_request(context, **own_client.assertion(context, secret=own_client.client_secret(context)))


def token_response(context: Context, response: HttpResponse) -> None:
    """Step 4: the server still signs the ID token with its own key."""
    own_client.keep_id_token(context, response, ALGORITHM)


def userinfo_request(context: Context) -> Message:
    """Step 5: send a POST with the token in the body (RFC 6750 section 2.2)."""
    form = {"access_token": context.tokens["access_token"]}
    return Message("back", "POST", own_client.endpoint(context, "userinfo_endpoint"), form=form)


FLOW = Flow(
    name="signed_secret",
    title="client_secret_jwt (assertions signed with the secret)",
    specification="OpenID Connect Core section 9",
    steps=(
        Step("registration_request", 3, registration_request, own_client.keep_registration),
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
        Step("userinfo_request", 4, userinfo_request, userinfo_response),
        Step("deletion_request", 3, own_client.deletion_request, own_client.deletion_response),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client signs an assertion with its secret instead of sending the secret.",
    description="With `client_secret_jwt` both sides know the secret, and the client sends a JWT that only a holder of "
    "the secret can create. The JWT is valid for this server, for one minute, and once, and it does not reveal the "
    "secret. However, the server must be able to read the secret, so it stores it encrypted; with a key pair of the "
    "client (`private_key_jwt`) it would not have to.",
    clause="OpenID Connect Core section 9",
    expected=("201", CODE, "200", "200", "204"),
    base=sign_in,
)
