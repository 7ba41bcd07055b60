"""Whether an ID token is what it must be (OpenID Connect Core section 3.1.3.7): every rule, each a check."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import jwt

from rolecall import checks, clock

MAX_LENGTH: Final = 16 * 1024
"""Characters; nothing longer is an ID token."""

LEEWAY: Final = 10.0
"""Seconds by which the issuer's clock may be ahead of ours."""

_CORE: Final = "OpenID Connect Core section"
_ERROR: Final = "invalid_token"

FORM = checks.define("id_token.form", "RFC 7519 section 7.2", _ERROR, "The ID token is no signed JWT.")
HEADER = checks.define("id_token.header", f"{_CORE} 2", _ERROR, "Its header brings a key of its own, or an extension.")
TYPE = checks.define("id_token.typ", "RFC 8725 section 3.11", _ERROR, "By its type it is another kind of token.")
ALGORITHM = checks.define(
    "id_token.alg", f"{_CORE} 3.1.3.7", _ERROR, "It is not signed with the algorithm that Tally is registered with."
)
KEY = checks.define("id_token.kid", f"{_CORE} 10.1", _ERROR, "The issuer publishes no such key.")
SIGNATURE = checks.define("id_token.signature", f"{_CORE} 3.1.3.7", _ERROR, "The signature is wrong.")
CLAIMS = checks.define("id_token.claims", f"{_CORE} 2", _ERROR, "A claim is missing, or of a wrong type.")
ISSUER = checks.define("id_token.iss", f"{_CORE} 3.1.3.7", _ERROR, "Another issuer made it.")
AUDIENCE = checks.define(
    "id_token.aud", f"{_CORE} 3.1.3.7", _ERROR, "It is not meant for Tally, or not for Tally alone."
)
PARTY = checks.define("id_token.azp", f"{_CORE} 3.1.3.7", _ERROR, "It was issued to another client.")
EXPIRY = checks.define("id_token.exp", f"{_CORE} 3.1.3.7", _ERROR, "It has expired.")
ISSUED_AT = checks.define("id_token.iat", f"{_CORE} 3.1.3.7", _ERROR, "It was issued in the future.")
NONCE = checks.define(
    "id_token.nonce", f"{_CORE} 3.1.3.7", _ERROR, "It answers another request: the nonce is not ours."
)
AT_HASH = checks.define("id_token.at_hash", f"{_CORE} 3.1.3.8", _ERROR, "The access token beside it is not its own.")
AUTH_TIME = checks.define(
    "id_token.auth_time", f"{_CORE} 3.1.3.7", _ERROR, "The sign-in is older than Tally asked for."
)

CHECKS: Final = (
    FORM, HEADER, TYPE, ALGORITHM, KEY, SIGNATURE, CLAIMS, ISSUER, AUDIENCE, PARTY, EXPIRY, ISSUED_AT, NONCE, AT_HASH,
    AUTH_TIME,
)  # fmt: skip
"""In the order in which they are made."""

_OWN_KEYS: Final = frozenset({"jwk", "jku", "x5u", "x5c", "crit"})
_TEXTS: Final = ("iss", "sub", "nonce", "at_hash")
_TIMES: Final = ("exp", "iat", "auth_time")

_HASHES: Final[dict[str, Callable[[bytes], Any]]] = {"EdDSA": hashlib.sha512}
"""Of `at_hash`, where it is not the SHA-256 of all other algorithms here (RFC 8032 section 5.1)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an ID token must agree with.

    Args:
        algorithm: the one that this client is registered with.
        nonce: of the authentication request; None for an ID token that came by a refresh token (section 12.2).
        access_token: which came with the ID token.
        signed_in_since: seconds since the epoch; an older sign-in will not do. None when any will.
    """

    issuer: str
    client_id: str
    algorithm: str
    nonce: str | None
    access_token: str
    signed_in_since: float | None = None


