"""The responses of the provider before they are sent, so that an alteration can change any part of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import jwt

from rolecall_lab.mistakes.keys import MAIN, ProviderKey


@dataclass(slots=True)
class Draft:
    """An HTTP response; a body that is not bytes is sent as JSON."""

    body: Any
    status: int = 200
    content_type: str = "application/json"

    def encoded(self) -> bytes:
        """Return the body in the form in which it is sent."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(slots=True)
class IdToken:
    """An ID token before it is signed.

    Args:
        key: signs it; the header may name another one. None for a token without a signature.
        text: replaces the signed token, if it is not None.
        first: the claims that a refreshed ID token must repeat (OpenID Connect Core section 12.2).
    """

    header: dict[str, Any]
    claims: Any
    key: ProviderKey | None = MAIN
    secret: bytes | None = None
    text: Any = None
    first: Mapping[str, Any] = field(default_factory=dict)

    def signed(self) -> Any:
        """Return the compact JWS (RFC 7515 section 7.1), whatever the header says about it."""
        if self.text is not None:
            return self.text
        signing_input = f"{part(self.header)}.{part(self.claims)}"
        if self.secret is not None:
            algorithm: Any = jwt.get_algorithm_by_name("HS256")
            return f"{signing_input}.{encode(algorithm.sign(signing_input.encode(), self.secret))}"
        return f"{signing_input}.{encode(self.key.sign(signing_input.encode())) if self.key else ''}"


@dataclass(slots=True)
class AuthorizationResponse:
    """The parameters of an authorization response; a parameter with several values is repeated."""

    parameters: dict[str, Any]
    further: list[tuple[str, str]] = field(default_factory=list)

    def pairs(self) -> list[tuple[str, str]]:
        """Return the parameters in order."""
        return [*((name, str(value)) for name, value in self.parameters.items() if value is not None), *self.further]

    def url(self, redirect_uri: str) -> str:
        """Return the URL to which the browser goes with the response."""
        return f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{urlencode(self.pairs())}"


def part(value: Any) -> str:
    """Return a part of a JWT; a value that is bytes is not JSON."""
    return encode(value if isinstance(value, bytes) else json.dumps(value).encode())


def encode(value: bytes) -> str:
    """Return base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def decode(text: str) -> dict[str, Any]:
    """Return the JSON object of a code or token of this provider; empty for anything else."""
    try:
        value = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def without(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return the members that have other names."""
    return {name: value for name, value in values.items() if name not in names}
