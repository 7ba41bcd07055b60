"""The ways of checking an access token, behind one Protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

from rolecall import checks, clock
from rolecall.errors import OAuthError

MAX_LENGTH: Final = 8192
"""Characters; nothing longer is an access token."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What a valid token says; `expires_at` in seconds since the epoch, the ids may be empty after introspection."""

    subject: str
    client_id: str
    scope: frozenset[str]
    expires_at: float
    token_id: str
    authorization_id: str = ""


class Validator(Protocol):
    """Turns a token's text into what it says."""

    def validate(self, token: str) -> AccessToken:
        """Check everything about the token but its scope.

        Raises:
            OAuthError: invalid_token, or temporarily_unavailable when the authorization server is needed and away.
        """


ISSUER = checks.define("token.iss", "RFC 9068 section 4", "invalid_token", "Another issuer made the token.", status=401)
AUDIENCE = checks.define(
    "token.aud", "RFC 9068 section 4", "invalid_token", "The token is meant for another resource.", status=401
)
EXPIRY = checks.define("token.exp", "RFC 9068 section 4", "invalid_token", "The token has expired.", status=401)
NOT_BEFORE = checks.define(
    "token.nbf", "RFC 7519 section 4.1.5", "invalid_token", "The token is not good yet.", status=401
)
ISSUED_AT = checks.define(
    "token.iat", "RFC 7519 section 4.1.6", "invalid_token", "The token comes from the future.", status=401
)
CLAIMS = checks.define(
    "token.claims", "RFC 9068 section 2.2", "invalid_token", "A claim is missing or wrong.", status=401
)

REQUIRED: Final = ("iss", "exp", "aud", "sub", "client_id", "iat", "jti")
"""The claims that a JWT access token must have (RFC 9068 section 2.2)."""

_TEXTS: Final = ("sub", "client_id", "jti")


def read_claims(
    claims: dict[str, Any], *, issuer: str, audience: str, leeway: float, required: tuple[str, ...] = REQUIRED
) -> AccessToken:
    """Check the claims of RFC 9068 section 2.2, by whichever way they came; one that is not required may be missing.

    Raises:
        OAuthError: invalid_token.
    """
    if "iss" in claims or "iss" in required:
        ISSUER(claims.get("iss") == issuer, expected=issuer, actual=_shown(claims.get("iss")))
    named = claims.get("aud")
    audiences = [named] if isinstance(named, str) else named
    meant = isinstance(audiences, list) and audience in audiences
    AUDIENCE(meant, expected=audience, actual=_shown(named))
    times = {name: claims[name] for name in ("exp", "iat", "nbf") if name in claims}
    wrong = [name for name in required if name not in claims]
    wrong += [name for name in _TEXTS if name in claims and not (isinstance(claims[name], str) and claims[name])]
    wrong += [name for name, value in times.items() if not _is_number(value)]
    wrong += [] if isinstance(claims.get("scope", ""), str) else ["scope"]
    CLAIMS(not wrong, expected=f"{', '.join(required)} of the right types", actual=_shown(wrong or "they are"))
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
    )


def away(detail: str) -> OAuthError:
    """The answer when the authorization server is needed and does not play its part."""
    return OAuthError(
        "temporarily_unavailable",
        "The authorization server, which has to be asked about the token, does not answer. Try again in a few seconds.",
        detail=detail,
        status=503,
        retry_after=2,
    )


def _is_number(value: Any) -> bool:
    # NaN compares false with everything, and infinity never expires
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12


def _shown(value: Any) -> str:
    return str(value)[:200]
