"""Request individual claims (OpenID Connect Core section 5.5)."""

from __future__ import annotations

import json
from typing import Any, Final

from rolecall_client.flow import Context, Flow, Message, Step
from rolecall_client.flows import sign_in
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_client.flows.sign_in import token_request, token_response, userinfo_request, userinfo_response
from rolecall_lab.catalog.entry import CODE, lab_entry
from rolecall_lab.catalog.messages import with_parameters

CLAIMS: Final[dict[str, Any]] = {
    "id_token": {"email": None, "auth_time": {"essential": True}},
    "userinfo": {"nickname": None, "birthdate": None, "shoe_size": None},
}


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: list the claims that the client needs, as JSON."""
    return with_parameters(sign_in.authentication_request(context), scope="openid", claims=json.dumps(CLAIMS))


FLOW = Flow(
    name="claims_parameter",
    title="claims parameter",
    specification="OpenID Connect Core section 5.5",
    steps=(
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
        Step("userinfo_request", 4, userinfo_request, userinfo_response),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client names the claims that it needs, and whether it wants them in the ID token or from userinfo.",
    description="A scope stands for a fixed set of claims. The `claims` parameter requests fewer, and can move a claim "
    "into the ID token that only userinfo would return otherwise: here the email address. The user consents only to "
    "the scopes that the claims belong to, and the server ignores claims that it does not know.",
    clause="OpenID Connect Core section 5.5",
    expected=(CODE, "200", "200"),
    base=sign_in,
)
