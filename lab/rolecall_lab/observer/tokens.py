"""What can be told of a token that was seen: who signed it, with a public key, and how long it still lives."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final

import jwt

from rolecall.http import HttpClient, Unreachable
from rolecall.issuer import CachedKeys
from rolecall.vocabulary import ID_TOKEN_ALGORITHMS

REFETCH_AFTER: Final = 1.0
"""Seconds between two fetches that are caused by unknown key IDs."""

MAX_LIFETIME: Final = 10.0
"""Seconds for which the key set is cached: short, because the lab's keys change while the observer is open."""

_WITH_A_SECRET: Final = frozenset({"HS256", "HS384", "HS512"})
"""RFC 7518 section 3.2."""

_OF_CLIENTS: Final = frozenset({"client_assertion", "request", "assertion"})
"""Parameters whose JWT a client signs (RFC 7523 section 2, RFC 9101 section 4)."""


class KeySet:
    """The authorization server's public keys, fetched from its `/jwks` when a page shows a token."""

    def __init__(self, auth_url: str, http: HttpClient) -> None:
        self._keys = CachedKeys(
            http,
            lambda: f"{auth_url}/jwks",
            ID_TOKEN_ALGORITHMS,
            max_lifetime=MAX_LIFETIME,
            refetch_after=REFETCH_AFTER,
        )

    def verdict(self, token: str, name: str = "", registered: Sequence[dict[str, Any]] = ()) -> tuple[bool | None, str]:
        """Whether the signature of a JWT is right (None: it cannot be told), and why (RFC 7515 section 5.2).

        Args:
            name: of the parameter or member that it stands in: it tells who has signed.
            registered: the JWKs of clients that are known.
        """
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, RecursionError):
            return False, "this is no JWT"
        algorithm = str(header.get("alg"))
        if algorithm in _WITH_A_SECRET:
            return None, f"{algorithm} is made with a secret; only the two who share it can tell"
        if algorithm not in ID_TOKEN_ALGORITHMS:
            return False, f"the algorithm {algorithm[:20]} is none that anybody here signs with"
        kid = str(header.get("kid"))
        if name in _OF_CLIENTS:
            return _of_client(token, header, registered)
        try:
            key = self._keys.get(kid)
        except Unreachable as error:
            return None, f"the keys cannot be had: {error}"
        if key is None:
            return None, f"it is not a signature of this server's, which publishes no key {kid[:12]}"
        if key.algorithm_name != algorithm:
            return False, f"the published key {kid[:12]} is one for {key.algorithm_name}"
        try:
            jwt.api_jws.decode(token, key, algorithms=[algorithm])
        except jwt.PyJWTError:
            return False, f"it does not fit the published key {kid[:12]}"
        return True, f"made with {algorithm} and the published key {kid[:12]}"


def _of_client(token: str, header: dict[str, Any], registered: Sequence[dict[str, Any]]) -> tuple[bool | None, str]:
    """Judged by the keys of clients, of which several may have the same name."""
    algorithm, kid = header["alg"], header.get("kid")
    mine = [key for key in registered if kid is None or key.get("kid") == kid]
    called = "key" if kid is None else f"key {str(kid)[:12]}"
    for key in mine:
        try:
            jwt.api_jws.decode(token, jwt.PyJWK.from_dict(key, algorithm), algorithms=[algorithm])
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
        return True, f"made with {algorithm} and the client's {called}, as this flow has it"
    if mine:
        return False, f"it does not fit the client's {called}, as this flow has it"
    return None, f"it is not a signature of this server's; the client's {called} is in no message of this flow"


def pkce(verifier: str, challenge: str) -> list[tuple[str, str]]:
    """The steps from a verifier to its challenge (RFC 7636 section 4.6): what was done, and what came out."""
    digest = hashlib.sha256(verifier.encode(errors="replace")).digest()
    encoded = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    same = "the same: who redeems the code is who asked for it"
    differs = "they differ: this is not the verifier of who asked for the code"
    return [
        ("code_verifier, as it came with the code", verifier),
        ("SHA-256 of its bytes", digest.hex()),
        ("in base64url without padding", encoded),
        ("code_challenge, as it came with the authorization request", challenge),
        ("compared", same if encoded == challenge else differs),
    ]


def segments(token: str) -> list[tuple[str, str]]:
    """The three parts of a JWT: as they are, and decoded (RFC 7515 section 7.1)."""
    parts = token.split(".")
    decoded = []
    for part in parts[:2]:
        try:
            text = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
            decoded.append(json.dumps(text, indent=2, ensure_ascii=False))
        except (ValueError, RecursionError):
            decoded.append("not JSON")
    return [*zip(parts, [*decoded, "the signature: bytes"], strict=False)]
