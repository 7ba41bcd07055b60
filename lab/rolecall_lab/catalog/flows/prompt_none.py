"""Request a fresh sign-in without a page (OpenID Connect Core section 3.1.2.6)."""

from __future__ import annotations

from rolecall_client.flow import Context, Flow, Message, Step
from rolecall_client.flows import sign_in
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_client.flows.sign_in import token_request, token_response, userinfo_request, userinfo_response
from rolecall_lab.catalog.entry import lab_entry
from rolecall_lab.catalog.messages import with_parameters


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: allow no page, and require a sign-in at this moment."""
    return with_parameters(sign_in.authentication_request(context), prompt="none", max_age="0")


FLOW = Flow(
    name="prompt_none",
    title="prompt=none with max_age=0",
    specification="OpenID Connect Core section 3.1.2.6",
    steps=(
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
        Step("userinfo_request", 4, userinfo_request, userinfo_response),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client allows no sign-in page and requires a new sign-in at the same time.",
    description="With `prompt=none` the server must not show a page, and `max_age=0` requires the user to sign in now. "
    "The server cannot satisfy both and rejects the request with `login_required`, as it does for every user who is "
    "not signed in.",
    clause="OpenID Connect Core section 3.1.2.6",
    expected=("login_required",),
    base=sign_in,
)
