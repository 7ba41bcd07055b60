"""A client that a flow registers: its registration, keys, signatures, and published documents."""

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
from rolecall.http import HttpResponse
from rolecall.vocabulary import CLIENT_ASSERTION_TYPE
from rolecall_client import id_token
from rolecall_client.flow import Context, FlowError, Message, json_object, keep_tokens
from rolecall_client.services import services
from rolecall_lab.settings import LabSettings

LIFETIME: Final = 60
"""Lifetime of assertions and request objects in seconds."""


def register(context: Context, **metadata: Any) -> Message:
    """Return a registration request with Tally's redirect URI (RFC 7591 section 3.1)."""
    document = {"redirect_uris": [context.settings.redirect_uri], **metadata}
    return Message("back", "POST", endpoint(context, "registration_endpoint"), json=document)


def keep_registration(context: Context, response: HttpResponse) -> None:
    """Store the client ID, the secret if there is one, and the registration token (RFC 7591 section 3.2.1).

    Raises:
        FlowError: the server rejected the registration.
    """
    body = require_status(response, 201)
    names = ("client_id", "client_secret", "registration_access_token")
    context.memory["registered"] = {name: body[name] for name in names if name in body}


def endpoint(context: Context, name: str) -> str:
    """Return an optional endpoint from the server's metadata (RFC 8414 section 2).

    Args:
        name: a member of the metadata, such as `registration_endpoint`.

    Raises:
        FlowError: the metadata does not have it.
    """
    url: str | None = getattr(context.server, name)
    if url is None:
        raise FlowError("server_error", f"the server has no {name}")
    return url


def management_request(context: Context, method: str, json: dict[str, Any] | None = None) -> Message:
    """Return a request to the client configuration endpoint, with the registration token (RFC 7592 section 2)."""
    registered = context.memory["registered"]
    url = f"{endpoint(context, 'registration_endpoint')}/{registered['client_id']}"
    headers = {"Authorization": f"Bearer {registered['registration_access_token']}"}
    return Message("back", method, url, headers=headers, json=json)


def deletion_request(context: Context) -> Message:
    """Delete the registration, which is no longer needed (RFC 7592 section 2.3)."""
    return management_request(context, "DELETE")


def deletion_response(context: Context, response: HttpResponse) -> None:
    """204: the client is deleted and its tokens are revoked, so the flow has nothing left to revoke."""
    require_status(response, 204)
    context.tokens.clear()


def require_status(response: HttpResponse, status: int) -> dict[str, Any]:
    """Return the response's JSON object.

    Raises:
        FlowError: the response has another status.
    """
    body = json_object(response)
    if response.status != status:
        raise FlowError(str(body.get("error", "server_error")), f"the server responded with {response.status}")
    return body


def client_id(context: Context) -> str:
    """Return the client ID that the server assigned."""
    value: str = context.memory["registered"]["client_id"]
    return value


def client_secret(context: Context) -> str:
    """Return the client secret that the server issued."""
    value: str = context.memory["registered"]["client_secret"]
    return value


def token_request(context: Context, **authentication: str) -> Message:
    """Return a token request with the code, its verifier, and client authentication (RFC 6749 section 4.1.3)."""
    form = {
        "grant_type": "authorization_code",
        "code": context.memory["code"],
        "redirect_uri": context.settings.redirect_uri,
        "code_verifier": context.memory["code_verifier"],
        **authentication,
    }
    return Message("back", "POST", context.server.token_endpoint, form=form)


def keep_id_token(context: Context, response: HttpResponse, algorithm: str) -> None:
    """Store the tokens, and the claims of the ID token after validation (OpenID Connect Core section 3.1.3.7).

    Raises:
        FlowError: the response is an error, or the ID token is invalid.
    """
    is_first = "access_token" not in context.tokens
    keep_tokens(context, response)
    wanted = id_token.ExpectedClaims(
        issuer=context.server.issuer,
        client_id=client_id(context),
        algorithm=algorithm,
        nonce=context.memory["nonce"] if is_first else None,
        access_token=context.tokens["access_token"],
        signed_in_since=None,
    )
    try:
        context.memory["claims"] = id_token.validate(json_object(response).get("id_token"), context.key, wanted)
    except OAuthError as error:
        raise FlowError("bad_id_token", error.description) from error


def new_key(context: Context, kid: str, algorithm: str) -> dict[str, Any]:
    """Generate a key pair, store it in the flow, and return the public key as a JWK (RFC 7517).

    Args:
        algorithm: RS256, PS256, ES256, or EdDSA.
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
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    context.memory["key"] = {"kid": kid, "algorithm": algorithm, "private": pem}
    return {**public, "kid": kid, "use": "sig", "alg": algorithm}


def request_object(context: Context, request: Message) -> str:
    """Return the parameters of an authorization request as a JWT, signed with the newest key (RFC 9101 section 4)."""
    claims = {**(request.form or {}), "iss": client_id(context)}
    return _sign(context, claims, typ="oauth-authz-req+jwt")


def assertion(context: Context, *, secret: str | None = None) -> dict[str, str]:
    """Return the parameters of an assertion that authenticates the client once (RFC 7523 section 2.2).

    Args:
        secret: signs the assertion, instead of the newest key.
    """
    claims = {"iss": client_id(context), "sub": client_id(context), "jti": secrets.token_urlsafe(16)}
    signed = _sign(context, claims) if secret is None else _jwt(context, claims, secret, "HS256", {})
    return {"client_assertion_type": CLIENT_ASSERTION_TYPE, "client_assertion": signed}


def backchannel_url(endpoint: str, **values: Any) -> str:
    """Return the URL under which the authorization server reaches an endpoint of the catalog.

    Args:
        endpoint: `published`, or `static` for a file of the catalog.
    """
    lab: LabSettings = current_app.extensions["catalog"]
    return next(iter(lab.client_backchannel_urls), lab.client_url) + url_for(f"catalog.{endpoint}", **values)


def publish(name: str, media_type: str, body: str) -> None:
    """Publish a document for as long as a flow may take."""
    lifetime = services().settings.flow_lifetime
    services().store.put("published", name, {"media_type": media_type, "body": body}, lifetime)


def published(name: str) -> ResponseReturnValue:
    """GET /flows/published/<name>: a document that a flow published for the authorization server."""
    document = services().store.get("published", name) or abort(404)
    return Response(document["body"], mimetype=document["media_type"])


def _sign(context: Context, claims: dict[str, Any], **header: str) -> str:
    key = context.memory["key"]
    return _jwt(context, claims, key["private"], key["algorithm"], {"kid": key["kid"], **header})


def _jwt(context: Context, claims: dict[str, Any], key: str, algorithm: str, header: dict[str, str]) -> str:
    now = int(clock.now())
    payload = {**claims, "aud": context.server.issuer, "iat": now, "exp": now + LIFETIME}
    return jwt.encode(payload, key, algorithm=algorithm, headers=header)
