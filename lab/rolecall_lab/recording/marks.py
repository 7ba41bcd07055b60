"""Marks: how secrets are recorded, so that they can be followed through a flow but not read at a glance.

A mark has `shown` (the start of the secret) and `hash` (its keyed hash), and for the values of the specifications also
`value`. The mark of a JWT also has its `unverified_header` and `unverified_claims`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from rolecall_lab.recording.rules import MAX_BODY

_decode: Final = json.JSONDecoder(parse_constant=str).decode

_MEMBERS: Final = frozenset({"shown", "hash", "value"})

_THUMBPRINT_MEMBERS: Final[dict[str, tuple[str, ...]]] = {
    "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n"),
}  # fmt: skip
"""Members of a JWK that its thumbprint covers, in order (RFC 7638 section 3.2, RFC 8037 section 2)."""


def masked(value: Any) -> Any:
    """Return a copy of a recorded value in which marks do not have their `value`."""
    if isinstance(value, dict):
        has_value = value.keys() >= _MEMBERS
        return {key: masked(each) for key, each in value.items() if not (has_value and key == "value")}
    return [masked(each) for each in value] if isinstance(value, list) else value


def shorten(secret: str) -> str:
    """Return the first six characters, but at most a quarter of them.

    For a URN, this applies to its last part, which is the secret one (RFC 9126 section 2.2).
    """
    end = secret.rpartition(":")[2]
    return end[: min(6, len(end) // 4)] + "…"


def token_hashes(token: str) -> Iterator[str]:
    """Yield the possible values of `at_hash` and `c_hash` (left half, for each algorithm) and of `ath` (full hash)."""
    encoded = token.encode(errors="replace")
    for algorithm in (hashlib.sha256, hashlib.sha384, hashlib.sha512):
        digest = algorithm(encoded).digest()
        for part in (digest, digest[: len(digest) // 2]):
            yield base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def thumbprint(key: Any) -> str | None:
    """Return the SHA-256 thumbprint of a JWK (RFC 7638 section 3); None if `key` is not a supported JWK."""
    names = _THUMBPRINT_MEMBERS.get(str(key.get("kty")), ()) if isinstance(key, dict) else ()
    if not names or not all(isinstance(key.get(name), str) for name in names):
        return None
    text = json.dumps({name: key[name] for name in names}, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def unverified_jwt(text: str) -> tuple[Any, Any]:
    """Return the header and the claims of a JWT; None for both if `text` is not a JWT."""
    parts = text.split(".")
    if len(parts) != 3 or len(text) > MAX_BODY:
        return None, None
    try:
        header, claims = _header(parts[0]), unverified_part(parts[1])
    except (ValueError, RecursionError):
        return None, None
    return (header, claims) if isinstance(header, dict) and isinstance(claims, dict) else (None, None)


@lru_cache(maxsize=64)
def _header(text: str) -> Any:
    """Return the header of a JWT, which must not be modified; most tokens of a server have the same header."""
    return unverified_part(text)


def unverified_part(text: str) -> Any:
    """Return the JSON value in one of the first two parts of a JWT.

    Raises:
        ValueError: it is not JSON in base64url.
        RecursionError: it is too deep.
    """
    return decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def decode(text: bytes) -> Any:
    """Return the value of a JSON text; constants that are not JSON, such as NaN, become strings.

    `json.loads` would create a decoder each time.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is too deep.
    """
    return _decode(text.decode(json.detect_encoding(text), "surrogatepass"))