def validate(token: Any, key: Callable[[str], jwt.PyJWK | None], wanted: Wanted) -> dict[str, Any]:
    """The claims of an ID token, once everything about it is right.

    Args:
        key: finds the issuer's published key of an id.

    Raises:
        OAuthError: invalid_token; the description says which rule it breaks.
        Unreachable: the keys cannot be had.
    """
    texts = tuple(name for name in _TEXTS if name != "nonce" or wanted.nonce is not None)
    claims = _claims(_payload(token, key, wanted.algorithm), texts)
    ISSUER(claims["iss"] == wanted.issuer, expected=wanted.issuer, actual=claims["iss"][:200])
    audience, only = claims["aud"], (wanted.client_id, [wanted.client_id])
    AUDIENCE(audience in only, expected=wanted.client_id, actual=str(audience)[:200])
    PARTY(claims.get("azp", wanted.client_id) == wanted.client_id, expected=wanted.client_id, actual=claims.get("azp"))
    now = clock.now()
    EXPIRY(now < claims["exp"], expected=f"later than {int(now)}", actual=claims["exp"])
    ISSUED_AT(claims["iat"] <= now + LEEWAY, expected=f"not after {int(now)}", actual=claims["iat"])
    if wanted.nonce is not None:
        NONCE(_same(claims["nonce"], wanted.nonce), expected="the nonce of this request", otherwise="another")
    of_token = _at_hash(wanted.algorithm, wanted.access_token)
    AT_HASH(_same(claims["at_hash"], of_token), expected="the hash of the access token", otherwise="of another")
    if wanted.signed_in_since is not None:
        since = wanted.signed_in_since - LEEWAY
        recent = claims.get("auth_time", -math.inf) >= since
        AUTH_TIME(recent, expected=f"not before {int(since)}", actual=claims.get("auth_time"))
    return claims


def _payload(token: Any, key: Callable[[str], jwt.PyJWK | None], algorithm: str) -> bytes:
    """What is signed. The header is believed in nothing: it may only agree with what is known without it."""
    good = isinstance(token, str) and len(token) <= MAX_LENGTH
    try:
        header = jwt.get_unverified_header(token) if good else None
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        header = None
    FORM(header is not None, expected="a signed JWT", otherwise="something else")
    assert header is not None
    own = sorted(_OWN_KEYS & header.keys())
    HEADER(not own, expected="neither key nor extension", actual=", ".join(own) or "neither")
    kind = header.get("typ", "JWT")
    TYPE(isinstance(kind, str) and kind in {"JWT", "jwt"}, expected="JWT", actual=str(kind)[:60])
    ALGORITHM(header.get("alg") == algorithm, expected=algorithm, actual=str(header.get("alg"))[:20])
    kid = header.get("kid")
    found = key(kid) if isinstance(kid, str) else None
    is_known = found is not None and found.algorithm_name == algorithm
    KEY(is_known, expected=f"a published key for {algorithm}", actual=str(kid)[:60])
    assert found is not None
    try:
        payload: bytes = jwt.api_jws.decode(token, found, algorithms=[algorithm])
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        SIGNATURE(False, expected=f"by key {str(kid)[:8]}", actual="wrong", detail=type(error).__name__)
        raise  # which it has done
    SIGNATURE(True, expected=f"by key {str(kid)[:8]}", actual="right")
    return payload


def _claims(payload: bytes, texts: tuple[str, ...]) -> dict[str, Any]:
    """The claims that the rules need, there and of the right types."""
    try:
        claims = json.loads(payload)
    except (ValueError, RecursionError):
        claims = None
    if not isinstance(claims, dict):
        claims = {}
    wrong = [name for name in texts if not (isinstance(claims.get(name), str) and claims[name])]
    # only who was signed in when need not be said
    wrong += [name for name in _TIMES if not _is_time(claims.get(name, 0.0 if name == "auth_time" else None))]
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    wrong += [] if audiences and all(isinstance(each, str) for each in audiences) else ["aud"]
    wrong += [] if isinstance(claims.get("azp", ""), str) else ["azp"]
    wrong += [] if len(str(claims.get("sub"))) <= 255 else ["sub"]
    CLAIMS(not wrong, expected="all that there must be, of the right types", actual=", ".join(wrong) or "they are")
    return claims


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e11


def _at_hash(algorithm: str, access_token: str) -> str:
    """The left half of the access token's hash (section 3.1.3.6)."""
    digest = _HASHES.get(algorithm, hashlib.sha256)(access_token.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


def _same(actual: str, expected: str) -> bool:
    return hmac.compare_digest(actual.encode(errors="surrogatepass"), expected.encode())
