"""The `Authorization` request header: a scheme and its credentials (RFC 9110 section 11.6.2)."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_plus

from werkzeug.datastructures import Headers

# WSGI has one value per header: servers join the values of a repeated header with commas
_NEXT: Final = re.compile(r",\s*(?=(?:Bearer|Basic|DPoP|Digest|Negotiate)(?:\s|,|$))", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AuthorizationHeader:
    """The value of one header.

    Args:
        scheme: as sent; schemes are case-insensitive.
        credentials: the text after the scheme and its spaces.
    """

    scheme: str
    credentials: str

    @property
    def bearer_token(self) -> str | None:
        """The token, not checked for its syntax and possibly empty; None for another scheme (RFC 6750 section 2.1)."""
        return self.credentials.strip() if self.scheme.lower() == "bearer" else None

    def basic_credentials(self) -> tuple[str, str]:
        """Return the user and the password of the Basic scheme (RFC 7617 section 2).

        Both are form-urlencoded inside the base64 value (RFC 6749 section 2.3.1).

        Raises:
            ValueError: the scheme is not Basic, or the credentials are malformed.
        """
        if self.scheme.lower() != "basic":
            raise ValueError("the scheme is not Basic")
        try:
            decoded = base64.b64decode(self.credentials.strip(), validate=True).decode()
        except ValueError as error:
            raise ValueError("the Basic credentials are not base64-encoded UTF-8") from error
        user, _, password = decoded.partition(":")
        user, password = unquote_plus(user), unquote_plus(password)
        if not user or not password:
            raise ValueError("the Basic credentials lack a user or a password")
        return user, password


def parse(value: str) -> AuthorizationHeader:
    """Split a header's value at its first space."""
    scheme, _, credentials = value.partition(" ")
    return AuthorizationHeader(scheme, credentials.lstrip(" "))


def parse_all(headers: Headers) -> list[AuthorizationHeader]:
    """Return the `Authorization` headers of a request, in their order; an empty one counts as omitted."""
    values = _NEXT.split(",".join(headers.getlist("Authorization")))
    return [parse(value.strip()) for value in values if value.strip(", \t")]
