"""Check that the same user is still signed in (OpenID Connect Core section 3.1.2.1)."""

from __future__ import annotations

from rolecall.http import HttpResponse
from rolecall_client.flow import Context, Flow, FlowError, Message, Step, json_object
from rolecall_client.flows import sign_in
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_client.flows.sign_in import token_request
from rolecall_lab.catalog.entry import CODE, lab_entry
from rolecall_lab.catalog.messages import with_parameters


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: name the probable user, and request a form and a language for the pages."""
    return with_parameters(
        sign_in.authentication_request(context),
        scope="openid",
        login_hint="alice",
        display="page",
        ui_locales="en-GB en",
        claims_locales="en",
    )


def token_response(context: Context, response: HttpResponse) -> None:
    """Step 4: also store the ID token, to send it as a hint."""
    sign_in.token_response(context, response)
    context.memory["hint"] = json_object(response)["id_token"]
    context.memory["before"] = context.memory["claims"]


def silent_request(context: Context) -> Message:
    """Steps 1 and 2 again: require the same user, and allow no page."""
    return with_parameters(
        sign_in.authentication_request(context), scope="openid", prompt="none", id_token_hint=context.memory["hint"]
    )


def silent_response(context: Context, response: HttpResponse) -> None:
    """Step 4 again: verify that the user is the same."""
    sign_in.token_response(context, response)
    if context.memory["claims"]["sub"] != context.memory["before"]["sub"]:
        raise FlowError("another_subject", "the second ID token identifies another user")


FLOW = Flow(
    name="hinted",
    title="id_token_hint (check the current user)",
    specification="OpenID Connect Core section 3.1.2.1",
    steps=(
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
        Step("silent_request", 2, silent_request, authorization_response),
        Step("silent_token_request", 3, token_request, silent_response),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client sends the ID token that it has, and the server shows no page.",
    description="The first request contains only a name (`login_hint`), which the server fills into the sign-in page. "
    "With `prompt=none` the second request asks whether the same user is still signed in, and identifies the user by "
    "the ID token (`id_token_hint`). If that user had signed out, or another user had signed in, the server would "
    "respond with `login_required`; a name alone could not establish that.",
    clause="OpenID Connect Core section 3.1.2.1",
    expected=(CODE, "200", CODE, "200"),
    base=sign_in,
)
