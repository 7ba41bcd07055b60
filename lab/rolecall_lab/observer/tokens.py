"""Facts about a token for the inspector: its parts, whether its signature is valid, and the PKCE comparison."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Sequence
from typing import Any, Final

import jwt

from rolecall import clock
from rolecall.http import HttpClient, Unreachable
from rolecall.vocabulary import ID_TOKEN_ALGORITHMS

AGAIN: Final = 1.0
"""Seconds until an unknown key is looked for again."""

KEEP: Final = 10.0
"""Seconds that a key set is believed."""

_WITH_A_SECRET: Final = frozenset({"HS256", "HS384", "HS512"})
"""RFC 7518 section 3.2."""

_OF_CLIENTS: Final = frozenset({"client_assertion", "request", "assertion"})
"""Parameters that contain a JWT signed by a client (RFC 7523 section 2, RFC 9101 section 4)."""


class KeySet:
    """The authorization server's public keys, fetched from its `/jwks` when somebody looks at a token."""

    def __init__(self, auth_url: str, http: HttpClient) -> None:
        self._url = f"{auth_url}/jwks"
        self._http = http
        self._lock = threading.Lock()
        self._keys: dict[str, Any] = {}
        self._until = self._again = 0.0

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
        if algorithm in _WITH_A_SECRET:
            return None, f"{algorithm} uses a secret that only the signer and the recipient have"
        if algorithm not in ID_TOKEN_ALGORITHMS:
            return False, f"the algorithm {algorithm[:20]} is not supported"
        kid = str(header.get("kid"))
        if name in _OF_CLIENTS:
            return _client_verdict(token, header, registered)
        try:
            key = self._key(kid)
        except (Unreachable, ValueError) as error:
            return None, f"the keys cannot be had: {error}"
        if key is None:
            return None, f"it is not a signature of this server's, which publishes no key {kid[:12]}"
        try:
            known = jwt.PyJWK.from_dict(key)
            if known.algorithm_name != algorithm:
                return False, f"the published key {kid[:12]} is one for {known.algorithm_name}"
            jwt.api_jws.decode(token, known, algorithms=[algorithm])
        except jwt.PyJWTError:
            return False, f"it does not match the published key {kid[:12]}"
        return True, f"made with {algorithm} and the published key {kid[:12]}"

    def _key(self, kid: str) -> dict[str, Any] | None:
        with self._lock:
            if clock.monotonic() > self._until or (kid not in self._keys and clock.monotonic() > self._again):
                # also when it fails: whoever looks next does not wait for the same silence
                self._again = clock.monotonic() + AGAIN
                answer = self._http.send("GET", self._url)
                found = answer.json().get("keys", [])
                self._keys = {str(key.get("kid")): key for key in found if isinstance(key, dict)}
                self._until = clock.monotonic() + KEEP
            return self._keys.get(kid)


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
