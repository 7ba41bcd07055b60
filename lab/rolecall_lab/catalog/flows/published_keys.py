"""Keys at an address (OpenID Connect Core section 10.1.1): the server fetches them, and again when there is a new one.

The client registers where its keys are (`jwks_uri`), not the keys, so that it can change them when it likes. Here it
does, between two requests: the second proof names a key that the server has not seen, and it looks again. The person
has another name for each client (pairwise); which redirect URIs are one client the server fetches too
(`sector_identifier_uri`).
"""

from __future__ import annotations

import json
import secrets

from rolecall.http import Answer
from rolecall_client.flow import Context, Flow, FlowError, Message, Step
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_client.flows.sign_in import userinfo_response
from rolecall_lab.catalog import own_client
from rolecall_lab.catalog.flows.registration import end_request

ALGORITHM = "EdDSA"


def registration_request(context: Context) -> Message:
    """Two addresses at which the server will find what it needs."""
    context.memory["published"] = secrets.token_urlsafe(16)
    publish_key(context, "first")
    sector = json.dumps([context.settings.redirect_uri])
    own_client.publish(f"{context.memory['published']}.sector", "application/json", sector)
    return own_client.register(
        context,
        client_name="Tally, with its keys at an address",
        token_endpoint_auth_method="private_key_jwt",
        token_endpoint_auth_signing_alg=ALGORITHM,
        id_token_signed_response_alg=ALGORITHM,
        jwks_uri=own_client.address_of("published", name=f"{context.memory['published']}.keys"),
        subject_type="pairwise",
        sector_identifier_uri=own_client.address_of("published", name=f"{context.memory['published']}.sector"),
        scope="openid profile",
    )


def publish_key(context: Context, kid: str) -> None:
    """A new key, in the place of the one before."""
    keys = {"keys": [own_client.new_key(context, kid, ALGORITHM)]}
    own_client.publish(f"{context.memory['published']}.keys", "application/jwk-set+json", json.dumps(keys))


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: a sign-in like any other."""
    form = own_client.authentication_request(context, scope="openid profile")
    return Message("front", "GET", context.server.authorization_endpoint, form=form)


def token_request(context: Context) -> Message:
    """Step 3: the proof names the key `first`, and the server fetches the keys."""
    return own_client.token_request(context, **own_client.assertion(context))


def token_response(context: Context, answer: Answer) -> None:
    """Step 4: an ID token for this client, signed as it is registered."""
    own_client.keep_id_token(context, answer, ALGORITHM)


def userinfo_request(context: Context) -> Message:
    """Step 5: by POST this time, with the token in the header (OpenID Connect Core section 5.3.1)."""
    headers = {"Authorization": f"Bearer {context.tokens['access_token']}"}
    return Message("back", "POST", context.server.userinfo_endpoint, headers=headers, form={})


def revocation_request(context: Context) -> Message:
    """There is a new key: the server does not know `second`, fetches the keys once more, and believes it."""
    publish_key(context, "second")
    form = {"token": context.tokens["access_token"], **own_client.assertion(context)}
    return Message("back", "POST", context.server.revocation_endpoint, form=form)


def revocation_response(_context: Context, answer: Answer) -> None:
    """200: the new key has proved who it is."""
    if answer.status != 200:
        raise FlowError("server_error", f"the revocation endpoint answered {answer.status}")


FLOW = Flow(
    name="published_keys",
    title="Keys at an address",
    specification="OpenID Connect Core section 10.1.1",
    steps=(
        Step("registration_request", 3, registration_request, own_client.keep_registration),
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
        Step("userinfo_request", 4, userinfo_request, userinfo_response),
        Step("revocation_request", 3, revocation_request, revocation_response),
        Step("end_request", 3, end_request, own_client.end_response),
    ),
)
