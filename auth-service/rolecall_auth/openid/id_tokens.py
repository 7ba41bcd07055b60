"""ID tokens (OpenID Connect Core section 2), and who a person is in them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import sqlalchemy as sa
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jws import extract_compact
from sqlalchemy.orm import Session

from rolecall import clock
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.client import Client
from rolecall_auth.models.session import AMR
from rolecall_auth.models.subject import PairwiseSubject, sector_of, subject_for
from rolecall_auth.models.user import User
from rolecall_auth.openid import scopes
from rolecall_auth.services import services

MAX_LENGTH: Final = 8192
"""Characters of an `id_token_hint`."""

_HASHES: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "RS256": hashlib.sha256,
    "ES256": hashlib.sha256,
    "PS256": hashlib.sha256,
    "EdDSA": hashlib.sha512,
}
"""Of `at_hash`: the one in the signature's algorithm; Ed25519's is SHA-512 (RFC 8032 section 5.1)."""

CLAIMS: Final = (
    "iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "azp", "at_hash", "sid",
)  # fmt: skip
"""Those that are in an ID token whoever the person is."""


def mint(
    client: Client, authorization: Authorization, user: User, subject: str, access_token: str, nonce: str | None = None
) -> str:
    """A signed ID token for the client; of the profile only what its claims request names (section 5.5).

    Args:
        access_token: whose hash goes into it.
        nonce: of the authorization request; after a refresh there is none (section 12.2).
    """
    now, settings = int(clock.now()), services().settings
    claims: dict[str, Any] = {
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
    asked = set((authorization.requested_claims or {}).get("id_token", ()))
    claims |= about(user, asked & names_for(client, asked))
    return signed(client.id_token_signed_response_alg, claims)


def signed(algorithm: str, claims: dict[str, Any]) -> str:
    """A JWT of the issuer's key of this algorithm."""
    key = services().keys.signing(algorithm)
    header = {"alg": key.algorithm, "typ": "JWT", "kid": key.kid}
    return jwt.encode(header, claims, key.private, algorithms=[key.algorithm])


def at_hash(algorithm: str, access_token: str) -> str:
    """The left half of the access token's hash (OpenID Connect Core section 3.1.3.6)."""
    digest = _HASHES[algorithm](access_token.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


def about(user: User, names: set[str]) -> dict[str, Any]:
    """What is known of a person under these names (section 5.1)."""
    known = {"preferred_username": user.username, **user.claims}
    return {name: known[name] for name in sorted(names) if known.get(name) not in (None, "")}


def names_for(client: Client, asked: set[str]) -> set[str]:
    """Those of the claims that are asked for one by one which the client's registration allows."""
    allowed = scopes.scopes_of_claims(asked, client)
    return asked & {name for scope in allowed for name in scopes.CLAIMS[scope]}


def subject_of(session: Session, client: Client, user_id: str) -> str:
    """The `sub` that the client knows the person by; two at once make one."""
    try:
        with session.begin_nested():
            return subject_for(session, client, user_id)
    except sa.exc.IntegrityError:
        return subject_for(session, client, user_id)


def account_of(client: Client, subject: str) -> str | None:
    """The account that a client knows by this `sub`."""
    if client.subject_type != "pairwise":
        return subject
    with services().database.read() as session:
        return session.scalar(
            sa.select(PairwiseSubject.user_id).where(
                PairwiseSubject.subject == subject, PairwiseSubject.sector == sector_of(client)
            )
        )


def subject_of_hint(client: Client, token: str) -> str | None:
    """The `sub` of an ID token that we gave this client, be it over or not (section 3.1.2.1); else None.

    Signed userinfo is of the same type and for the same client; unlike an ID token it says neither when the person
    signed in nor until when it holds.
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
    ours = claims.get("iss") == services().settings.issuer and claims.get("aud") == client.client_id
    ours = ours and all(isinstance(claims.get(name), int) for name in ("exp", "auth_time"))
    subject = claims.get("sub")
    return subject if ours and isinstance(subject, str) else None
