"""A client that signs (RFC 9101 section 4): its request, its proof, and what it is told of the person are all signed.

The client makes a key, registers the public half, and has no secret that could leak. The request travels through the
browser as a JWT, so that nobody on the way can change it; at the token endpoint another JWT proves who the client is
(RFC 7523 section 2.2), each only once. Userinfo comes signed as well, and the person has a name for this client alone
(pairwise, OpenID Connect Core section 8). In the end the client is taken away again.
"""

from __future__ import annotations

import json

import jwt

from rolecall.http import Answer
from rolecall_client.flow import Context, Flow, FlowError, Message, Step
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_lab.catalog import own_client
from rolecall_lab.catalog.flows.registration import end_request


def registration_request(context: Context) -> Message:
    """A new key on the curve P-256; its public half is all that the server gets."""
    return with_key(context, "ES256", client_name="Tally, with a key of its own")


def with_key(context: Context, algorithm: str, **metadata: str) -> Message:
    """A registration of a client with a new key; whatever is signed is signed with this algorithm."""
    context.memory["algorithm"] = algorithm
    return own_client.register(
        context,
        token_endpoint_auth_method="private_key_jwt",
        token_endpoint_auth_signing_alg=algorithm,
        request_object_signing_alg=algorithm,
        id_token_signed_response_alg=algorithm,
        userinfo_signed_response_alg=algorithm,
        subject_type="pairwise",
        scope="openid profile",
        jwks={"keys": [own_client.new_key(context, "mine", algorithm)]},
        **metadata,
    )


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: of the request only the client's name can be read and changed; the rest is signed."""
    asked = own_client.authentication_request(context, scope="openid profile")
    signed = own_client.signed(context, {**asked, "iss": own_client.client_id(context)}, typ="oauth-authz-req+jwt")
    form = {"client_id": own_client.client_id(context), "request": signed}
    return Message("front", "GET", context.server.authorization_endpoint, form=form)


def token_request(context: Context) -> Message:
    """Step 3: the code, its verifier, and a JWT in the place of a secret."""
    return own_client.token_request(context, **own_client.assertion(context))


def token_response(context: Context, answer: Answer) -> None:
    """Step 4: believed when every rule of an ID token holds, as it does for Tally itself."""
    own_client.keep_id_token(context, answer, context.memory["algorithm"])


def userinfo_request(context: Context) -> Message:
    """Step 5: ask what there is to know of the person."""
    headers = {"Authorization": f"Bearer {context.tokens['access_token']}"}
    return Message("back", "GET", context.server.userinfo_endpoint, headers=headers)


def userinfo_response(context: Context, answer: Answer) -> None:
    """Step 6: a JWT for this client, about the person of the ID token (OpenID Connect Core section 5.3.2)."""
    if answer.status != 200 or answer.headers.get("content-type") != "application/jwt":
        raise FlowError("server_error", f"userinfo answered {answer.status}, not with a JWT")
    try:
        text = answer.body.decode("ascii")
        key = context.key(str(jwt.get_unverified_header(text).get("kid")))
        claims = json.loads(jwt.api_jws.decode(text, key, algorithms=[context.memory["algorithm"]])) if key else {}
    except (ValueError, jwt.PyJWTError) as error:
        raise FlowError("server_error", "the JWT of userinfo is not the issuer's") from error
    mine = (claims.get("iss"), claims.get("aud")) == (context.server.issuer, own_client.client_id(context))
    if not mine or claims.get("sub") != context.memory["claims"]["sub"]:
        raise FlowError("another_subject", "userinfo is for another client, or about another person")


FLOW = Flow(
    name="signed_client",
    title="A client that signs",
    specification="RFC 9101 section 4, RFC 7523 section 2.2",
    steps=(
        Step("registration_request", 3, registration_request, own_client.keep_registration),
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
        Step("userinfo_request", 4, userinfo_request, userinfo_response),
        Step("end_request", 3, end_request, own_client.end_response),
    ),
)
