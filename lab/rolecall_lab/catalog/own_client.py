"""A client that a flow of the lab registers for itself: its keys, what it signs, what it lets others fetch (none:
the lab's)."""

from __future__ import annotations

import secrets
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from flask import Response, abort, current_app, url_for
from flask.typing import ResponseReturnValue
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from rolecall import clock
from rolecall.errors import OAuthError
from rolecall.http import Answer
from rolecall.vocabulary import CLIENT_ASSERTION_TYPE
from rolecall_client import id_token
from rolecall_client.flow import Context, FlowError, Message, json_object, keep_tokens, pkce_pair
from rolecall_client.services import services
from rolecall_lab.settings import LabSettings

LIFETIME: Final = 60
"""Seconds that an assertion and a request object are good for."""


def register(context: Context, **metadata: Any) -> Message:
    """A registration; the redirect URI is Tally's own (RFC 7591 section 3.1)."""
    asked = {"redirect_uris": [context.settings.redirect_uri], **metadata}
    return Message("back", "POST", registration_endpoint(context), json=asked)


def keep_registration(context: Context, answer: Answer) -> None:
    """Keep the name, the secret if there is one, and the token that ends it all (RFC 7591 section 3.2.1).

    Raises:
        FlowError: the server registered nothing.
    """
    body = expect(answer, 201)
    names = ("client_id", "client_secret", "registration_access_token")
    context.memory["registered"] = {name: body[name] for name in names if name in body}


def registration_endpoint(context: Context) -> str:
    """From the metadata (RFC 8414 section 2).

    Raises:
        FlowError: the server has none.
    """
    if context.server.registration_endpoint is None:
        raise FlowError("server_error", "the server registers no clients")
    return context.server.registration_endpoint


def managed(context: Context, method: str, json: dict[str, Any] | None = None) -> Message:
    """A message about the registration, with its own token; its address is under the endpoint."""
    registered = context.memory["registered"]
    address = f"{registration_endpoint(context)}/{registered['client_id']}"
    headers = {"Authorization": f"Bearer {registered['registration_access_token']}"}
    return Message("back", method, address, headers=headers, json=json)


def expect(answer: Answer, status: int) -> dict[str, Any]:
    """The answer's object, when it is the right one.

    Raises:
        FlowError: it is another.
    """
    body = json_object(answer)
    if answer.status != status:
        raise FlowError(str(body.get("error", "server_error")), f"the server answered {answer.status}")
    return body


def client_id(context: Context) -> str:
    """The name that the server chose."""
    name: str = context.memory["registered"]["client_id"]
    return name


def client_secret(context: Context) -> str:
    """The secret that the server chose."""
    secret: str = context.memory["registered"]["client_secret"]
    return secret


def authentication_request(context: Context, **more: str) -> dict[str, str]:
    """The parameters of a sign-in at this client, with values that only this request has (Core section 3.1.2.1)."""
    context.memory["state"] = secrets.token_urlsafe(32)
    context.memory["nonce"] = secrets.token_urlsafe(32)
    context.memory["code_verifier"], challenge = pkce_pair()
    return {
        "response_type": "code",
        "client_id": client_id(context),
        "redirect_uri": context.settings.redirect_uri,
        "scope": "openid",
        "state": context.memory["state"],
        "nonce": context.memory["nonce"],
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        **more,
    }


def token_request(context: Context, **proof: str) -> Message:
    """The code, its verifier, and what proves who the client is (RFC 6749 section 4.1.3)."""
    form = {
        "grant_type": "authorization_code",
        "code": context.memory["code"],
        "redirect_uri": context.settings.redirect_uri,
        "code_verifier": context.memory["code_verifier"],
        **proof,
    }
    return Message("back", "POST", context.server.token_endpoint, form=form)


def keep_id_token(context: Context, answer: Answer, algorithm: str) -> None:
    """Believe the ID token when every rule holds, as it does for Tally itself (OpenID Connect Core section 3.1.3.7).

    Raises:
        FlowError: the answer is an error, or a rule is broken.
    """
    is_first = "access_token" not in context.tokens
    keep_tokens(context, answer)
    wanted = id_token.ExpectedClaims(
        issuer=context.server.issuer,
        client_id=client_id(context),
        algorithm=algorithm,
        nonce=context.memory["nonce"] if is_first else None,
        access_token=context.tokens["access_token"],
        signed_in_since=None,
    )
    try:
        context.memory["claims"] = id_token.validate(json_object(answer).get("id_token"), context.key, wanted)
    except OAuthError as error:
        raise FlowError("bad_id_token", error.description) from error


def end_response(context: Context, answer: Answer) -> None:
    """204: the client is gone, and its tokens are worth nothing; nobody has to give them back."""
    expect(answer, 204)
    context.tokens.clear()


def new_key(context: Context, kid: str, algorithm: str) -> dict[str, Any]:
    """Make a key and keep it in the flow; gives its public half as a JWK (RFC 7517).

    Args:
        algorithm: RS256, PS256, ES256 or EdDSA.
    """
    key: EllipticCurvePrivateKey | Ed25519PrivateKey | RSAPrivateKey
    if algorithm == "ES256":
        key = generate_private_key(SECP256R1())
        public = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    elif algorithm == "EdDSA":
        key = Ed25519PrivateKey.generate()
        public = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        key = generate_rsa_key(65537, 2048)
        public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        del public["key_ops"]
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    context.memory["key"] = {"kid": kid, "algorithm": algorithm, "private": text}
    return {**public, "kid": kid, "use": "sig", "alg": algorithm}


def signed(context: Context, claims: dict[str, Any], **header: str) -> str:
    """A JWT for the server, signed with the newest key, good for a minute."""
    key = context.memory["key"]
    return _jwt(context, claims, key["private"], key["algorithm"], {"kid": key["kid"], **header})


def assertion(context: Context, *, secret: str | None = None) -> dict[str, str]:
    """The parameters by which a client proves who it is: with its key, or with its secret, which is not sent.

    RFC 7523 section 2.2; each is good once.
    """
    claims = {"iss": client_id(context), "sub": client_id(context), "jti": secrets.token_urlsafe(16)}
    proof = signed(context, claims) if secret is None else _jwt(context, claims, secret, "HS256", {})
    return {"client_assertion_type": CLIENT_ASSERTION_TYPE, "client_assertion": proof}


def address_of(what: str, **values: Any) -> str:
    """Where the authorization server finds what is `published` under a name, or a `static` file of the catalogue's."""
    lab: LabSettings = current_app.extensions["catalogue"]
    return next(iter(lab.client_backchannel_urls), lab.client_url) + url_for(f"catalogue.{what}", **values)


def publish(name: str, media_type: str, body: str) -> None:
    """Let others fetch this for as long as a flow may take."""
    lifetime = services().settings.flow_lifetime
    services().store.put("published", name, {"media_type": media_type, "body": body}, lifetime)


def published(name: str) -> ResponseReturnValue:
    """GET /flows/published/<name>: what a flow publishes, for the authorization server to fetch."""
    found = services().store.get("published", name) or abort(404)
    return Response(found["body"], mimetype=found["media_type"])


def _jwt(context: Context, claims: dict[str, Any], key: str, algorithm: str, header: dict[str, str]) -> str:
    now = int(clock.now())
    whole = {**claims, "aud": context.server.issuer, "iat": now, "exp": now + LIFETIME}
    return jwt.encode(whole, key, algorithm=algorithm, headers=header)
