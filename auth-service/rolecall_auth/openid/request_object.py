"""Request objects: the parameters of an authorization request in a JWT that the client signed (RFC 9101)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from flask import request

from rolecall import checks, clock
from rolecall.vocabulary import ID_TOKEN_ALGORITHMS
from rolecall_auth.jose.client_keys import BadJWT
from rolecall_auth.models.client import Client
from rolecall_auth.outbound.fetcher import FetchBusy
from rolecall_auth.outbound.policy import FetchError
from rolecall_auth.services import services

LEEWAY: Final = 30
"""Seconds that a client's clock may be ahead of ours."""

_TYPE: Final = "oauth-authz-req+jwt"
_ACCEPT: Final = f"application/{_TYPE}, application/jwt"
_OF_THE_JWT: Final = frozenset({"iss", "aud", "exp", "nbf", "iat", "jti"})

ONE = checks.define(
    "request_object.one", "RFC 9101 section 5", "invalid_request", "Send a request or a request_uri, not both."
)
REGISTERED = checks.define(
    "request_object.request_uri",
    "RFC 9101 section 5.2.2",
    "invalid_request_uri",
    "The request_uri is not registered for this client.",
)
FETCHED = checks.define(
    "request_object.fetched",
    "RFC 9101 section 5.2.3",
    "invalid_request_uri",
    "The request_uri does not give a request object.",
)
SIGNATURE = checks.define(
    "request_object.signature",
    "RFC 9101 section 6.2",
    "invalid_request_object",
    "The request object is not signed as it must be.",
)
ISSUER = checks.define(
    "request_object.iss",
    "RFC 9101 section 6.3",
    "invalid_request_object",
    "The request object was not made by this client.",
)
AUDIENCE = checks.define(
    "request_object.aud",
    "RFC 9101 section 4",
    "invalid_request_object",
    "The request object is meant for another server.",
)
TIME = checks.define(
    "request_object.exp",
    "RFC 9101 section 4",
    "invalid_request_object",
    "The request object has expired, or does not say when it does.",
)
CLIENT = checks.define(
    "request_object.client_id",
    "RFC 9101 section 5",
    "invalid_request_object",
    "The request object is another client's, or poses as something else.",
)
VALUES = checks.define(
    "request_object.values",
    "RFC 9101 section 4",
    "invalid_request_object",
    "A parameter in the request object has a value of another type.",
)
NOT_NESTED = checks.define(
    "request_object.nested", "RFC 9101 section 4", "invalid_request_object", "A request object holds no other."
)


def is_used(parameters: Mapping[str, str]) -> bool:
    """Whether a request's parameters are elsewhere, in a request object (RFC 9101 section 5)."""
    return "request" in parameters or "request_uri" in parameters


def read(client: Client, parameters: Mapping[str, str]) -> dict[str, str]:
    """The parameters of the request: those of the request object and no others (RFC 9101 section 6.3).

    They come by value (OpenID Connect Core section 6.1) or by reference (section 6.2).
    They are as unchecked as if they had come in the query, and have to pass the guard of the parameters.

    Args:
        client: of the `client_id` beside the object.
        parameters: the clean ones beside it, with `request` or `request_uri`.

    Raises:
        OAuthError: invalid_request, invalid_request_object, invalid_request_uri or temporarily_unavailable.
        TooMany: too many that have to be fetched come from there.
        redis.RedisError: nobody knows how many.
    """
    ONE("request" not in parameters or "request_uri" not in parameters, expected="one of them", otherwise="both")
    token = parameters["request"] if "request" in parameters else _fetched(client, parameters["request_uri"])
    registered = client.request_object_signing_alg
    algorithms = [each for each in ID_TOKEN_ALGORITHMS if registered in {None, each}]
    try:
        claims = services().client_keys.verified(client, token, algorithms=algorithms, types=(_TYPE,))
    except BadJWT as error:
        expected = " or ".join(algorithms)
        raise SIGNATURE.refusal(f"request object: {error}", expected=expected, actual=str(error)) from error
    SIGNATURE(True, expected=" or ".join(algorithms), actual="signed by the client")
    _validate(client, claims)
    values = {name: value for name, value in claims.items() if name not in _OF_THE_JWT}
    return {"client_id": client.client_id, **{name: _text(name, value) for name, value in values.items()}}


def _validate(client: Client, claims: Mapping[str, Any]) -> None:
    issuer, now, expiry = services().settings.issuer, clock.now(), claims.get("exp", 0)
    ISSUER(claims.get("iss") == client.client_id, expected=client.client_id, actual=claims.get("iss"))
    audience = claims.get("aud")
    is_ours = issuer in audience if isinstance(audience, list) else audience == issuer
    AUDIENCE(is_ours, expected=issuer, actual=audience)
    begin = max(claims.get("nbf", 0), claims.get("iat", 0))
    # neither specification asks for `exp`, and what certifies sends none; the stricter profiles want an end
    unending = client.profile == "openid" and "exp" not in claims
    TIME((unending or now < expiry) and begin <= now + LEEWAY, expected=f"after {int(now)}", actual=expiry)
    # with `sub` it could pass for an assertion, by which the client authenticates (RFC 9101 section 10.8)
    same = claims.get("client_id", client.client_id) == client.client_id and claims.get("sub") != client.client_id
    CLIENT(same, expected=client.client_id, actual=claims.get("client_id"))
    NOT_NESTED(not claims.keys() & {"request", "request_uri"}, expected="parameters", otherwise="a request within")


def _text(name: str, value: Any) -> str:
    """A value as it would stand in a query: `max_age` may be a number, `claims` an object, all else is text."""
    if name == "max_age" and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**10:
        return str(value)
    if name == "claims" and isinstance(value, dict):
        return json.dumps(value, separators=(",", ":"))
    VALUES(isinstance(value, str), expected="text", otherwise=f"{name[:60]} is {type(value).__name__}")
    return str(value)


def _fetched(client: Client, request_uri: str) -> str:
    """What a registered `request_uri` gives. A fragment is the hash of it, and says so when it is another than that
    which is kept (OpenID Connect Core section 6.2)."""
    address, _, fragment = request_uri.partition("#")
    registered = {request_uri, address} & set(client.request_uris)
    REGISTERED(bool(registered), expected="a registered request_uri", actual=request_uri)
    fetcher = services().fetcher
    if not fetcher.has(address, accept=_ACCEPT):
        # anybody may send this, and it makes us ask somebody
        services().throttles.authorization(request.remote_addr or "")
    try:
        body = fetcher.get(address, accept=_ACCEPT).body
        if fragment and not _is_hash(fragment, body):
            body = fetcher.get(address, accept=_ACCEPT, renew=True).body
        good = not fragment or _is_hash(fragment, body)
        text = body.decode("ascii").strip() if good else ""
    except FetchBusy as error:
        raise error.refusal() from error
    except (FetchError, UnicodeDecodeError) as error:
        actual = str(error)[:100]
        raise FETCHED.refusal(f"request_uri: {error}", expected="a request object", actual=actual) from error
    FETCHED(bool(text), expected="a request object", otherwise="nothing, or not what the fragment is the hash of")
    return text


def _is_hash(fragment: str, body: bytes) -> bool:
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode() == fragment
