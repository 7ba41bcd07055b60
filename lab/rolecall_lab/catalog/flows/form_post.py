"""Receive the authorization response in a form (OAuth 2.0 Form Post Response Mode section 2)."""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step
from rolecall_client.flows import sign_in
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_client.flows.sign_in import token_request, token_response, userinfo_request, userinfo_response
from rolecall_lab.catalog.entry import CODE, lab_entry
from rolecall_lab.catalog.messages import with_parameters


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: request the response as a POST."""
    return with_parameters(sign_in.authentication_request(context), response_mode="form_post")


FLOW = Flow(
    name="form_post",
    title="response_mode=form_post",
    specification="OAuth 2.0 Form Post Response Mode section 2",
    steps=(
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
        Step("userinfo_request", 4, userinfo_request, userinfo_response),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client receives the code in the body of a POST instead of a URL.",
    description="The server responds with a page whose form submits itself to the client. A code in a URL can end up "
    "in a browser history or a log; a code in a body does not. The form is submitted from another site, so the browser "
    "sends no cookie with it. The client stores the response and redirects the browser to itself to learn which "
    "session it belongs to.",
    clause="OAuth 2.0 Form Post Response Mode section 2",
    expected=(CODE, "200", "200"),
    base=sign_in,
)
