"""A client without a secret (RFC 6749 section 2.1): what runs on people's own devices can keep none.

It says its name, and proves nothing. What keeps a stolen code from being of use to a thief is PKCE alone: only who
began the flow knows the `code_verifier`. The server gives such a client no secret, asks it for no other proof, and
takes none.
"""

from __future__ import annotations

from rolecall.http import HttpResponse
from rolecall_client.flow import Context, Flow, Message, Step
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_client.flows.sign_in import userinfo_request, userinfo_response
from rolecall_lab.catalog import own_client
from rolecall_lab.catalog.flows.registration import end_request


def registration_request(context: Context) -> Message:
    """Its method is `none`, and no secret comes back."""
    return own_client.register(
        context,
        client_name="Tally, which can keep no secret",
        application_type="native",
        token_endpoint_auth_method="none",
        id_token_signed_response_alg="ES256",
        scope="openid profile",
    )


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: a sign-in like any other."""
    form = own_client.authentication_request(context, scope="openid profile")
    return Message("front", "GET", context.server.authorization_endpoint, form=form)


def token_request(context: Context) -> Message:
    """Step 3: its name, the code, and the verifier."""
    return own_client.token_request(context, client_id=own_client.client_id(context))


def token_response(context: Context, answer: HttpResponse) -> None:
    """Step 4: as good as any other client's."""
    own_client.keep_id_token(context, answer, "ES256")


FLOW = Flow(
    name="public_client",
    title="A client without a secret",
    specification="RFC 6749 section 2.1",
    steps=(
        Step("registration_request", 3, registration_request, own_client.keep_registration),
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
        Step("userinfo_request", 4, userinfo_request, userinfo_response),
        Step("end_request", 3, end_request, own_client.end_response),
    ),
)
