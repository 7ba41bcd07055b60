"""ID token validation (OpenID Connect Core section 3.1.3.7), with a check for each rule."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import jwt

from rolecall import checks, clock
from rolecall.jws import unverified_header

MAX_LENGTH: Final = 16 * 1024
"""The maximum length of an ID token, in characters."""

_CORE: Final = "OpenID Connect Core section"
_ERROR: Final = "invalid_token"

FORM = checks.define("id_token.form", "RFC 7519 section 7.2", _ERROR, "The ID token is not a signed JWT.")
HEADER = checks.define(
    "id_token.header", f"{_CORE} 2", _ERROR, "The header contains a key or a critical extension, which is not allowed."
)
TYPE = checks.define(
    "id_token.typ", "RFC 8725 section 3.11", _ERROR, "The header has the type of another kind of token."
)
ALGORITHM = checks.define(
    "id_token.alg", f"{_CORE} 3.1.3.7", _ERROR, "The ID token is not signed with the algorithm registered for Tally."
)
KEY = checks.define(
    "id_token.kid", f"{_CORE} 10.1", _ERROR, "The issuer publishes no key that matches the token, or more than one."
)
SIGNATURE = checks.define("id_token.signature", f"{_CORE} 3.1.3.7", _ERROR, "The signature is invalid.")
CLAIMS = checks.define("id_token.claims", f"{_CORE} 2", _ERROR, "A claim is missing or has the wrong type.")
ISSUER = checks.define("id_token.iss", f"{_CORE} 3.1.3.7", _ERROR, "The ID token was issued by another issuer.")
AUDIENCE = checks.define("id_token.aud", f"{_CORE} 3.1.3.7", _ERROR, "The audience of the ID token is not Tally alone.")
PARTY = checks.define("id_token.azp", f"{_CORE} 3.1.3.7", _ERROR, "The ID token was issued to another client.")
EXPIRY = checks.define("id_token.exp", f"{_CORE} 3.1.3.7", _ERROR, "The ID token has expired.")
NOT_BEFORE = checks.define("id_token.nbf", "RFC 7519 section 4.1.5", _ERROR, "The ID token is not valid yet.")
ISSUED_AT = checks.define("id_token.iat", f"{_CORE} 3.1.3.7", _ERROR, "The ID token was issued in the future.")
AUTH_TIME = checks.define(
    "id_token.auth_time",
    f"{_CORE} 3.1.3.7",
    _ERROR,
    "The sign-in is older than the requested maximum age, or in the future.",
)
NONCE = checks.define("id_token.nonce", f"{_CORE} 3.1.3.7", _ERROR, "The nonce does not match the request.")
AT_HASH = checks.define("id_token.at_hash", f"{_CORE} 3.1.3.8", _ERROR, "The hash does not match the access token.")

_FORBIDDEN_PARAMETERS: Final = frozenset({"jwk", "jku", "x5u", "x5c", "crit"})
_REQUIRED_STRINGS: Final = ("iss", "sub")
_REQUIRED_TIMES: Final = ("exp", "iat")
_OPTIONAL_TIMES: Final = ("auth_time", "nbf")

_HASHES: Final[dict[str, Callable[[bytes], Any]]] = {"EdDSA": hashlib.sha512}
"""The hash functions of `at_hash`, for algorithms that do not use SHA-256 (RFC 8032 section 5.1)."""


FindKey: TypeAlias = "Callable[[str | None, str], jwt.PyJWK | None]"


@dataclass(frozen=True, slots=True)
class ExpectedClaims:
    """The values that an ID token must match.

    Args:
        algorithm: the signing algorithm that is registered for this client.
        nonce: the nonce of the authentication request; None for an ID token from a refresh (section 12.2).
        access_token: the access token from the same response.
        signed_in_since: the earliest accepted `auth_time`, in seconds since the epoch; None for any.
        leeway: seconds by which the issuer's clock may be ahead of this client's clock.
    """

    issuer: str
    client_id: str
    algorithm: str
    nonce: str | None
    access_token: str
    signed_in_since: float | None = None
    leeway: float = 10.0


def validate(token: Any, key: FindKey, expected: ExpectedClaims) -> dict[str, Any]:
    """Validate an ID token and return its claims.

    Args:
        key: returns the issuer's published key with a given ID, or without one, for an algorithm, or None.

    Raises:
        OAuthError: invalid_token; the description names the failed rule.
        Unreachable: the keys cannot be fetched.
    """
    claims = _claims(_payload(token, key, expected.algorithm), has_nonce=expected.nonce is not None)
    ISSUER(claims["iss"] == expected.issuer, expected=expected.issuer, actual=claims["iss"][:200])
    client_id, audience = expected.client_id, claims["aud"]
    audiences = {audience} if isinstance(audience, str) else {*audience}
    AUDIENCE(audiences == {client_id}, expected=client_id, actual=str(audience)[:200])
    PARTY(claims.get("azp", client_id) == client_id, expected=client_id, actual=claims.get("azp"))
    _check_times(claims, expected)
    if expected.nonce is not None:
        NONCE(_is_equal(claims["nonce"], expected.nonce), expected="the nonce of this request", otherwise="another")
    if "at_hash" in claims:  # optional in the code flow (section 3.1.3.6)
        at_hash = _at_hash(expected.algorithm, expected.access_token)
        is_equal = _is_equal(claims["at_hash"], at_hash)
        AT_HASH(is_equal, expected="the hash of the access token", otherwise="another hash")
    return claims


def _check_times(claims: dict[str, Any], expected: ExpectedClaims) -> None:
    now, latest = clock.now(), clock.now() + expected.leeway
    EXPIRY(now < claims["exp"], expected=f"later than {int(now)}", actual=claims["exp"])
    if "nbf" in claims:
        NOT_BEFORE(claims["nbf"] <= latest, expected=f"not after {int(now)}", actual=claims["nbf"])
    ISSUED_AT(claims["iat"] <= latest, expected=f"not after {int(now)}", actual=claims["iat"])
    if expected.signed_in_since is not None:
        since = int(expected.signed_in_since - expected.leeway)
        is_recent = since <= claims.get("auth_time", -math.inf) <= latest
        AUTH_TIME(is_recent, expected=f"from {since} to {int(now)}", actual=claims.get("auth_time"))
    elif "auth_time" in claims:
        AUTH_TIME(claims["auth_time"] <= latest, expected=f"not after {int(now)}", actual=claims["auth_time"])


def _payload(token: Any, key: FindKey, algorithm: str) -> bytes:
    """Verify the signature and return the payload. Nothing in the header is trusted: it must match known values."""
    unverified = unverified_header(token, MAX_LENGTH)
    header = FORM.require(unverified, expected="a signed JWT", otherwise="something else")
    forbidden = sorted(_FORBIDDEN_PARAMETERS & header.keys())
    HEADER(not forbidden, expected="neither key nor extension", actual=", ".join(forbidden) or "neither")
    typ = header.get("typ", "JWT")
    TYPE(isinstance(typ, str) and typ in {"JWT", "jwt"}, expected="JWT", actual=str(typ)[:60])
    ALGORITHM(header.get("alg") == algorithm, expected=algorithm, actual=str(header.get("alg"))[:20])
    kid = header.get("kid")
    published = key(kid, algorithm) if kid is None or isinstance(kid, str) else None
    published = KEY.require(published, expected=f"one published key for {algorithm}", actual=str(kid)[:60])
    try:
        payload: bytes = jwt.api_jws.decode(token, published, algorithms=[algorithm])
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        expected = f"by key {str(kid)[:8]}"
        raise SIGNATURE.refusal(type(error).__name__, expected=expected, actual="invalid") from error
    SIGNATURE.note(True, expected=f"by key {str(kid)[:8]}", actual="valid")
    return payload


def _claims(payload: bytes, *, has_nonce: bool) -> dict[str, Any]:
    try:
        claims = json.loads(payload.decode())
        json.dumps(claims, ensure_ascii=False).encode()  # a lone surrogate has no encoding (RFC 8259 section 8.2)
    except (ValueError, RecursionError):
        claims = None
    # a null counts as omitted
    claims = {name: value for name, value in claims.items() if value is not None} if isinstance(claims, dict) else {}
    strings = (*_REQUIRED_STRINGS, *(["nonce"] if has_nonce else []), *(["at_hash"] if "at_hash" in claims else []))
    invalid = [name for name in strings if not (isinstance(claims.get(name), str) and claims[name])]
    times = (*_REQUIRED_TIMES, *(name for name in _OPTIONAL_TIMES if name in claims))
    invalid += [name for name in times if not _is_time(claims.get(name))]
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    invalid += [] if audiences and all(isinstance(each, str) for each in audiences) else ["aud"]
    invalid += [] if isinstance(claims.get("azp", ""), str) else ["azp"]
    invalid += [] if len(str(claims.get("sub"))) <= 255 else ["sub"]
    CLAIMS(not invalid, expected="all required claims, of the right types", actual=", ".join(invalid) or "all valid")
    return claims


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e11


def _at_hash(algorithm: str, access_token: str) -> str:
    """Return the left half of the access token's hash (section 3.1.3.6)."""
    digest = _HASHES.get(algorithm, hashlib.sha256)(access_token.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


def _is_equal(actual: str, expected: str) -> bool:
    return hmac.compare_digest(actual.encode(), expected.encode())
