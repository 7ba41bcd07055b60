"""The keys of the mistaken provider, generated once per process when they are first used."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_JWK: Final[dict[str, Any]] = {
    "RS256": jwt.algorithms.RSAAlgorithm,
    "PS256": jwt.algorithms.RSAAlgorithm,
    "ES256": jwt.algorithms.ECAlgorithm,
    "EdDSA": jwt.algorithms.OKPAlgorithm,
}


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """A key pair.

    Args:
        bits: the size of an RSA key.
    """

    kid: str
    algorithm: str = "RS256"
    bits: int = 2048

    def jwk(self) -> dict[str, Any]:
        """Return the public key (RFC 7517 section 4)."""
        public = json.loads(_JWK[self.algorithm].to_jwk(_private(self).public_key()))
        public.pop("key_ops", None)
        return {**public, "kid": self.kid, "alg": self.algorithm, "use": "sig"}

    def sign(self, value: bytes) -> bytes:
        """Return the signature of the key's algorithm (RFC 7518 section 3)."""
        signature: bytes = jwt.get_algorithm_by_name(self.algorithm).sign(value, _private(self))
        return signature

    def pem(self) -> bytes:
        """Return the public key as PEM."""
        pem: bytes = _private(self).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem


MAIN: Final = ProviderKey("main")
"""The key that signs, unless an alteration changes it."""

SECOND: Final = ProviderKey("second")
ELLIPTIC: Final = ProviderKey("elliptic", "ES256")
UNPUBLISHED: Final = ProviderKey("unpublished")
SHORT: Final = ProviderKey("short", bits=1024)


@cache
def _private(key: ProviderKey) -> Any:
    if key.algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    if key.algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, key.bits)
