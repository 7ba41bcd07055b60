"""Checks a signed token by itself (RFC 9068 section 4), with another library than the one that signed it."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

import jwt

from rolecall import checks, clock
from rolecall.errors import OAuthError
from rolecall.http import HttpClient, HttpResponse, Unreachable
from rolecall.storage import digest
from rolecall.vocabulary import ACCESS_TOKEN_TYPE, SIGNING_ALGORITHMS
from rolecall_resource.authorization_server import RETRY_KNOWN, RETRY_UNKNOWN, AuthorizationServer, max_age
from rolecall_resource.validators import EXPIRY, AccessToken, away, read_claims

log = logging.getLogger(__name__)

REFETCH_AFTER: Final = 10.0
"""Seconds between two fetches for the sake of an unknown key id."""

MAX_VERIFIED: Final = 10_000
VERIFIED_AGE: Final = 60.0
"""Entries, and seconds that each is kept at most, of the cache of verified tokens."""

FORM = checks.define("token.form", "RFC 7519 section 7.2", "invalid_token", "The token is no signed JWT.", status=401)
TYPE = checks.define("token.typ", "RFC 9068 section 4", "invalid_token", "The token is no access token.", status=401)
ALGORITHM = checks.define(
    "token.alg", "RFC 8725 section 3.1", "invalid_token", "The token's algorithm is not its key's.", status=401
)
CRITICAL = checks.define(
    "token.crit",
    "RFC 7515 section 4.1.11",
    "invalid_token",
    "The token needs an unknown extension.",
    status=401,
)
KEY = checks.define("token.kid", "RFC 7515 section 4.1.4", "invalid_token", "The token's key is not known.", status=401)
SIGNATURE = checks.define(
    "token.signature", "RFC 7515 section 5.2", "invalid_token", "The signature is wrong.", status=401
)
CACHED = checks.define(
    "token.cache", "RFC 9068 section 4", "invalid_token", "The token was not verified yet.", status=401
)

# our clock judges the times, and `read_claims` the rest: PyJWT only verifies the signature
_SIGNATURE_ONLY: Final[Any] = {
    "verify_signature": True,
    **dict.fromkeys(
        ("verify_exp", "verify_nbf", "verify_iat", "verify_aud", "verify_iss", "verify_sub", "verify_jti"), False
    ),
}


@dataclass(frozen=True, slots=True)
class _KeySet:
    keys: dict[str, jwt.PyJWK]
    fetched_at: float
    fresh_until: float


class KeySet:
    """The issuer's published keys, as key objects; fetched in single flight."""

    def __init__(self, server: AuthorizationServer, http: HttpClient) -> None:
        self._server = server
        self._http = http
        self._lock = threading.Lock()
        self._set = _KeySet({}, float("-inf"), float("-inf"))
        self._failed_at = float("-inf")

    def key(self, kid: str) -> jwt.PyJWK | None:
        """The key of this id; an unknown one is looked for again, but not more often than `REFETCH_AFTER`.

        Raises:
            OAuthError: temporarily_unavailable, when no key set was ever fetched and none can be.
        """
        current = self._set
        known = current.keys.get(kid)
        if known is not None and clock.cache_time() < current.fresh_until:
            return known
        # who knows the key does not wait for somebody else's fetch
        if not self._lock.acquire(blocking=known is None):
            return known
        try:
            now = clock.cache_time()
            stale = now >= self._set.fresh_until
            unknown = kid not in self._set.keys and now >= self._set.fetched_at + REFETCH_AFTER
            if now < self._failed_at + RETRY_UNKNOWN:
                # those who waited for the same fetch to fail do not each wait for their own
                raise away("no key set: it could not be fetched a moment ago")
            if stale or unknown:
                self._fetch(now)
            return self._set.keys.get(kid)
        finally:
            self._lock.release()

    def _fetch(self, now: float) -> None:
        try:
            answer = self._http.send("GET", self._server.metadata().jwks_uri)
            if answer.status != 200:
                raise Unreachable("jwks_uri", f"it answered {answer.status}")
            keys = _import(answer)
        except (Unreachable, OAuthError, ValueError, KeyError, TypeError) as error:
            if not self._set.keys:
                self._failed_at = clock.cache_time()
                raise away(f"no key set: {error}") from error
            # keep what is known, and do not ask again at once
            self._set = _KeySet(self._set.keys, now, now + RETRY_KNOWN)
            return
        self._set = _KeySet(keys, now, now + max_age(answer))


