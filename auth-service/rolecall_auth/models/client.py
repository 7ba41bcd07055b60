"""Clients: the registered applications (RFC 6749 section 2, metadata names of RFC 7591 section 2)."""

from __future__ import annotations

import hmac
import re
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from authlib.oauth2.rfc6749 import ClientMixin
from sqlalchemy.orm import Mapped, mapped_column

from rolecall import clock
from rolecall.settings import is_loopback
from rolecall.storage import digest
from rolecall.vocabulary import OPENID_SCOPES, PROFILES
from rolecall_auth.models import Model

_LOOPBACK = re.compile(r"http://(127\.0\.0\.1|\[::1\])(:\d{1,5})?(/[^?#]*)?(\?[^#]*)?")

_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d*)?")

MAX_HOST = 253
"""Characters of a host's name (RFC 1035 section 2.3.4)."""

ENDED = ""
"""In the place of the hash of a registration access token: the client ended its registration itself."""


class Client(Model, ClientMixin):
    """A client. Rows are read through `Registry`, detached, and never changed there.

    Columns have the names of RFC 7591 section 2 and of OpenID Connect Registration section 2. `secret_sealed` is the
    secret of a client that signs with it (`client_secret_jwt`), under DATA_KEY; `further_metadata` is only told again.
    """

    __tablename__ = "client"

    client_id: Mapped[str] = mapped_column(sa.String(100), primary_key=True)
    client_name: Mapped[str] = mapped_column(sa.String(100))
    client_uri: Mapped[str | None] = mapped_column(sa.String(2000))
    description: Mapped[str | None] = mapped_column(sa.String(300))
    profile: Mapped[str] = mapped_column(sa.String(20), default=PROFILES[0])
    application_type: Mapped[str] = mapped_column(sa.String(10), default="web")
    token_endpoint_auth_method: Mapped[str] = mapped_column(sa.String(40))
    secret_hash: Mapped[str | None] = mapped_column(sa.String(64))
    redirect_uris: Mapped[list[str]] = mapped_column(sa.JSON)
    grant_types: Mapped[list[str]] = mapped_column(sa.JSON)
    response_types: Mapped[list[str]] = mapped_column(sa.JSON)
    scope: Mapped[str] = mapped_column(sa.String(1000))
    refresh_grace: Mapped[int] = mapped_column(sa.Integer, default=10)
    jwks: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    jwks_uri: Mapped[str | None] = mapped_column(sa.String(2000))
    secret_sealed: Mapped[bytes | None] = mapped_column(sa.LargeBinary)
    logo_uri: Mapped[str | None] = mapped_column(sa.String(2000))
    policy_uri: Mapped[str | None] = mapped_column(sa.String(2000))
    tos_uri: Mapped[str | None] = mapped_column(sa.String(2000))
    subject_type: Mapped[str] = mapped_column(sa.String(10), default="public", server_default="public")
    sector_identifier_uri: Mapped[str | None] = mapped_column(sa.String(2000))
    id_token_signed_response_alg: Mapped[str] = mapped_column(sa.String(20), default="RS256", server_default="RS256")
    userinfo_signed_response_alg: Mapped[str | None] = mapped_column(sa.String(20))
    token_endpoint_auth_signing_alg: Mapped[str | None] = mapped_column(sa.String(20))
    request_object_signing_alg: Mapped[str | None] = mapped_column(sa.String(20))
    request_uris: Mapped[list[str]] = mapped_column(sa.JSON, nullable=True, default=list)
    default_max_age: Mapped[int | None] = mapped_column(sa.Integer)
    require_auth_time: Mapped[bool] = mapped_column(sa.Boolean, default=False, server_default=sa.false())
    default_acr_values: Mapped[list[str]] = mapped_column(sa.JSON, nullable=True, default=list)
    further_metadata: Mapped[dict[str, Any]] = mapped_column(sa.JSON, nullable=True, default=dict)
    registration_token_hash: Mapped[str | None] = mapped_column(sa.String(64))
    created_at: Mapped[float] = mapped_column(sa.Double, default=clock.now)
    disabled_at: Mapped[float | None] = mapped_column(sa.Double)

    @property
    def is_public(self) -> bool:
        """Whether it can keep no secret (RFC 6749 section 2.1)."""
        return self.token_endpoint_auth_method == "none"

    @property
    def requires_pkce(self) -> bool:
        """PKCE is optional only for confidential clients of the profile `openid` (RFC 9700 section 2.1.1)."""
        return self.is_public or self.profile != "openid"

    def get_client_id(self) -> str:
        """The client identifier (RFC 6749 section 2.2)."""
        return self.client_id

    def get_default_redirect_uri(self) -> str | None:
        """The redirect URI of a request that names none: the registered one when it is the only one."""
        return self.redirect_uris[0] if len(self.redirect_uris) == 1 else None

    def get_allowed_scope(self, scope: Any) -> str | None:
        """The scope that a request gets: all that is registered when it names none, else what it names or None.

        What is about the person must be named. A scope that nobody knows is left out beside `openid`, as OpenID
        Connect Core section 3.1.2.1 wants it, for clients of its profile. A client with pairwise subjects gets nothing
        else: an API knows the person by the account's identifier, which section 8.1 wants to be unknown to the client.
        """
        named = self.scope.split()
        if self.subject_type == "pairwise":
            named = [each for each in named if each in OPENID_SCOPES] if "openid" in (scope or "").split() else []
        if not scope:
            left = [each for each in named if "openid" not in named or each not in OPENID_SCOPES]
            return " ".join(left) or None
        if self.profile == "openid" and "openid" in scope.split():
            scope = " ".join(each for each in scope.split() if each in named)
            return scope if "openid" in scope.split() else None
        return scope if set(scope.split()) <= set(named) else None

    def check_redirect_uri(self, redirect_uri: Any) -> bool:
        """Exact match; for native clients the port of a loopback address may differ (RFC 8252 section 7.3)."""
        if redirect_uri in self.redirect_uris:
            return True
        if self.application_type != "native":
            return False
        wanted = _without_port(redirect_uri)
        return wanted is not None and any(_without_port(uri) == wanted for uri in self.redirect_uris)

    def asks_every_time(self, redirect_uri: str) -> bool:
        """Whether another program could pose as this client, so that consent is never remembered (RFC 8252 8.6)."""
        parts = urlsplit(redirect_uri)
        return self.is_public and (
            parts.scheme not in {"http", "https"} or parts.hostname in {"localhost", "127.0.0.1", "::1"}
        )

    def check_client_secret(self, client_secret: Any) -> bool:
        """Compared by hash in constant time; public clients have none that matches."""
        return hmac.compare_digest(self.secret_hash or "no secret", digest(client_secret))

    def check_endpoint_auth_method(self, method: Any, endpoint: Any) -> bool:  # noqa: ARG002
        """Only the registered method, at every endpoint."""
        return bool(self.token_endpoint_auth_method == method)

    def check_response_type(self, response_type: Any) -> bool:
        """Whether it is registered."""
        return response_type in self.response_types

    def check_grant_type(self, grant_type: Any) -> bool:
        """Whether it is registered."""
        return grant_type in self.grant_types


