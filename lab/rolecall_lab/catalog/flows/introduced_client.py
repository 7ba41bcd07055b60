"""A client that introduces itself (RFC 7591 section 2): its logo, its policy and its terms stand where people decide.

The server fetches the logo once, when the client registers, looks whether it is a picture and nothing else, and shows
it from its own address: nobody learns who looks at a consent page, and no script comes in. It says as well that the
client registered itself, because a name and a picture can be anybody's.
"""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_lab.catalog import own_client
from rolecall_lab.catalog.flows.registration import end_request


def registration_request(context: Context) -> Message:
    """What people shall see of the client."""
    home = context.settings.public_url
    return own_client.register(
        context,
        client_name="Tally, with a face",
        client_uri=f"{home}/",
        logo_uri=own_client.address_of("static", filename="tally.png"),
        policy_uri=f"{home}/flows/introduced_client",
        tos_uri=f"{home}/flows",
        contacts=["tally@wonderland.test"],
        software_id="tally",
        software_version="1",
        scope="openid profile",
    )


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: `prompt=consent`, so that the person is asked in any case and sees it."""
    form = own_client.authentication_request(context, scope="openid profile", prompt="consent")
    return Message("front", "GET", context.server.authorization_endpoint, form=form)


FLOW = Flow(
    name="introduced_client",
    title="A client that introduces itself",
    specification="RFC 7591 section 2",
    steps=(
        Step("registration_request", 3, registration_request, own_client.keep_registration),
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("end_request", 3, end_request, own_client.end_response),
    ),
)
