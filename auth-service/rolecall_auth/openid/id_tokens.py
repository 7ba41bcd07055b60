"""ID tokens (OpenID Connect Core section 2), their subjects, and their claims about the user."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jws import extract_compact

from rolecall import clock
from rolecall_auth.models import subject as subjects
from rolecall_auth.models.authorization import AuthorizationRecord
from rolecall_auth.models.client import Client
from rolecall_auth.models.session import AMR
from rolecall_auth.models.subject import sector_of
from rolecall_auth.models.user import UserRecord
from rolecall_auth.services import services

MAX_LENGTH: Final = 8192
"""Maximum length of an `id_token_hint` in characters."""

_HASHES: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "RS256": hashlib.sha256,
    "ES256": hashlib.sha256,
    "PS256": hashlib.sha256,
    "EdDSA": hashlib.sha512,
}
"""The hash for `at_hash`, by signature algorithm; Ed25519 uses SHA-512 (RFC 8032 section 5.1)."""

CLAIMS: Final = (
    "iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "azp", "at_hash", "sid",
)  # fmt: skip
"""The claims of an ID token that do not describe the user."""


def mint(
    client: Client,
    authorization: AuthorizationRecord,
    user: UserRecord,
    *,
    subject: str,
    released_claims: set[str],
    access_token: str,
    nonce: str | None = None,
) -> str:
    """Return a signed ID token.

    Args:
        released_claims: the names of the claims about the user that it contains.
        access_token: the token for `at_hash`.
        nonce: the nonce of the authorization request; None after a refresh (section 12.2).
    """
    now, settings = int(clock.now()), services().settings
    assert authorization.auth_time is not None, "only people get ID tokens"
    claims: dict[str, Any] = {
        **user_claims(user, released_claims),
        "iss": settings.issuer,
        "sub": subject,
        "aud": client.client_id,
        "azp": client.client_id,
        "exp": now + settings.access_token_lifetime,
        "iat": now,
        "auth_time": int(authorization.auth_time),
        "amr": list(AMR),
        "at_hash": at_hash(client.id_token_signed_response_alg, access_token),
    }
    claims |= {name: each for name, each in {"sid": authorization.sid, "acr": authorization.acr}.items() if each}
    if nonce is not None:
        claims["nonce"] = nonce
    return sign(client.id_token_signed_response_alg, claims)


def sign(algorithm: str, claims: dict[str, Any]) -> str:
    """Return a JWT, signed with the issuer's active key for the algorithm."""
    return services().keys.signing(algorithm).sign(claims, typ="JWT")


def at_hash(algorithm: str, access_token: str) -> str:
    """Return the left half of the access token's hash, as base64url (OpenID Connect Core section 3.1.3.6)."""
    digest = _HASHES[algorithm](access_token.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


def user_claims(user: UserRecord, names: set[str]) -> dict[str, Any]:
    """Return the user's non-empty claims with these names (section 5.1)."""
    if not names:
        return {}
    claims = {"preferred_username": user.username, **user.claims}
    return {name: claims[name] for name in sorted(names) if claims.get(name) not in (None, "")}


def account_for(client: Client, subject: str) -> str | None:
    """Return the id of the account that the client knows by this `sub`."""
    if client.subject_type != "pairwise":
        return subject
    with services().database.connect() as connection:
        return subjects.user_of(connection, sector_of(client), subject)


def subject_of_hint(client: Client, token: str) -> str | None:
    """Return the `sub` of an ID token that this server issued to the client, expired or not (section 3.1.2.1).

    Return None for anything else, including signed UserInfo responses. These have the same type and audience, but lack
    `auth_time` and `exp`.
    """
    if len(token) > MAX_LENGTH:
        return None
    try:
        header = extract_compact(token.encode()).headers()
        key = services().keys.verifying(str(header.get("kid")))
        if key is None or header.get("alg") != key.algorithm or header.get("typ") != "JWT":
            return None
        claims = jwt.decode(token, key.private, algorithms=[key.algorithm]).claims
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        return None
    is_ours = claims.get("iss") == services().settings.issuer and claims.get("aud") == client.client_id
    is_id_token = all(isinstance(claims.get(name), int) for name in ("exp", "auth_time"))
    subject = claims.get("sub")
    return subject if is_ours and is_id_token and isinstance(subject, str) else None
