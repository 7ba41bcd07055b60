"""Sign in with a client that has no secret (RFC 6749 section 2.1)."""

from __future__ import annotations

from rolecall.http import HttpResponse
from rolecall_client.flow import Context, Flow, Message, Step
from rolecall_client.flows import sign_in
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_client.flows.sign_in import userinfo_request, userinfo_response
from rolecall_lab.catalog import own_client
from rolecall_lab.catalog.entry import CODE, lab_entry
from rolecall_lab.catalog.messages import with_parameters

SCOPE = "openid profile"


def registration_request(context: Context) -> Message:
    """Register with the authentication method `none`; the server issues no secret."""
    return own_client.register(
        context,
        client_name="Tally (public client)",
        application_type="native",
        token_endpoint_auth_method="none",
        id_token_signed_response_alg="ES256",
        scope=SCOPE,
    )


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: request a sign-in, as any client does."""
    return with_parameters(
        sign_in.authentication_request(context), client_id=own_client.client_id(context), scope=SCOPE
    )


def token_request(context: Context) -> Message:
    """Step 3: send the client ID, the code, and the verifier."""
    return own_client.token_request(context, client_id=own_client.client_id(context))


def token_response(context: Context, response: HttpResponse) -> None:
    """Step 4: validate the ID token, as any client does."""
    own_client.keep_id_token(context, response, "ES256")


FLOW = Flow(
    name="public_client",
    title="token_endpoint_auth_method=none (public client)",
    specification="RFC 6749 section 2.1",
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
    summary="A client that runs on users' devices cannot keep a secret, so it has none.",
    description="The client sends its id and does not authenticate. Only PKCE protects a stolen code: the attacker "
    "does not know the `code_verifier`. The server issues no secret to such a client, does not ask it to authenticate, "
    "and accepts no other authentication method from it.",
    clause="RFC 6749 section 2.1",
    expected=("201", CODE, "200", "200", "204"),
    base=sign_in,
)
