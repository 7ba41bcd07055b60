"""Client assertions: private_key_jwt and client_secret_jwt (RFC 7523 section 3, OpenID Connect Core section 9).

Every failure returns the same invalid_client error. The reason is only logged and recorded.
"""

from __future__ import annotations

import math
from typing import Any, Final

from flask import request

from rolecall import checks, clock
from rolecall.checks import Check
from rolecall.limits import network
from rolecall.vocabulary import ASSERTION_ALGORITHMS
from rolecall.web.routes import route_path
from rolecall_auth.jose.client_keys import LEEWAY, BadJWT, unverified_jwt
from rolecall_auth.limits import ASSERTION_BYTES
from rolecall_auth.models.client import Client
from rolecall_auth.services import services

MAX_AHEAD: Final = 3600
"""Maximum remaining lifetime of an assertion in seconds; its `jti` is remembered as long. Authlib's client defaults to
one hour."""

MAX_JTI: Final = 200
"""Maximum length of `jti` in characters."""

USED_BYTES: Final = 250
"""Bytes of memory that Redis needs for a used assertion, rounded up."""

_TYPES: Final = ("client-authentication+jwt",)

_FAILED: Final = "Client authentication failed."

SIGNATURE = checks.define("client_assertion.signature", "RFC 7523 section 3", "invalid_client", _FAILED, status=401)
SUBJECT = checks.define("client_assertion.sub", "RFC 7523 section 3", "invalid_client", _FAILED, status=401)
AUDIENCE = checks.define("client_assertion.aud", "RFC 7523 section 3", "invalid_client", _FAILED, status=401)
TIME = checks.define("client_assertion.exp", "RFC 7523 section 3", "invalid_client", _FAILED, status=401)
ONCE = checks.define("client_assertion.jti", "RFC 7523 section 3", "invalid_client", _FAILED, status=401)


def unverified_client(assertion: str) -> tuple[str, str]:
    """Return the authentication method that the algorithm implies, and the client_id that the assertion claims.

    Raises:
        BadJWT: the assertion is malformed, or its `sub` cannot be a client_id.
    """
    header, claims = unverified_jwt(assertion)
    client_id = claims.get("sub", "")
    if not 0 < len(client_id) <= 100 or not client_id.isascii() or not client_id.isprintable():
        raise BadJWT("sub is not a client_id")
    return ("client_secret_jwt" if header["alg"].startswith("HS") else "private_key_jwt"), client_id


def verify(client: Client, method: str, assertion: str) -> None:
    """Verify that the client signed the assertion recently, for this server, and for a single use.

    Args:
        method: the registered method of the client, which is also the method of the assertion.

    Raises:
        BadJWT: the assertion is not valid.
        KeysError: DATA_KEY does not decrypt the client's secret.
        OAuthError: temporarily_unavailable, if the assertion is older than the replay data in Redis.
        TooMany: this address has used too many assertions that are still remembered.
        redis.RedisError: Redis cannot report whether the assertion was used before.
    """
    registered = client.token_endpoint_auth_signing_alg
    algorithms = [each for each in ASSERTION_ALGORITHMS[method] if registered in {None, each}]
    try:
        claims = services().client_keys.verified_claims(client, assertion, algorithms=algorithms, types=_TYPES)
    except BadJWT as error:
        SIGNATURE.note(False, expected=" or ".join(algorithms), actual=str(error))
        raise
    SIGNATURE.note(True, expected=" or ".join(algorithms), actual="signed by the client")
    issuer, subject = claims.get("iss"), claims.get("sub")
    _require(SUBJECT, issuer == subject == client.client_id, client.client_id, {"iss": issuer, "sub": subject})
    _require(AUDIENCE, _is_for_us(client, claims.get("aud")), services().settings.issuer, claims.get("aud"))
    now, expires_at, valid_from = clock.now(), claims.get("exp", 0), max(claims.get("nbf", 0), claims.get("iat", 0))
    # without `iat` and `nbf`, assume the earliest possible time of issue
    is_estimate = not claims.keys() & {"iat", "nbf"}
    issued_at = expires_at - MAX_AHEAD - LEEWAY if is_estimate else valid_from
    in_time = now < expires_at <= now + MAX_AHEAD + LEEWAY and valid_from <= now + LEEWAY
    _require(TIME, in_time, f"within {MAX_AHEAD} seconds from now", expires_at)
    # last, so that only the client itself can use up its assertion
    jti = claims.get("jti", "")
    is_valid_jti = 0 < len(jti) <= MAX_JTI and jti.isprintable()
    cost = math.ceil(USED_BYTES * (expires_at - now) / (MAX_AHEAD + LEEWAY))
    services().limits.count(ASSERTION_BYTES, network(request.remote_addr), cost=cost)
    is_new = is_valid_jti and services().replays.claim(
        "assertion", f"{client.client_id} {jti}", issued_at, expires_at - now, is_estimate=is_estimate
    )
    _require(ONCE, is_new, "never used before", "new" if is_new else "used or missing")


def _is_for_us(client: Client, audience: Any) -> bool:
    """Require the issuer as the only audience, and as a string, so that no other recipient can use the assertion here.

    The profile `openid` follows OpenID Connect Core section 9: the token endpoint and lists are accepted too.
    """
    settings = services().settings
    if client.profile != "openid":
        return bool(audience == settings.issuer)
    endpoint = route_path("token")
    accepted = {settings.issuer, *(base + endpoint for base in (settings.issuer, *settings.backchannel_urls))}
    return not accepted.isdisjoint(audience if isinstance(audience, list) else [audience])


def _require(check: Check, passed: bool, expected: Any, actual: Any) -> None:
    check.note(passed, expected=expected, actual=actual)
    if not passed:
        raise BadJWT(check.name)
