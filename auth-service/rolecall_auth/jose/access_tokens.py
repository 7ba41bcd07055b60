"""Access tokens: signed JWTs (RFC 9068)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jws import extract_compact

from rolecall import checks, clock
from rolecall.storage import digest
from rolecall.vocabulary import ACCESS_TOKEN_TYPE, CLIENT, SUBJECT_KIND
from rolecall_auth.jose.signing_keys import Keys
from rolecall_auth.models import new_id
from rolecall_auth.models.authorization import AuthorizationRecord
from rolecall_auth.models.registry import Registry
from rolecall_auth.models.resource import Resource

FORMAT: Final = "jwt"
"""The format of access tokens; it is stored with each authorization."""

MAX_LENGTH: Final = 8192
"""Maximum length of an access token in characters."""

MAX_VERIFIED: Final = 4096
"""Maximum number of verified tokens that an application caches; each takes about 1 KB."""

_SIGNED: Final = "signed by this server"

CLAIMS: Final = ("iss", "sub", "aud", "client_id", "scope", "iat", "exp", "jti", "authorization_id")
"""The claims of every access token. No ID token or UserInfo response has all of them."""

TYPE = checks.define("access_token.typ", "RFC 9068 section 4", "invalid_token", "The token is not an access token.")
SIGNATURE = checks.define("access_token.signature", "RFC 7515 section 5.2", "invalid_token", "The signature is wrong.")
ISSUER = checks.define(
    "access_token.iss", "RFC 9068 section 4", "invalid_token", "The token was issued by another issuer."
)
EXPIRY = checks.define("access_token.exp", "RFC 9068 section 4", "invalid_token", "The access token has expired.")


@dataclass(frozen=True, slots=True)
class AccessToken:
    """The claims of a valid access token (RFC 9068 section 2.2); times are in seconds since the epoch."""

    token_id: str
    authorization_id: str
    subject: str
    client_id: str
    audience: tuple[str, ...]
    scope: str
    issued_at: int
    expires_at: int
    has_person: bool


def mint(
    keys: Keys,
    issuer: str,
    resource: Resource,
    lifetime: int,
    authorization: AuthorizationRecord,
    scope: str,
    *,
    subject: str,
    user_claims: Mapping[str, Any],
) -> tuple[str, int]:
    """Return a signed access token for the authorization's resource and, with `openid`, for the UserInfo endpoint.

    Args:
        resource: determines the algorithm and the type.
        lifetime: lifetime in seconds.
        user_claims: further claims about the person (RFC 9068 section 2.2.3).

    Returns:
        The token, and its lifetime, which is shorter than `lifetime` if the key stops verifying earlier.
    """
    key = keys.signing(resource.access_token_signing_alg, lifetime)
    lifetime = min(lifetime, key.longest_token)
    audience = [authorization.resource]
    if "openid" in scope.split() and authorization.resource != issuer:
        audience.append(issuer)
    now = int(clock.now())
    claims: dict[str, Any] = {
        **user_claims,
        "iss": issuer,
        "sub": subject,
        "aud": audience if len(audience) > 1 else audience[0],
        "client_id": authorization.client_id,
        "scope": scope,
        "iat": now,
        "exp": now + lifetime,
        "jti": new_id(),
        "authorization_id": authorization.id,
    }
    if authorization.user_id is None:
        claims[SUBJECT_KIND] = CLIENT
    if authorization.auth_time is not None:
        claims["auth_time"] = int(authorization.auth_time)
    return key.sign(claims, typ=resource.access_token_typ), lifetime


class _Verified(NamedTuple):
    token: AccessToken
    kid: str
    algorithm: str


class AccessTokens:
    """A reader of access tokens, which caches the most recent ones whose signature it has verified.

    A cached token is valid only until it expires or its key is retired, by the clock of the application.

    Args:
        registry: the resources; the access tokens of some have another type than that of RFC 9068.
    """

    def __init__(self, keys: Keys, issuer: str, registry: Registry) -> None:
        self._keys = keys
        self._issuer = issuer
        self._registry = registry
        self._verified: dict[str, _Verified] = {}
        self._lock = threading.Lock()

    def read(self, token: str) -> AccessToken | None:
        """Return a valid and unexpired access token, or None; revocation is not checked."""
        if len(token) > MAX_LENGTH:
            return None
        name = digest(token)
        found = self._verified.get(name)
        if found is None or self._keys.verifying(found.kid) is None:
            return self._verify(name, token)
        SIGNATURE.note(True, expected=_SIGNED, actual=f"{found.algorithm}, kid {found.kid[:8]}")
        TYPE.note(True, expected=ACCESS_TOKEN_TYPE, actual=ACCESS_TOKEN_TYPE)
        ISSUER.note(True, expected=self._issuer, actual=self._issuer)
        return found.token if _is_unexpired(found.token.expires_at) else None

    def _verify(self, name: str, token: str) -> AccessToken | None:
        try:
            header = extract_compact(token.encode()).headers()
            key = self._keys.verifying(str(header.get("kid")))
            if key is None or header.get("alg") != key.algorithm:
                SIGNATURE.note(False, expected="a key of this server", actual="another key")
                return None
            claims = jwt.decode(token, key.private, algorithms=[key.algorithm]).claims
        except (JoseError, ValueError, TypeError, KeyError):
            SIGNATURE.note(False, expected=_SIGNED, actual="not verified")
            return None
        SIGNATURE.note(True, expected=_SIGNED, actual=f"{key.algorithm}, kid {key.kid[:8]}")
        typ, issuer = str(header.get("typ")), claims.get("iss")
        is_type = typ == ACCESS_TOKEN_TYPE or self._is_of_resource(typ, claims)
        TYPE.note(is_type, expected=ACCESS_TOKEN_TYPE, actual=typ)
        ISSUER.note(issuer == self._issuer, expected=self._issuer, actual=issuer)
        if not (_is_unexpired(claims.get("exp", 0)) and is_type and issuer == self._issuer):
            return None
        access_token = AccessToken(
            token_id=claims["jti"],
            authorization_id=claims["authorization_id"],
            subject=claims["sub"],
            client_id=claims["client_id"],
            audience=_audience(claims),
            scope=claims["scope"],
            issued_at=claims["iat"],
            expires_at=claims["exp"],
            has_person=claims.get(SUBJECT_KIND) != CLIENT,
        )
        if typ == ACCESS_TOKEN_TYPE:  # a resource may change its own type
            self._keep(name, _Verified(access_token, key.kid, key.algorithm))
        return access_token

    def _keep(self, name: str, verified: _Verified) -> None:
        with self._lock:
            self._verified[name] = verified
            while len(self._verified) > MAX_VERIFIED:
                del self._verified[next(iter(self._verified))]

    def _is_of_resource(self, typ: str, claims: dict[str, Any]) -> bool:
        """Whether a token of another type has the claims of an access token, for a resource that chose this type.

        ID tokens and signed UserInfo responses have the type `JWT` too, but not the claims of an access token.
        """
        return {*CLAIMS} <= claims.keys() and any(
            resource.access_token_typ == typ
            for resource in map(self._registry.resource, _audience(claims))
            if resource is not None
        )


def _is_unexpired(expires_at: int) -> bool:
    now = clock.now()
    EXPIRY.note(now < expires_at, expected=f"after {int(now)}", actual=expires_at)
    return now < expires_at


def _audience(claims: dict[str, Any]) -> tuple[str, ...]:
    return (claims["aud"],) if isinstance(claims["aud"], str) else tuple(claims["aud"])
