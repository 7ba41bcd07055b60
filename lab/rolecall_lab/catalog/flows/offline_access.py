"""Access while nobody is there (OpenID Connect Core section 11): a refresh token only for who asked for one.

The client asks for the scope `offline_access`, and the server makes sure with `prompt=consent` that the person knows.
With the refresh token it gets a new ID token later. That one tells of the same sign-in: `iss`, `sub`, `aud` and
`auth_time` are the old ones, and `iat` alone is news (section 12.2).
"""

from __future__ import annotations

from rolecall.http import Answer
from rolecall_client.flow import Context, Flow, FlowError, Message, Step
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_lab.catalog import own_client
from rolecall_lab.catalog.flows.registration import end_request

SCOPE = "openid offline_access"


def registration_request(context: Context) -> Message:
    """A client that will come back by itself."""
    return own_client.register(
        context,
        client_name="Tally, also by night",
        token_endpoint_auth_method="client_secret_post",
        grant_types=["authorization_code", "refresh_token"],
        scope=SCOPE,
    )


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: without `prompt=consent` the server would leave the scope out."""
    form = own_client.authentication_request(context, scope=SCOPE, prompt="consent")
    return Message("front", "GET", context.server.authorization_endpoint, form=form)


def token_request(context: Context) -> Message:
    """Step 3: the code."""
    return own_client.token_request(context, **_proof(context))


def token_response(context: Context, answer: Answer) -> None:
    """Step 4: an ID token, and a refresh token beside it."""
    own_client.keep_id_token(context, answer, "RS256")
    if "refresh_token" not in context.tokens:
        raise FlowError("server_error", "no refresh token came")
    context.memory["before"] = context.memory["claims"]


def refresh_request(context: Context) -> Message:
    """Later, without the person (RFC 6749 section 6)."""
    form = {"grant_type": "refresh_token", "refresh_token": context.tokens["refresh_token"], **_proof(context)}
    return Message("back", "POST", context.server.token_endpoint, form=form)


def refresh_response(context: Context, answer: Answer) -> None:
    """The same person, the same sign-in, said anew."""
    own_client.keep_id_token(context, answer, "RS256")
    before, now = context.memory["before"], context.memory["claims"]
    if any(before[name] != now[name] for name in ("iss", "sub", "aud", "auth_time")) or now["iat"] < before["iat"]:
        raise FlowError("bad_id_token", "the new ID token tells of another sign-in")


def revocation_request(context: Context) -> Message:
    """It is not needed any more (RFC 7009 section 2.1)."""
    form = {"token": context.tokens["refresh_token"], "token_type_hint": "refresh_token", **_proof(context)}
    return Message("back", "POST", context.server.revocation_endpoint, form=form)


def revocation_response(_context: Context, answer: Answer) -> None:
    """200, and all that came of it is over."""
    if answer.status != 200:
        raise FlowError("server_error", f"the revocation endpoint answered {answer.status}")


def _proof(context: Context) -> dict[str, str]:
    return {"client_id": own_client.client_id(context), "client_secret": own_client.client_secret(context)}


FLOW = Flow(
    name="offline_access",
    title="While nobody is there",
    specification="OpenID Connect Core section 11",
    steps=(
        Step("registration_request", 3, registration_request, own_client.keep_registration),
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
        Step("refresh_request", 3, refresh_request, refresh_response),
        Step("revocation_request", 3, revocation_request, revocation_response),
        Step("end_request", 3, end_request, own_client.end_response),
    ),
)
