"""Registered clients (RFC 6749 section 2), with the metadata names of RFC 7591 section 2."""

from __future__ import annotations

import hmac
import re
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import sqlalchemy as sa
from authlib.oauth2.rfc6749 import ClientMixin
from sqlalchemy.orm import Mapped, mapped_column

from rolecall import clock
from rolecall.settings import is_loopback
from rolecall.storage import digest
from rolecall.vocabulary import PROFILES
from rolecall_auth import parameters
from rolecall_auth.models import Model, new_id

_LOOPBACK = re.compile(r"http://(127\.0\.0\.1|\[::1\])(:\d{1,5})?(/[^?#]*)?(\?[^#]*)?")

_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d*)?")

RESPONSE_PARAMETERS = frozenset(
    {"code", "state", "iss", "error", "error_description", "error_uri", "id_token", "access_token", "token_type"}
    | {"expires_in", "session_state", "scope", "response"}
)
"""The parameters of authorization responses, including those of response types and modes that the server does not have.

See RFC 6749 sections 4.1.2 and 4.2.2, RFC 9207 section 2, OpenID Connect Core section 3.2.2.5, OpenID Connect Session
Management section 2, and the response modes with a JWT.
"""

MAX_HOST = 253
"""Maximum length of a host name in characters (RFC 1035 section 2.3.4)."""

SUBJECT_PREFIXES = ("usr_", "pws_", "svc_")
"""The prefixes of the `sub` of a person, a person for a sector, and a client. No client ID may begin with them."""

ENDED = ""
"""The value of `registration_token_hash` after the client has deleted its own registration."""


