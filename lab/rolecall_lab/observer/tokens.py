"""Facts about a token for the inspector: its parts, whether its signature is valid, and the PKCE comparison."""

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

MAX_LIFETIME: Final = 10.0
"""Seconds for which the key set is cached: short, because the lab's keys change while the observer is open."""

_SECRET_ALGORITHMS: Final = frozenset({"HS256", "HS384", "HS512"})
"""Algorithms that use a shared secret (RFC 7518 section 3.2)."""

_SIGNED_BY_CLIENT: Final = frozenset({"client_assertion", "request", "assertion"})
"""Parameters that contain a JWT signed by a client (RFC 7523 section 2, RFC 9101 section 4)."""


class KeySet:
    """The authorization server's public keys, fetched from its `/jwks` when a page shows a token."""

    def __init__(self, auth_url: str, http: HttpClient) -> None:
        self._keys = CachedKeys(
            http,
            lambda: f"{auth_url}/jwks",
            ID_TOKEN_ALGORITHMS,
            max_lifetime=MAX_LIFETIME,
        )

    def verdict(self, token: str, name: str = "", registered: Sequence[dict[str, Any]] = ()) -> tuple[bool | None, str]:
        """Return whether the signature of a JWT is valid (RFC 7515 section 5.2), or None if that is unknown, and why.

        Args:
            name: the parameter or member that contains the JWT, which determines the expected signer.
            registered: the JWKs of the clients.
        """
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, RecursionError):
            return False, "this is not a JWT"
        algorithm = str(header.get("alg"))
        if algorithm in _SECRET_ALGORITHMS:
            return None, f"{algorithm} uses a secret that only the signer and the recipient have"
        if algorithm not in ID_TOKEN_ALGORITHMS:
            return False, f"the algorithm {algorithm[:20]} is not supported"
        if name in _SIGNED_BY_CLIENT:
            return _client_verdict(token, header, registered)
        kid = header.get("kid")
        key_name = "key" if kid is None else f"key {str(kid)[:12]}"
        try:
            key = self._keys.get(kid, algorithm)
            others = [each for each in ID_TOKEN_ALGORITHMS if key is None and self._keys.get(kid, each) is not None]
        except Unreachable as error:
            return None, f"the keys are not available: {error}"
        if others:
            return False, f"the published {key_name} is for {' or '.join(others)}"
        if key is None:
            return None, f"not signed by this server, which does not publish a {key_name}"
        try:
            jwt.api_jws.decode(token, key, algorithms=[algorithm])
        except jwt.PyJWTError:
            return False, f"it does not match the published {key_name}"
        return True, f"made with {algorithm} and the published {key_name}"


def _client_verdict(
    token: str, header: dict[str, Any], registered: Sequence[dict[str, Any]]
) -> tuple[bool | None, str]:
    """Verify a signature with the keys of clients, several of which may have the same `kid`."""
    algorithm, kid = header["alg"], header.get("kid")
    candidates = [key for key in registered if kid is None or key.get("kid") == kid]
    key_name = "key" if kid is None else f"key {str(kid)[:12]}"
    for key in candidates:
        try:
            jwt.api_jws.decode(token, jwt.PyJWK.from_dict(key, algorithm), algorithms=[algorithm])
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
        return True, f"made with {algorithm} and the client's {key_name} from this flow"
    if candidates:
        return False, f"it does not match the client's {key_name} from this flow"
    return None, f"signed by the client, whose {key_name} is not in any message of this flow"


def pkce(verifier: str, challenge: str) -> list[tuple[str, str]]:
    """Return the steps from a verifier to its challenge, each with its result (RFC 7636 section 4.6)."""
    digest = hashlib.sha256(verifier.encode(errors="replace")).digest()
    encoded = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    equal = "equal: the client that redeems the code also requested it"
    different = "different: this verifier does not belong to the client that requested the code"
    return [
        ("code_verifier, from the token request", verifier),
        ("SHA-256 of the verifier", digest.hex()),
        ("base64url without padding", encoded),
        ("code_challenge, from the authorization request", challenge),
        ("comparison", equal if encoded == challenge else different),
    ]


def segments(token: str) -> list[tuple[str, str]]:
    """Return the three parts of a JWT, encoded and decoded (RFC 7515 section 7.1)."""
    parts = token.split(".")
    decoded = []
    for part in parts[:2]:
        try:
            text = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
            decoded.append(json.dumps(text, indent=2, ensure_ascii=False))
        except (ValueError, RecursionError):
            decoded.append("not JSON")
    return [*zip(parts, [*decoded, "the signature, as bytes"], strict=False)]
