"""The grants: one file each, one line here; discovery, the engine and the contract tests read this table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from rolecall_auth.grants import authorization_code, refresh_token


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant type: the class for Authlib's engine, its extensions, and the clause it implements."""

    grant_type: str
    engine: type[Any]
    extensions: tuple[Any, ...]
    clause: str


GRANTS: Final = (
    Grant("authorization_code", authorization_code.CodeGrant, (authorization_code.Pkce(),), "RFC 6749 section 4.1"),
    Grant("refresh_token", refresh_token.RefreshGrant, (), "RFC 6749 section 6"),
)
