"""Local validation of signed access tokens (RFC 9068 section 4), with a different library from the signer's."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Final

import jwt

from rolecall import checks, clock
from rolecall.jws import unverified_header
from rolecall.storage import digest
from rolecall.vocabulary import ACCESS_TOKEN_TYPE, SIGNING_ALGORITHMS
from rolecall_resource.authorization_server import AuthorizationServer
from rolecall_resource.validators import EXPIRY, MAX_LENGTH, AccessToken, read_claims

MAX_VERIFIED: Final = 10_000
VERIFIED_AGE: Final = 60.0
"""The bounds of the cache of verified tokens: entries, and seconds per entry."""

FORM = checks.define(
    "token.form", "RFC 7519 section 7.2", "invalid_token", "The token is not a signed JWT.", status=401
)
TYPE = checks.define(
    "token.typ", "RFC 9068 section 4", "invalid_token", "The token is not an access token.", status=401
)
ALGORITHM = checks.define(
    "token.alg",
    "RFC 8725 section 3.1",
    "invalid_token",
    "The algorithm of the token is not accepted.",
    status=401,
)
CRITICAL = checks.define(
    "token.crit",
    "RFC 7515 section 4.1.11",
    "invalid_token",
    "The token requires an unknown extension.",
    status=401,
)
KEY = checks.define(
    "token.kid", "RFC 7515 section 4.1.4", "invalid_token", "The token was signed with an unknown key.", status=401
)
SIGNATURE = checks.define(
    "token.signature", "RFC 7515 section 5.2", "invalid_token", "The signature is invalid.", status=401
)
CACHED = checks.define(
    "token.cache", "RFC 9068 section 4", "invalid_token", "The token has not been verified yet.", status=401
)

# PyJWT only verifies the signature: `read_claims` checks the claims, and times against this service's clock
_SIGNATURE_ONLY: Final[Any] = {
    "verify_signature": True,
    **dict.fromkeys(
        ("verify_exp", "verify_nbf", "verify_iat", "verify_aud", "verify_iss", "verify_sub", "verify_jti"), False
    ),
}


class LocalJwt:
    """A validator that verifies signatures, and caches verified tokens until they expire or their key changes.

    Args:
        typ: a type that is accepted in addition to that of RFC 9068.
    """

    def __init__(self, server: AuthorizationServer, *, issuer: str, audience: str, leeway: float, typ: str) -> None:
        self._server = server
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway
        self._types = tuple(dict.fromkeys((ACCESS_TOKEN_TYPE, typ)))
        self._verified: OrderedDict[str, tuple[AccessToken, jwt.PyJWK, float]] = OrderedDict()
        self._lock = threading.Lock()

    def validate(self, token: str) -> AccessToken:
        """See `Validator`."""
        token_digest = digest(token)
        access_token = self._cached(token_digest)
        if access_token is not None:
            return access_token
        access_token, key = self._verify(token)
        with self._lock:
            self._verified[token_digest] = (access_token, key, clock.cache_time())
            self._verified.move_to_end(token_digest)
            while len(self._verified) > MAX_VERIFIED:
                self._verified.popitem(last=False)
        return access_token

    def _cached(self, token_digest: str) -> AccessToken | None:
        entry = self._verified.get(token_digest)
        if entry is None:
            return None
        access_token, key, verified_at = entry
        if clock.cache_time() >= verified_at + VERIFIED_AGE or not self._is_current(key):
            return None
        with self._lock:
            if token_digest in self._verified:
                self._verified.move_to_end(token_digest)
        CACHED.note(True, expected="verified before by this process", actual="yes")
        now = clock.now()
        EXPIRY(now < access_token.expires_at, expected=f"later than {int(now)}", actual=access_token.expires_at)
        return access_token

    def _is_current(self, key: jwt.PyJWK) -> bool:
        return self._server.key(key.key_id, key.algorithm_name) is key

    def _verify(self, token: str) -> tuple[AccessToken, jwt.PyJWK]:
        header = FORM.require(unverified_header(token, MAX_LENGTH), expected="a signed JWT", otherwise="something else")
        typ = str(header.get("typ", "")).lower().removeprefix("application/")
        is_allowed = typ in {each.lower() for each in self._types}
        TYPE(is_allowed, expected=" or ".join(self._types), actual=typ[:60])
        CRITICAL("crit" not in header, expected="no crit", actual="crit" if "crit" in header else "none")
        algorithm = str(header.get("alg"))
        allowed = algorithm in SIGNING_ALGORITHMS
        ALGORITHM(allowed, expected=" or ".join(SIGNING_ALGORITHMS), actual=algorithm[:20])
        kid = header.get("kid")
        key = self._server.key(kid, algorithm) if kid is None or isinstance(kid, str) else None
        expected = f"a key for {algorithm} that the issuer publishes"
        key = KEY.require(key, expected=expected, actual="missing" if kid is None else str(kid)[:60])
        try:
            claims = jwt.decode(token, key, algorithms=[algorithm], options=_SIGNATURE_ONLY)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            expected = f"by key {str(kid)[:8]}"
            raise SIGNATURE.refusal(type(error).__name__, expected=expected, actual="invalid") from error
        SIGNATURE.note(True, expected=f"{algorithm} by key {str(kid)[:8]}", actual="valid")
        return read_claims(claims, issuer=self._issuer, audience=self._audience, leeway=self._leeway), key
