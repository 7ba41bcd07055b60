"""The grants: one module and one table row per grant.

The engine, metadata, OpenAPI, registration, `flask add-client`, and the contract tests read this table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from authlib.oauth2.rfc6749 import BaseGrant

from rolecall.checks import Check
from rolecall_auth.grants import authorization_code, client_credentials, refresh_token


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant type.

    Args:
        engine: the grant class for Authlib's engine.
        clause: the section that defines the grant.
        checks: the checks that reject its token requests, for OpenAPI.
        required: the parameters that its token request must have, in addition to `grant_type`.
        optional: the further parameters of its token request, except the client's credentials.
        extensions: the extensions of the grant class, for example PKCE.
        response_type: the response type of its authorization request (RFC 7591 section 2.1); empty if it has none.
        default: whether `flask add-client` registers clients for it if the command names no grant.
        confidential_only: whether public clients may not use it.
        has_person: whether a person is the subject of its tokens; without one, OpenID scopes cannot be granted.
        gives_refresh_tokens: whether its token response can contain a refresh token.
    """

    grant_type: str
    engine: type[BaseGrant]
    clause: str
    checks: tuple[Check, ...]
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    extensions: tuple[Any, ...] = ()
    response_type: str = ""
    default: bool = False
    confidential_only: bool = False
    has_person: bool = True
    gives_refresh_tokens: bool = False

    @property
    def needs_redirect(self) -> bool:
        """Whether a client needs a redirect URI for it."""
        return bool(self.response_type)


GRANTS: Final = (
    Grant(
        "authorization_code",
        authorization_code.CodeGrant,
        "RFC 6749 section 4.1",
        authorization_code.TOKEN_CHECKS,
        required=("code",),
        optional=("redirect_uri", "code_verifier", "resource"),
        extensions=(authorization_code.Pkce(),),
        response_type="code",
        default=True,
        gives_refresh_tokens=True,
    ),
    Grant(
        "refresh_token",
        refresh_token.RefreshGrant,
        "RFC 6749 section 6",
        refresh_token.TOKEN_CHECKS,
        required=("refresh_token",),
        optional=("scope", "resource"),
        default=True,
    ),
    Grant(
        "client_credentials",
        client_credentials.ClientCredentialsGrant,
        "RFC 6749 section 4.4",
        client_credentials.TOKEN_CHECKS,
        optional=("scope", "resource"),
        confidential_only=True,
        has_person=False,
    ),
)


def of_client(grant_types: Iterable[str]) -> tuple[Grant, ...]:
    """Return the rows of these grant types, in the order of the table; unknown ones are left out."""
    names = {*grant_types}
    return tuple(grant for grant in GRANTS if grant.grant_type in names)


def usable(grant_types: Iterable[str], response_types: Iterable[str], *, is_public: bool) -> tuple[Grant, ...]:
    """Return the rows of these grant types that a client may use.

    A public client may not use a grant for confidential clients (RFC 6749 section 4.4). A grant with an authorization
    request needs its response type (RFC 7591 section 2.1), and refresh tokens need a grant that gives them.
    """
    response_types = {*response_types, ""}
    allowed = tuple(
        grant
        for grant in of_client(grant_types)
        if grant.response_type in response_types and not (grant.confidential_only and is_public)
    )
    if any(grant.gives_refresh_tokens for grant in allowed):
        return allowed
    return tuple(grant for grant in allowed if grant.grant_type != "refresh_token")
