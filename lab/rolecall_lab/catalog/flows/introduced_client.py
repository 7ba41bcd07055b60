"""Register a logo, a policy, and terms of service, which the consent page shows (RFC 7591 section 2)."""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step
from rolecall_client.flows import sign_in
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_lab.catalog import own_client
from rolecall_lab.catalog.entry import CODE, lab_entry
from rolecall_lab.catalog.messages import with_parameters

SCOPE = "openid profile"


def registration_request(context: Context) -> Message:
    """Register what users should see of the client."""
    home = context.settings.public_url
    return own_client.register(
        context,
        client_name="Tally (with a logo)",
        client_uri=f"{home}/",
        logo_uri=own_client.backchannel_url("static", filename="tally.png"),
        policy_uri=f"{home}/flows/introduced_client",
        tos_uri=f"{home}/flows",
        contacts=["tally@wonderland.test"],
        software_id="tally",
        software_version="1",
        token_endpoint_auth_methods=["client_secret_basic", "client_secret_post"],
        claims_in_id_token=True,
        scope=SCOPE,
    )


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: `prompt=consent` makes the server show the consent page in any case."""
    return with_parameters(
        sign_in.authentication_request(context),
        client_id=own_client.client_id(context),
        scope=SCOPE,
        prompt="consent",
    )


FLOW = Flow(
    name="introduced_client",
    title="logo_uri (client metadata on the consent page)",
    specification="RFC 7591 section 2",
    steps=(
        Step("registration_request", 3, registration_request, own_client.keep_registration),
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("deletion_request", 3, own_client.deletion_request, own_client.deletion_response),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The consent page shows the logo, the privacy policy, and the terms of service of a registered client.",
    description="The server fetches the logo once, at registration, verifies that it is an image and nothing else, and "
    "serves it from its own origin. The client does not learn who looks at a consent page, and it cannot inject a "
    "script. The page also states that the client registered itself, because anyone can choose any name and logo.",
    clause="RFC 7591 section 2",
    expected=("201", CODE, "204"),
    base=sign_in,
)
