"""JWTs by which clients authenticate: private_key_jwt, client_secret_jwt (RFC 7523 section 3, OpenID Connect Core 9).

Every failure is answered alike, with invalid_client; what was wrong is for the log, and for who watches.
"""

from __future__ import annotations

from typing import Any, Final

from flask import url_for

from rolecall import checks, clock
from rolecall.checks import Check
from rolecall.vocabulary import ASSERTION_ALGORITHMS
from rolecall_auth.jose.client_keys import BadJWT, unverified
from rolecall_auth.models.client import Client
from rolecall_auth.services import services

MAX_AHEAD: Final = 3600
"""Seconds that an assertion may still be good for, and that its `jti` is remembered: an hour is what Authlib's client
asks for by default."""

LEEWAY: Final = 30
"""Seconds that a client's clock may be ahead of ours."""

MAX_JTI: Final = 200

_TYPES: Final = ("client-authentication+jwt",)

_FAILED: Final = "Client authentication failed."

SIGNATURE = checks.define("client_assertion.signature", "RFC 7523 section 3", "invalid_client", _FAILED, status=401)
SUBJECT = checks.define("client_assertion.sub", "RFC 7523 section 3", "invalid_client", _FAILED, status=401)
AUDIENCE = checks.define("client_assertion.aud", "RFC 7523 section 3", "invalid_client", _FAILED, status=401)
TIME = checks.define("client_assertion.exp", "RFC 7523 section 3", "invalid_client", _FAILED, status=401)
ONCE = checks.define("client_assertion.jti", "RFC 7523 section 3", "invalid_client", _FAILED, status=401)


def unverified_client(assertion: str) -> tuple[str, str]:
    """The method that an assertion is of, by its algorithm, and the client that it says it comes from.

    Raises:
        BadJWT: it says neither.
    """
    header, claims = unverified(assertion)
    client_id = claims.get("sub", "")
    if not 0 < len(client_id) <= 100 or not client_id.isascii() or not client_id.isprintable():
        raise BadJWT("sub is no client_id")
    return ("client_secret_jwt" if header["alg"].startswith("HS") else "private_key_jwt"), client_id


def verify(client: Client, method: str, assertion: str) -> None:
    """Find that the client made the assertion, for this server, not long ago, and for this one use.

    Args:
        method: that of the client, and of the assertion.

    Raises:
        BadJWT: it did not.
        KeysError: DATA_KEY does not open the client's secret.
        OAuthError: temporarily_unavailable, when it is older than what Redis remembers.
        redis.RedisError: nobody knows whether it was used before.
    """
    registered = client.token_endpoint_auth_signing_alg
    algorithms = [each for each in ASSERTION_ALGORITHMS[method] if registered in {None, each}]
    try:
        claims = services().client_keys.verified(client, assertion, algorithms=algorithms, types=_TYPES)
    except BadJWT as error:
        SIGNATURE.note(False, expected=" or ".join(algorithms), actual=str(error))
        raise
    SIGNATURE.note(True, expected=" or ".join(algorithms), actual="signed by the client")
    issuer, subject = claims.get("iss"), claims.get("sub")
    _require(SUBJECT, issuer == subject == client.client_id, client.client_id, {"iss": issuer, "sub": subject})
    _require(AUDIENCE, _is_for_us(client, claims.get("aud")), services().settings.issuer, claims.get("aud"))
    now, expiry, begin = clock.now(), claims.get("exp", 0), max(claims.get("nbf", 0), claims.get("iat", 0))
    # the earliest that it could be, where it does not say when it was made
    made_at = begin if claims.keys() & {"iat", "nbf"} else expiry - MAX_AHEAD - LEEWAY
    in_time = now < expiry <= now + MAX_AHEAD + LEEWAY and begin <= now + LEEWAY
    _require(TIME, in_time, f"within {MAX_AHEAD} seconds from now", expiry)
    # after all else: nobody but the client can use up what it made
    jti = claims.get("jti", "")
    is_name = 0 < len(jti) <= MAX_JTI and jti.isprintable()
    fresh = is_name and services().replays.claim("assertion", f"{client.client_id} {jti}", made_at, expiry - now)
    _require(ONCE, fresh, "never used before", "used, or missing" if not fresh else "new")


def _is_for_us(client: Client, audience: Any) -> bool:
    """The issuer, alone and as a string: whoever else an assertion is for could use it here. The profile `openid`
    goes by OpenID Connect Core section 9, with the token endpoint's address and lists."""
    settings = services().settings
    if client.profile != "openid":
        return bool(audience == settings.issuer)
    ours = {settings.issuer, *(base + url_for("token") for base in (settings.issuer, *settings.backchannel_urls))}
    return not ours.isdisjoint(audience if isinstance(audience, list) else [audience])


def _require(check: Check, passed: bool, expected: Any, actual: Any) -> None:
    check.note(passed, expected=expected, actual=actual)
    if not passed:
        raise BadJWT(check.name)
