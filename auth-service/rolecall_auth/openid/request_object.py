"""Request objects: authorization request parameters in a JWT that the client signed (RFC 9101)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from flask import request

from rolecall import checks, clock
from rolecall.limits import network
from rolecall.vocabulary import ID_TOKEN_ALGORITHMS
from rolecall_auth.jose.client_keys import LEEWAY, BadJWT
from rolecall_auth.limits import AUTHORIZATION
from rolecall_auth.models.client import Client
from rolecall_auth.outbound.fetcher import FetchBusy
from rolecall_auth.outbound.policy import FetchError
from rolecall_auth.services import services

_TYPE: Final = "oauth-authz-req+jwt"
_ACCEPT: Final = f"application/{_TYPE}, application/jwt"
_JWT_CLAIMS: Final = frozenset({"iss", "aud", "exp", "nbf", "iat", "jti"})

ONE = checks.define(
    "request_object.one", "RFC 9101 section 5", "invalid_request", "Send request or request_uri, not both."
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
    "The request_uri could not be fetched or does not contain the expected request object.",
)
SIGNATURE = checks.define(
    "request_object.signature",
    "RFC 9101 section 6.2",
    "invalid_request_object",
    "The signature of the request object is missing or invalid.",
)
ISSUER = checks.define(
    "request_object.iss",
    "RFC 9101 section 6.3",
    "invalid_request_object",
    "The request object was not issued by this client.",
)
AUDIENCE = checks.define(
    "request_object.aud",
    "RFC 9101 section 4",
    "invalid_request_object",
    "The request object was issued for another server.",
)
TIME = checks.define(
    "request_object.exp",
    "RFC 9101 section 4",
    "invalid_request_object",
    "The request object has expired, is not valid yet, or lacks exp.",
)
CLIENT = checks.define(
    "request_object.client_id",
    "RFC 9101 section 5",
    "invalid_request_object",
    "The client_id of the request object is not this client, or its sub makes it usable as a client assertion.",
)
VALUES = checks.define(
    "request_object.values",
    "RFC 9101 section 4",
    "invalid_request_object",
    "A parameter in the request object has the wrong type.",
)
NOT_NESTED = checks.define(
    "request_object.nested",
    "RFC 9101 section 4",
    "invalid_request_object",
    "A request object must not contain request or request_uri.",
)


def is_used(parameters: Mapping[str, str]) -> bool:
    """Whether the parameters of a request are in a request object (RFC 9101 section 5)."""
    return "request" in parameters or "request_uri" in parameters


def read(client: Client, parameters: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters in the request object; all others are ignored (RFC 9101 section 6.3).

    The object is passed by value (OpenID Connect Core section 6.1) or by reference (section 6.2). Its parameters are
    not validated yet, as if they came from the query, and must pass `parameters.read`.

    Args:
        client: the client of the `client_id` parameter.
        parameters: the validated parameters outside the object, with `request` or `request_uri`.

    Raises:
        OAuthError: invalid_request, invalid_request_object, invalid_request_uri, or temporarily_unavailable.
        TooMany: the address has sent too many requests that require a fetch.
        redis.RedisError: Redis cannot count these requests.
    """
    ONE("request" not in parameters or "request_uri" not in parameters, expected="one of them", otherwise="both")
    token = parameters["request"] if "request" in parameters else _fetch(client, parameters["request_uri"])
    registered = client.request_object_signing_alg
    algorithms = [each for each in ID_TOKEN_ALGORITHMS if registered in {None, each}]
    try:
        claims = services().client_keys.verified_claims(client, token, algorithms=algorithms, types=(_TYPE,))
    except BadJWT as error:
        expected = " or ".join(algorithms)
        raise SIGNATURE.refusal(f"request object: {error}", expected=expected, actual=str(error)) from error
    SIGNATURE(True, expected=" or ".join(algorithms), actual="signed by the client")
    _validate(client, claims)
    # a null counts as omitted, as an empty parameter does
    values = {name: value for name, value in claims.items() if name not in _JWT_CLAIMS and value is not None}
    return {"client_id": client.client_id, **{name: _text(name, value) for name, value in values.items()}}


def _validate(client: Client, claims: Mapping[str, Any]) -> None:
    issuer, now, expires_at = services().settings.issuer, clock.now(), claims.get("exp", 0)
    ISSUER(claims.get("iss") == client.client_id, expected=client.client_id, actual=claims.get("iss"))
    audience = claims.get("aud")
    in_audience = issuer in audience if isinstance(audience, list) else audience == issuer
    AUDIENCE(in_audience, expected=issuer, actual=audience)
    valid_from = max(claims.get("nbf", 0), claims.get("iat", 0))
    # the specifications do not require `exp`, and the certification suite omits it; the stricter profiles require it
    is_unlimited = client.profile == "openid" and "exp" not in claims
    in_time = (is_unlimited or now < expires_at) and valid_from <= now + LEEWAY
    TIME(in_time, expected=f"after {int(now)}", actual=expires_at)
    # with `sub`, the object could be used as a client assertion (RFC 9101 section 10.8)
    is_same = claims.get("client_id", client.client_id) == client.client_id and claims.get("sub") != client.client_id
    CLIENT(is_same, expected=client.client_id, actual=claims.get("client_id"))
    NOT_NESTED(
        not claims.keys() & {"request", "request_uri"}, expected="no nested request", otherwise="a nested request"
    )


def _text(name: str, value: Any) -> str:
    """Return a value as a query would contain it: `max_age` may be a number, `claims` an object, others are strings."""
    if name == "max_age" and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**10:
        return str(value)
    if name == "claims" and isinstance(value, dict):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    VALUES(isinstance(value, str), expected="a string", otherwise=f"{name[:60]} is {type(value).__name__}")
    return str(value)


def _fetch(client: Client, request_uri: str) -> str:
    """Return the request object at a registered `request_uri`.

    A fragment is the hash of the object. It only invalidates a cached copy: if this does not match, the object is
    fetched again, and then used with any hash (OpenID Connect Core section 6.2). The signature protects it.
    """
    address, _, fragment = request_uri.partition("#")
    registered = {request_uri, address} & set(client.request_uris)
    REGISTERED(bool(registered), expected="a registered request_uri", actual=request_uri)
    fetcher = services().fetcher
    if not fetcher.has(address, accept=_ACCEPT):
        # anyone can send this request, and it triggers a request to another server
        services().limits.count(AUTHORIZATION, network(request.remote_addr))
    try:
        body = fetcher.get(address, accept=_ACCEPT).body
        if fragment and not _is_hash(fragment, body):
            body = fetcher.get(address, accept=_ACCEPT, renew=True).body
        text = body.decode("ascii").strip()
    except FetchBusy as error:
        raise error.refusal() from error
    except (FetchError, UnicodeDecodeError) as error:
        actual = str(error)[:100]
        raise FETCHED.refusal(f"request_uri: {error}", expected="a request object", actual=actual) from error
    FETCHED(bool(text), expected="a request object", otherwise="an empty body")
    return text


def _is_hash(fragment: str, body: bytes) -> bool:
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode() == fragment