class Client(Model, ClientMixin):
    """A client. Rows that come from `Registry` are detached and must not be changed.

    `subject` is the `sub` of the client's own tokens (RFC 9068 section 2.2): random, and never chosen by the client, so
    that it cannot be mistaken for a person's (RFC 9700 section 4.15).

    Columns have the names of RFC 7591 section 2 and OpenID Connect Registration section 2. `secret_sealed` is the
    secret of a client that uses `client_secret_jwt`, encrypted under DATA_KEY. `token_endpoint_auth_methods` are all
    accepted methods, if they were registered as a list. `claims_in_id_token` is whether ID tokens contain the claims of
    the scope (OpenID Connect Core section 5.4). `further_metadata` is returned to the client but otherwise unused.
    """

    __tablename__ = "client"

    client_id: Mapped[str] = mapped_column(sa.String(100), primary_key=True)
    subject: Mapped[str] = mapped_column(sa.String(64), unique=True, index=True, default=lambda: "svc_" + new_id())
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
    claims_in_id_token: Mapped[bool] = mapped_column(sa.Boolean, default=False, server_default=sa.false())
    token_endpoint_auth_methods: Mapped[list[str] | None] = mapped_column(sa.JSON(none_as_null=True))
    default_acr_values: Mapped[list[str]] = mapped_column(sa.JSON, nullable=True, default=list)
    further_metadata: Mapped[dict[str, Any]] = mapped_column(sa.JSON, nullable=True, default=dict)
    registration_token_hash: Mapped[str | None] = mapped_column(sa.String(64))
    created_at: Mapped[float] = mapped_column(sa.Double, default=clock.now)
    disabled_at: Mapped[float | None] = mapped_column(sa.Double)

    @property
    def is_public(self) -> bool:
        """Whether this is a public client (RFC 6749 section 2.1)."""
        return self.token_endpoint_auth_method == "none"

    @property
    def auth_methods(self) -> list[str]:
        """All accepted authentication methods: one, or client_secret_basic and client_secret_post."""
        return self.token_endpoint_auth_methods or [self.token_endpoint_auth_method]

    @property
    def requires_pkce(self) -> bool:
        """Whether PKCE is required: always, except for confidential `openid` clients (RFC 9700 section 2.1.1)."""
        return self.is_public or self.profile != "openid"

    def get_client_id(self) -> str:
        """Return the client identifier (RFC 6749 section 2.2)."""
        return self.client_id

    def get_default_redirect_uri(self) -> str | None:  # type: ignore[override]
        """Return the redirect URI for a request without one, or None if not exactly one is registered."""
        return self.redirect_uris[0] if len(self.redirect_uris) == 1 else None

    def get_allowed_scope(self, scope: str | None) -> str:  # type: ignore[override]
        """Return any scope unchanged, for Authlib: `openid.scopes.requested` decides, which knows the resources."""
        return scope or ""

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Match exactly, except that a native client may use any loopback port (RFC 8252 section 7.3)."""
        if redirect_uri in self.redirect_uris:
            return True
        if self.application_type != "native":
            return False
        requested = _without_port(redirect_uri)
        return requested is not None and any(_without_port(uri) == requested for uri in self.redirect_uris)

    def always_requires_consent(self, redirect_uri: str) -> bool:
        """Return whether consent is never remembered, because another app could impersonate this client.

        This applies to public clients whose redirect URI other software can receive: on loopback, or with a private-use
        scheme (RFC 8252 section 8.6).
        """
        return self.is_public and (not redirect_uri.startswith("https://") or is_loopback(redirect_uri))

    def check_client_secret(self, client_secret: str) -> bool:
        """Compare a secret with the stored hash in constant time. Public clients have no matching secret."""
        return hmac.compare_digest(self.secret_hash or "no secret", digest(client_secret))

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:  # noqa: ARG002
        """Return whether the client is registered for this authentication method, which applies to all endpoints."""
        return method in self.auth_methods

    def check_response_type(self, response_type: str) -> bool:
        """Return whether the client is registered for this response type."""
        return response_type in self.response_types

    def check_grant_type(self, grant_type: str | None) -> bool:
        """Return whether the client is registered for this grant type."""
        return grant_type in self.grant_types


_ACTIVE: Final = (
    sa.select(Client.__table__.c.client_id)
    .where(Client.__table__.c.client_id == sa.bindparam("client"), Client.__table__.c.disabled_at.is_(None))
    .with_for_update(read=True)
)


def hold_active(connection: sa.Connection, client_id: str) -> bool:
    """Return whether a client is active, and lock it, so that it is not disabled before the transaction ends."""
    return connection.scalar(_ACTIVE, {"client": client_id}) is not None


def client_id_fault(client_id: str) -> str:
    """Return why a client ID cannot be registered, as the predicate of a sentence, or an empty string."""
    if client_id.startswith(SUBJECT_PREFIXES):
        return f"must not begin with {', '.join(SUBJECT_PREFIXES)}, which are reserved for subjects"
    return parameters.fault("client_id", client_id)


def redirect_uri_fault(uri: str, application_type: str, *, lab: bool) -> str | None:
    """Return why a redirect URI cannot be registered, as the predicate of a sentence, or None if it can.

    It must use https, http on loopback, or, for a native client, a private-use scheme that contains a dot (RFC 6749
    section 3.1.2, RFC 8252 sections 7.1 to 7.3). A request must be able to contain it exactly as registered, and a
    response must not contain a parameter twice (RFC 6749 section 3.1).

    Args:
        lab: also allow http for names under `.test`, a reserved domain.
    """
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return "is not a valid URI"
    if not uri.isascii() or any(mark in uri for mark in "\"'<>\\ #") or not uri.isprintable():
        return "must be an ASCII URI without a fragment, quotes, or spaces"
    if any(mark in parts.path + parts.query for mark in "[]"):
        return "must not have brackets in its path or query"
    if not uri.startswith(parts.scheme):
        return "must have a scheme in lowercase"
    if len(parts.hostname or "") > MAX_HOST:
        return f"must have a host of at most {MAX_HOST} characters"
    # the host goes into a Content-Security-Policy, whose delimiters RFC 3986 section 3.2.2 allows in a host
    if not _HOST.fullmatch(parts.netloc) and (parts.netloc or parts.scheme in {"http", "https"}):
        return "must have a host of letters, digits, dots, and hyphens, and no user name"
    if parts.scheme in {"http", "https"}:
        is_local = is_loopback(uri) and (lab or not (parts.hostname or "").rstrip(".").endswith(".test"))
        if parts.scheme == "http" and not is_local:
            return "must use https; http is allowed only for loopback"
    elif application_type != "native" or "." not in parts.scheme:
        return "must use https; a native client may also use a scheme such as org.example.app"
    # some clients ignore surrounding spaces, or also separate parameters with a semicolon
    pairs = parse_qsl(parts.query.replace(";", "&"), keep_blank_values=True)
    reserved = RESPONSE_PARAMETERS & {name.strip() for name, _ in pairs}
    if reserved:
        return f"must not have query parameters of the authorization response: {', '.join(sorted(reserved))}"
    return parameters.fault("redirect_uri", uri) or None


def _without_port(uri: str) -> tuple[str | None, ...] | None:
    match = _LOOPBACK.fullmatch(uri)
    if match and int((match[2] or ":0")[1:]) > 65535:
        return None
    return (match[1], match[3], match[4]) if match else None
