"""An OpenID Provider for Tally's tests, with real keys and ID tokens that are valid unless a test changes them."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from werkzeug.test import TestResponse

from rolecall import clock
from support.tally import ISSUER, METADATA, TOKENS, Browser, Tally

SUB: Final = "usr_alice"
USERINFO: Final = {"sub": SUB, "name": "Alice <b>Liddell", "email": "alice@wonderland.test", "email_verified": True}
_ALGORITHMS: Final[dict[str, Any]] = {
    "RS256": jwt.algorithms.RSAAlgorithm,
    "PS256": jwt.algorithms.RSAAlgorithm,
    "ES256": jwt.algorithms.ECAlgorithm,
    "EdDSA": jwt.algorithms.OKPAlgorithm,
}


@cache
def private_key(kid: str) -> Any:
    """Return the private key of this ID, which begins with its algorithm."""
    if kid.startswith(("RS", "PS")):
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP256R1()) if kid.startswith("ES") else ed25519.Ed25519PrivateKey.generate()


def public_jwk(kid: str) -> dict[str, Any]:
    """Return the public key of this ID, as in a key set."""
    algorithm = kid.partition("-")[0]
    jwk = json.loads(_ALGORITHMS[algorithm].to_jwk(private_key(kid).public_key()))
    return {**jwk, "kid": kid, "alg": algorithm, "use": "sig"}


def at_hash(access_token: str, algorithm: str = "RS256") -> str:
    name = "sha512" if algorithm == "EdDSA" else "sha256"
    digest = hashlib.new(name, access_token.encode()).digest()
    return encoded(digest[: len(digest) // 2])


def encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def part(value: Any) -> str:
    """Encode a part of a JWT."""
    return encoded(json.dumps(value).encode())


@dataclass
class Issuer:
    """The provider: `kid` is the ID of the signing key; `published` are the IDs in the key set."""

    tally: Tally
    kid: str = "RS256-1"
    published: list[str] = field(default_factory=lambda: ["RS256-1", "ES256-1"])
    userinfo: Any = field(default_factory=lambda: dict(USERINFO))

    def claims(self, nonce: str, /, **changes: Any) -> dict[str, Any]:
        """Return the claims of a valid ID token with these changes; None removes a claim."""
        now = int(clock.now())
        good = {
            "iss": ISSUER, "sub": SUB, "aud": "tally", "azp": "tally", "exp": now + 300, "iat": now, "auth_time": now,
            "nonce": nonce, "at_hash": at_hash(TOKENS["access_token"], self.kid.partition("-")[0]), "amr": ["pwd"],
        }  # fmt: skip
        return {name: value for name, value in (good | changes).items() if value is not None}

    def sign(self, claims: Any, *, key: str = "", **header: Any) -> str:
        """Sign with this key, even if the header names another one; None removes a member of the header."""
        key = key or self.kid
        algorithm = key.partition("-")[0]
        said = {"typ": "JWT", "alg": algorithm, "kid": key, **header}
        body = f"{part({name: value for name, value in said.items() if value is not None})}.{part(claims)}"
        return f"{body}.{encoded(jwt.get_algorithm_by_name(algorithm).sign(body.encode(), private_key(key)))}"

    def answer(self, id_token: Any) -> None:
        """Set the responses of the endpoints."""
        self.tally.http.answers |= {
            METADATA["token_endpoint"]: (200, {**TOKENS, "scope": "openid profile email", "id_token": id_token}, {}),
            METADATA["jwks_uri"]: (200, {"keys": [public_jwk(kid) for kid in self.published]}, {}),
            METADATA["userinfo_endpoint"]: (200, self.userinfo, {}),
        }

    def sign_in(self, browser: Browser, page: str = "/", /, **changes: Any) -> TestResponse:
        """Press the button, come back from the provider, and return the response of the callback."""
        asked = browser.begin("/sign-in", page)
        self.answer(self.sign(self.claims(asked["nonce"], **changes)))
        return browser.come_back(code="c0de", state=asked["state"], iss=ISSUER)
