"""The grants: one module and one table row per grant, read by discovery, the engine, and the contract tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from rolecall_auth.grants import authorization_code, refresh_token


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant type.

    Args:
        engine: the grant class for Authlib's engine.
        extensions: the extensions of the grant class, for example PKCE.
        clause: the section that defines the grant.
    """

    grant_type: str
    engine: type[Any]
    extensions: tuple[Any, ...]
    clause: str


GRANTS: Final = (
    Grant("authorization_code", authorization_code.CodeGrant, (authorization_code.Pkce(),), "RFC 6749 section 4.1"),
    Grant("refresh_token", refresh_token.RefreshGrant, (), "RFC 6749 section 6"),
)
