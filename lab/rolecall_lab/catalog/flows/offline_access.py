"""Request a refresh token with the scope `offline_access` (OpenID Connect Core section 11)."""

from __future__ import annotations

from rolecall.http import HttpResponse
from rolecall_client.flow import Context, Flow, FlowError, Message, Step
from rolecall_client.flows import sign_in
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_lab.catalog import own_client
from rolecall_lab.catalog.entry import CODE, lab_entry
from rolecall_lab.catalog.messages import with_parameters

SCOPE = "openid offline_access"


def registration_request(context: Context) -> Message:
    """Register a client that uses refresh tokens."""
    return own_client.register(
        context,
        client_name="Tally (offline access)",
        token_endpoint_auth_method="client_secret_post",
        grant_types=["authorization_code", "refresh_token"],
        scope=SCOPE,
    )


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: request `offline_access`, which the consent page names."""
    return with_parameters(
        sign_in.authentication_request(context), client_id=own_client.client_id(context), scope=SCOPE
    )


def token_request(context: Context) -> Message:
    """Step 3: redeem the code."""
    return own_client.token_request(context, **_authentication(context))


def token_response(context: Context, response: HttpResponse) -> None:
    """Step 4: the response contains an ID token and a refresh token."""
    own_client.keep_id_token(context, response, "RS256")
    if "refresh_token" not in context.tokens:
        raise FlowError("server_error", "the response contains no refresh token")
    context.memory["before"] = context.memory["claims"]


def refresh_request(context: Context) -> Message:
    """Refresh later, without the user (RFC 6749 section 6)."""
    form = {
        "grant_type": "refresh_token",
        "refresh_token": context.tokens["refresh_token"],
        **_authentication(context),
    }
    return Message("back", "POST", context.server.token_endpoint, form=form)


def refresh_response(context: Context, response: HttpResponse) -> None:
    """Verify that the new ID token describes the same sign-in of the same user."""
    own_client.keep_id_token(context, response, "RS256")
    before, now = context.memory["before"], context.memory["claims"]
    if any(before[name] != now[name] for name in ("iss", "sub", "aud", "auth_time")) or now["iat"] < before["iat"]:
        raise FlowError("bad_id_token", "the new ID token describes another sign-in")


def revocation_request(context: Context) -> Message:
    """Revoke the refresh token, which is no longer needed (RFC 7009 section 2.1)."""
    form = {
        "token": context.tokens["refresh_token"],
        "token_type_hint": "refresh_token",
        **_authentication(context),
    }
    return Message("back", "POST", own_client.endpoint(context, "revocation_endpoint"), form=form)


def revocation_response(_context: Context, response: HttpResponse) -> None:
    """200: every token of the authorization is revoked."""
    if response.status != 200:
        raise FlowError("server_error", f"the revocation endpoint responded with {response.status}")


def _authentication(context: Context) -> dict[str, str]:
    return {"client_id": own_client.client_id(context), "client_secret": own_client.client_secret(context)}


FLOW = Flow(
    name="offline_access",
    title="scope=offline_access (refresh tokens)",
    specification="OpenID Connect Core section 11",
    steps=(
        Step("registration_request", 3, registration_request, own_client.keep_registration),
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
        Step("refresh_request", 3, refresh_request, refresh_response),
        Step("revocation_request", 3, revocation_request, revocation_response),
        Step("deletion_request", 3, own_client.deletion_request, own_client.deletion_response),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client requests a refresh token, to use when the user is not present.",
    description="The client requests the scope `offline_access`. The server grants it only if the user accepted it on "
    "the consent page, now or earlier. `prompt=consent` is not necessary: section 11 allows other conditions. With the "
    "refresh token the client later gets a new ID token, which describes the same sign-in: `iss`, `sub`, "
    "`aud`, and `auth_time` are unchanged, and only `iat` is new (section 12.2).",
    clause="OpenID Connect Core section 11",
    expected=("201", CODE, "200", "200", "200", "204"),
    base=sign_in,
)
