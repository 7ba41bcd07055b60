"""Use signatures for the request, for client authentication, and for userinfo (RFC 9101 section 4)."""

from __future__ import annotations

import json

import jwt

from rolecall.http import HttpResponse
from rolecall_client.flow import Context, Flow, FlowError, Message, Step
from rolecall_client.flows import sign_in
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_client.flows.sign_in import userinfo_request
from rolecall_lab.catalog import own_client
from rolecall_lab.catalog.entry import CODE, lab_entry
from rolecall_lab.catalog.messages import with_parameters

SCOPE = "openid profile"


def registration_request(context: Context) -> Message:
    """Generate a key on the curve P-256 and register its public half."""
    return register_with_key(context, "ES256", client_name="Tally (ES256 key)")


def register_with_key(context: Context, algorithm: str, **metadata: str) -> Message:
    """Return the registration of a client with a new key, which uses this algorithm for every signature."""
    context.memory["algorithm"] = algorithm
    return own_client.register(
        context,
        token_endpoint_auth_method="private_key_jwt",
        token_endpoint_auth_signing_alg=algorithm,
        request_object_signing_alg=algorithm,
        id_token_signed_response_alg=algorithm,
        userinfo_signed_response_alg=algorithm,
        subject_type="pairwise",
        scope=SCOPE,
        jwks={"keys": [own_client.new_key(context, "signing", algorithm)]},
        **metadata,
    )


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: sign the request, so that the browser cannot change it."""
    request = with_parameters(
        sign_in.authentication_request(context), client_id=own_client.client_id(context), scope=SCOPE
    )
    form = {"client_id": own_client.client_id(context), "request": own_client.request_object(context, request)}
    return Message("front", "GET", context.server.authorization_endpoint, form=form)


def token_request(context: Context) -> Message:
    """Step 3: send the code, its verifier, and a signed assertion instead of a secret."""
    return own_client.token_request(context, **own_client.assertion(context))


def token_response(context: Context, response: HttpResponse) -> None:
    """Step 4: validate the ID token, as Tally itself does."""
    own_client.keep_id_token(context, response, context.memory["algorithm"])


def userinfo_response(context: Context, response: HttpResponse) -> None:
    """Step 6: a JWT for this client about the user of the ID token (OpenID Connect Core section 5.3.2)."""
    if response.status != 200 or response.headers.get("content-type") != "application/jwt":
        raise FlowError("server_error", f"userinfo responded with {response.status}, not with a JWT")
    try:
        text = response.body.decode("ascii")
        key = context.key(jwt.get_unverified_header(text).get("kid"), context.memory["algorithm"])
        claims = json.loads(jwt.api_jws.decode(text, key, algorithms=[context.memory["algorithm"]])) if key else {}
    except (ValueError, jwt.PyJWTError) as error:
        raise FlowError("server_error", "the JWT from userinfo is not signed by the issuer") from error
    if (claims.get("iss"), claims.get("aud")) != (context.server.issuer, own_client.client_id(context)):
        raise FlowError("another_subject", "the response from userinfo is for another client")
    if claims.get("sub") != context.memory["claims"]["sub"]:
        raise FlowError("another_subject", "the response from userinfo is about another user")


FLOW = Flow(
    name="signed_client",
    title="private_key_jwt (signed requests and assertions)",
    specification="RFC 9101 section 4, RFC 7523 section 2.2",
    steps=(
        Step("registration_request", 3, registration_request, own_client.keep_registration),
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
        Step("userinfo_request", 4, userinfo_request, userinfo_response),
        Step("deletion_request", 3, own_client.deletion_request, own_client.deletion_response),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client signs its request and its authentication, and the server signs the ID token and userinfo.",
    description="The client generates a key, registers the public half, and has no secret that could leak. The request "
    "goes through the browser as a JWT, so it cannot be changed on the way. At the token endpoint another JWT, which "
    "works only once, authenticates the client (RFC 7523 section 2.2). Userinfo returns a signed JWT, and the subject "
    "identifier of the user is specific to this client (pairwise, OpenID Connect Core section 8). Finally, the client "
    "deletes its registration.",
    clause="RFC 9101 section 4",
    expected=("201", CODE, "200", "200", "204"),
    base=sign_in,
)
