"""Access token validation: the `Validator` protocol, and the claim checks that both implementations share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

from rolecall import checks, clock
from rolecall.vocabulary import SUBJECT_KIND

MAX_LENGTH: Final = 8192
"""The maximum length of an access token, in characters."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A valid token. `expires_at` is in seconds since the epoch; the IDs can be empty after introspection.

    `has_person` is False if the subject is the client itself (RFC 9068 section 2.2).
    """

    subject: str
    client_id: str
    scope: frozenset[str]
    expires_at: float
    token_id: str
    authorization_id: str = ""
    has_person: bool = True


class Validator(Protocol):
    """The validator of a request's access token."""

    def validate(self, token: str) -> AccessToken:
        """Validate everything about the token except its scope.

        Raises:
            OAuthError: invalid_token, or temporarily_unavailable if the authorization server is needed and unavailable.
        """


ISSUER = checks.define(
    "token.iss", "RFC 9068 section 4", "invalid_token", "The token was issued by another issuer.", status=401
)
AUDIENCE = checks.define(
    "token.aud", "RFC 9068 section 4", "invalid_token", "The token is meant for another resource.", status=401
)
EXPIRY = checks.define("token.exp", "RFC 9068 section 4", "invalid_token", "The token has expired.", status=401)
NOT_BEFORE = checks.define(
    "token.nbf", "RFC 7519 section 4.1.5", "invalid_token", "The token is not valid yet.", status=401
)
ISSUED_AT = checks.define(
    "token.iat", "RFC 7519 section 4.1.6", "invalid_token", "The token was issued in the future.", status=401
)
CLAIMS = checks.define(
    "token.claims", "RFC 9068 section 2.2", "invalid_token", "A claim is missing or invalid.", status=401
)

REQUIRED: Final = ("iss", "exp", "aud", "sub", "client_id", "iat", "jti")
"""The required claims of a JWT access token (RFC 9068 section 2.2)."""

_STRINGS: Final = ("sub", "client_id", "jti")


def read_claims(
    claims: dict[str, Any], *, issuer: str, audience: str, leeway: float, required: tuple[str, ...] = REQUIRED
) -> AccessToken:
    """Check the claims of RFC 9068 section 2.2, whether they come from a JWT or from introspection.

    Args:
        leeway: seconds by which the issuer's clock may be ahead of this service's clock.
        required: the claims that must be present.

    Raises:
        OAuthError: invalid_token.
    """
    # a null counts as omitted
    claims = {name: value for name, value in claims.items() if value is not None}
    if "iss" in claims or "iss" in required:
        ISSUER(claims.get("iss") == issuer, expected=issuer, actual=_shortened(claims.get("iss")))
    aud = claims.get("aud")
    audiences = [aud] if isinstance(aud, str) else aud
    is_audience = isinstance(audiences, list) and audience in audiences
    AUDIENCE(is_audience, expected=audience, actual=_shortened(aud))
    times = {name: claims[name] for name in ("exp", "iat", "nbf") if name in claims}
    invalid = [name for name in required if name not in claims]
    invalid += [name for name in _STRINGS if name in claims and not (isinstance(claims[name], str) and claims[name])]
    invalid += [name for name, value in times.items() if not _is_time(value)]
    invalid += [] if isinstance(claims.get("scope", ""), str) else ["scope"]
    expected = f"{', '.join(required)} of the right types"
    CLAIMS(not invalid, expected=expected, actual=_shortened(invalid) if invalid else "all valid")
    now = clock.now()
    EXPIRY(now < times["exp"], expected=f"later than {int(now)}", actual=times["exp"])
    if "nbf" in times:
        NOT_BEFORE(times["nbf"] <= now + leeway, expected=f"{int(now)} or earlier", actual=times["nbf"])
    if "iat" in times:
        ISSUED_AT(times["iat"] <= now + leeway, expected=f"{int(now)} or earlier", actual=times["iat"])
    return AccessToken(
        subject=claims["sub"],
        client_id=claims["client_id"],
        scope=frozenset(claims.get("scope", "").split()),
        expires_at=times["exp"],
        token_id=claims.get("jti", ""),
        authorization_id=claims.get("authorization_id", ""),
        has_person=claims.get(SUBJECT_KIND) is None,
    )


def _is_time(value: Any) -> bool:
    # NaN compares as false with everything, and infinity never expires
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12


def _shortened(value: Any) -> str:
    return str(value)[:200]