def _import(answer: HttpResponse) -> dict[str, jwt.PyJWK]:
    """The keys that tokens may be signed with; one that cannot be used spoils no other (RFC 7517 section 5)."""
    keys = {}
    for jwk in answer.json()["keys"]:
        if not isinstance(jwk, dict) or jwk.get("alg") not in SIGNING_ALGORITHMS or jwk.get("use", "sig") != "sig":
            continue
        if isinstance(kid := jwk.get("kid"), str):
            try:
                keys[kid] = jwt.PyJWK(jwk)
            except (jwt.PyJWTError, AttributeError) as error:
                log.warning("a published key cannot be used", extra={"detail": type(error).__name__})
    return keys


class LocalJwt:
    """The validator; remembers what it verified, never beyond the token's end or its key's."""

    def __init__(self, keys: KeySet, *, issuer: str, audience: str, leeway: float) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway
        self._verified: OrderedDict[str, tuple[AccessToken, jwt.PyJWK, float]] = OrderedDict()
        self._lock = threading.Lock()

    def validate(self, token: str) -> AccessToken:
        """See `Validator`."""
        name = digest(token)
        known = self._verified.get(name)
        if known is not None:
            access_token, key, verified_at = known
            is_fresh = clock.cache_time() < verified_at + VERIFIED_AGE
            if is_fresh and self._keys.key(str(key.key_id)) is key:
                with self._lock:
                    if name in self._verified:
                        self._verified.move_to_end(name)
                CACHED.note(True, expected="verified before, by this process", actual="it was")
                still = f"later than {int(clock.now())}"
                EXPIRY(clock.now() < access_token.expires_at, expected=still, actual=access_token.expires_at)
                return access_token
        access_token, key = self._verify(token)
        with self._lock:
            self._verified[name] = (access_token, key, clock.cache_time())
            self._verified.move_to_end(name)
            while len(self._verified) > MAX_VERIFIED:
                self._verified.popitem(last=False)
        return access_token

    def _verify(self, token: str) -> tuple[AccessToken, jwt.PyJWK]:
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise FORM.refusal(type(error).__name__) from error
        typ = str(header.get("typ", "")).lower().removeprefix("application/")
        TYPE(typ == ACCESS_TOKEN_TYPE, expected=ACCESS_TOKEN_TYPE, actual=typ[:60])
        CRITICAL("crit" not in header, expected="no crit", actual="crit" if "crit" in header else "none")
        algorithm = str(header.get("alg"))
        allowed = algorithm in SIGNING_ALGORITHMS
        ALGORITHM(allowed, expected=" or ".join(SIGNING_ALGORITHMS), actual=algorithm[:20])
        kid = header.get("kid")
        key = self._keys.key(kid) if isinstance(kid, str) else None
        KEY(key is not None, expected="a key that the issuer publishes", actual=str(kid)[:60])
        assert key is not None
        ALGORITHM(key.algorithm_name == algorithm, expected=key.algorithm_name, actual=algorithm)
        try:
            claims = jwt.decode(token, key, algorithms=[algorithm], options=_SIGNATURE_ONLY)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            expected = f"by key {str(kid)[:8]}"
            raise SIGNATURE.refusal(type(error).__name__, expected=expected, actual="wrong") from error
        SIGNATURE.note(True, expected=f"{algorithm} by key {str(kid)[:8]}", actual="right")
        return read_claims(claims, issuer=self._issuer, audience=self._audience, leeway=self._leeway), key
