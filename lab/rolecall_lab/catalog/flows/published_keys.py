"""Publish the client's keys at a URL and rotate them (OpenID Connect Core section 10.1.1)."""

from __future__ import annotations

import json
import secrets

from rolecall.http import HttpResponse
from rolecall_client.flow import Context, Flow, FlowError, Message, Step
from rolecall_client.flows import sign_in
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_client.flows.sign_in import userinfo_response
from rolecall_lab.catalog import own_client
from rolecall_lab.catalog.entry import CODE, lab_entry
from rolecall_lab.catalog.messages import with_parameters

ALGORITHM = "EdDSA"
SCOPE = "openid profile"


def registration_request(context: Context) -> Message:
    """Register the URLs of the key set and of the sector's redirect URIs, for the server to fetch."""
    context.memory["published"] = secrets.token_urlsafe(16)
    publish_key(context, "first")
    sector = json.dumps([context.settings.redirect_uri])
    own_client.publish(f"{context.memory['published']}.sector", "application/json", sector)
    return own_client.register(
        context,
        client_name="Tally (published keys)",
        token_endpoint_auth_method="private_key_jwt",
        token_endpoint_auth_signing_alg=ALGORITHM,
        id_token_signed_response_alg=ALGORITHM,
        jwks_uri=own_client.backchannel_url("published", name=f"{context.memory['published']}.keys"),
        subject_type="pairwise",
        sector_identifier_uri=own_client.backchannel_url("published", name=f"{context.memory['published']}.sector"),
        scope=SCOPE,
    )


def publish_key(context: Context, kid: str) -> None:
    """Generate a key and publish it instead of the previous key."""
    keys = {"keys": [own_client.new_key(context, kid, ALGORITHM)]}
    own_client.publish(f"{context.memory['published']}.keys", "application/jwk-set+json", json.dumps(keys))


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: request a sign-in, as any client does."""
    return with_parameters(
        sign_in.authentication_request(context), client_id=own_client.client_id(context), scope=SCOPE
    )


def token_request(context: Context) -> Message:
    """Step 3: the assertion names the key `first`, and the server fetches the key set."""
    return own_client.token_request(context, **own_client.assertion(context))


def token_response(context: Context, response: HttpResponse) -> None:
    """Step 4: the ID token is signed with the algorithm that the client registered."""
    own_client.keep_id_token(context, response, ALGORITHM)


def userinfo_request(context: Context) -> Message:
    """Step 5: send a POST with the token in the header (OpenID Connect Core section 5.3.1)."""
    headers = {"Authorization": f"Bearer {context.tokens['access_token']}"}
    return Message("back", "POST", own_client.endpoint(context, "userinfo_endpoint"), headers=headers, form={})


def revocation_request(context: Context) -> Message:
    """The assertion names the key `second`, which the server does not know, so it fetches the key set again."""
    publish_key(context, "second")
    form = {"token": context.tokens["access_token"], **own_client.assertion(context)}
    return Message("back", "POST", own_client.endpoint(context, "revocation_endpoint"), form=form)


def revocation_response(_context: Context, response: HttpResponse) -> None:
    """200: the new key has authenticated the client."""
    if response.status != 200:
        raise FlowError("server_error", f"the revocation endpoint responded with {response.status}")


FLOW = Flow(
    name="published_keys",
    title="jwks_uri (published keys)",
    specification="OpenID Connect Core section 10.1.1",
    steps=(
        Step("registration_request", 3, registration_request, own_client.keep_registration),
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
        Step("userinfo_request", 4, userinfo_request, userinfo_response),
        Step("revocation_request", 3, revocation_request, revocation_response),
        Step("deletion_request", 3, own_client.deletion_request, own_client.deletion_response),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The server fetches the client's keys from a URL, and fetches them again when the client uses a new key.",
    description="The client registers the URL of its keys (`jwks_uri`) instead of the keys, so it can rotate them at "
    "any time. Here it does so between two requests: the second assertion names a key that the server has not seen, "
    "and the server fetches the key set again. The subject identifier of the user is specific to this client "
    "(pairwise). The server also fetches the list of redirect URIs that share this identifier "
    "(`sector_identifier_uri`).",
    clause="OpenID Connect Core section 10.1.1",
    expected=("201", CODE, "200", "200", "200", "204"),
    base=sign_in,
)