def redirect_uri_fault(uri: str, application_type: str, *, lab: bool) -> str | None:
    """Why a redirect URI may not be registered, in words that follow it.

    It must be https; or http on loopback; or, for a native client, of a private-use scheme with a dot in it (RFC 6749
    section 3.1.2, RFC 8252 sections 7.1 to 7.3).

    Args:
        lab: http is also for names under `.test`, which nobody has.
    """
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return "is no URI"
    if not uri.isascii() or any(mark in uri for mark in "\"'<>\\ #") or not uri.isprintable():
        return "must be a URI of ASCII characters without fragment, quotes and spaces"
    if len(parts.hostname or "") > MAX_HOST:
        return f"must name a host of {MAX_HOST} characters at most"
    # it goes into a Content-Security-Policy, whose marks are also good in a URI (RFC 3986 section 3.2.2)
    if not _HOST.fullmatch(parts.netloc) and (parts.netloc or parts.scheme in {"http", "https"}):
        return "must name a host of letters, digits, dots and hyphens, and no user"
    if parts.scheme in {"http", "https"}:
        is_local = is_loopback(uri) and (lab or not (parts.hostname or "").endswith(".test"))
        if parts.scheme == "http" and not is_local:
            return "must be https; http is for loopback alone"
    elif application_type != "native" or "." not in parts.scheme:
        return "must be https; a native client's may have a scheme like org.example.app"
    return None


def _without_port(uri: str) -> tuple[str | None, ...] | None:
    match = _LOOPBACK.fullmatch(uri)
    if match and int((match[2] or ":0")[1:]) > 65535:
        return None
    return (match[1], match[3], match[4]) if match else None
